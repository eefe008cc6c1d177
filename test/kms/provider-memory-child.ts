/** Of provider-memory.test.ts: makes a data key by the URI, unwraps it, frees both, says so and waits to be told to end. */

import { freeSecret } from '#sealdisk/kms/local/secret.js';
import { openProvider } from '#sealdisk/kms/registry.js';

const [, , uri = '', what] = process.argv;
const SOON = { timeoutMs: 10_000 };

const provider = await openProvider(uri, { poolDir: '/nonexistent', env: process.env, namedByOwner: true });
const { plaintext, wrapped } = await provider.generateDataKey(64, { a: 'b' }, SOON);
const again = await provider.unwrap(wrapped, { a: 'b' }, SOON);
const held = what === 'hold' ? again.toString('base64') : '';
freeSecret(plaintext);
freeSecret(again);
process.stdout.write('done\n');
process.stdin.resume().once('end', () => process.exit(held === '' ? 0 : held.length & 0));
