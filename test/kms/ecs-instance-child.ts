/**
 * What an ECS instance with a RAM role is to us, in a network namespace of its own: the metadata service at the one
 * address that it has, which hands out temporary credentials to who shows its token, and a KMS that knows them. Prints
 * what the provider then says of its key. The argument is an empty pool.
 */

import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pino } from 'pino';
import { AccessKeys } from '#sealdisk/kms/local/access-keys.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { serveKms } from '#sealdisk/kms/server/serve.js';

const METADATA = '100.100.100.200';
const ROLES = '/latest/meta-data/ram/security-credentials/';
const TOKEN = 'metadata-token';

const dir = join(process.argv[2] ?? '', 'kms');
const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
const { info, accessKeySecret, securityToken } = await new AccessKeys(dir).create({ expiresAt });
await LocalKms.open(dir).createKey({ alias: 'alias/x' });
const serving = await serveKms({ dir, listen: { host: '127.0.0.1', port: 0 } }, pino({ level: 'silent' }));

const credentials = JSON.stringify({
  Code: 'Success',
  AccessKeyId: info.accessKeyId,
  AccessKeySecret: accessKeySecret,
  SecurityToken: securityToken,
  Expiration: `${expiresAt.slice(0, 19)}Z`,
});
const metadata = createServer((request, response) => {
  const { method, url, headers } = request;
  if (method === 'PUT' && url === '/latest/api/token') return void response.end(TOKEN);
  const known = { [ROLES]: 'disks', [`${ROLES}disks`]: credentials }[url ?? ''];
  const allowed = headers['x-aliyun-ecs-metadata-token'] === TOKEN;
  response.writeHead(allowed && known !== undefined ? 200 : 403).end(known);
});
metadata.listen(80, METADATA);
await once(metadata, 'listening');

const uri = `alikms:///alias/x?region=cn-hangzhou&endpoint=${new URL(serving.origin).host}&protocol=http`;
const provider = await openProvider(uri, { poolDir: '/nonexistent', env: {}, namedByOwner: true });
const { state } = await provider.describeKey(undefined, { timeoutMs: 10_000 });
process.stdout.write(state);
await provider.close();
await serving.close();
metadata.close();
metadata.closeAllConnections();
