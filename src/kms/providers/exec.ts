/**
 * The `exec:` provider: a program that the owner of the machine brings, for a KMS that nobody foresaw.
 * `exec:///usr/local/bin/my-kms?key=NAME`; how it is asked is specified in docs/providers.md.
 *
 * The program gets no argument and no shell. By the word of a disk's token alone it is not run: SEALDISK_EXEC_PROGRAMS must
 * name it, or the owner the key. Who could write the program could read every key: see exec/ownership.ts.
 */

import { type ProviderScheme, vouch } from '../provider.js';
import { parameters, percentDecoded, refuseUri, splitQuery, splitScheme } from '../uri.js';

export interface ExecUri {
  /** Absolute, in its shortest form. */
  readonly program: string;
  readonly key: string;
  readonly canonical: string;
}

const PROGRAMS = 'SEALDISK_EXEC_PROGRAMS';
const PROGRAM_MAX_BYTES = 256;
const KEY_MAX_BYTES = 256;

export const execScheme: ProviderScheme = {
  scheme: 'exec',
  canonical: (uri) => parseExec(uri).canonical,
  async open(text, environment) {
    const uri = parseExec(text);
    const allowed = (environment.env[PROGRAMS] ?? '').split(':').includes(uri.program);
    vouch(environment, allowed, `the program ${uri.program}`, PROGRAMS);
    const { openExec } = await import('./exec/provider.js');
    return openExec(uri, environment);
  },
};

/** Fails with KEY_URI_SYNTAX. */
export function parseExec(text: string): ExecUri {
  const { path, query } = splitQuery(splitScheme(text)?.rest ?? '');
  const { key } = parameters(text, query, ['key']);
  const program = path.startsWith('///') ? percentDecoded(text, path.slice(2), 'the program') : '';
  const parts = program.split('/').slice(1);
  if (parts.length === 0 || parts.some((part) => ['', '.', '..'].includes(part))) {
    refuseUri(text, 'it is exec:///ABSOLUTE/PATH?key=NAME');
  }
  if (program.includes(':')) refuseUri(text, 'the path of the program has a colon');
  if (key === undefined) refuseUri(text, 'it names no key (?key=NAME)');
  if (Buffer.byteLength(program) > PROGRAM_MAX_BYTES || Buffer.byteLength(key) > KEY_MAX_BYTES) {
    refuseUri(text, `the program and the key have at most ${KEY_MAX_BYTES} bytes each`);
  }
  const encoded = parts.map(encodeURIComponent).join('/');
  return { program, key, canonical: `exec:///${encoded}?key=${encodeURIComponent(key)}` };
}
