/** Rows about requests that a server should refuse, and go on. */

import { CMD, type Session } from '../client.js';
import { PROOF } from '../proofs.js';
import { type Group, MIB, type Row } from '../target.js';
import { row, survives } from './ask.js';

const END = (session: Session): bigint => session.told.sizeBytes;
const TOP = (1n << 64n) - 512n;

const beyond = (
  subject: string,
  rule: string,
  request: (session: Session) => Parameters<Session['ask']>[0],
  must?: RegExp,
): Row =>
  row(
    subject,
    rule,
    PROOF.beyond,
    survives(async (session) => {
      await session.ask(request(session));
      return undefined;
    }),
    must,
  );

const rows: Row[] = [
  beyond('READ past the end', 'SHOULD be `NBD_EINVAL`', (s) => ({
    type: CMD.READ,
    offset: END(s) - 512n,
    length: 1024,
  })),
  beyond('WRITE past the end', 'SHOULD be `NBD_ENOSPC`; its payload is skipped', (s) => ({
    type: CMD.WRITE,
    offset: END(s) - 512n,
    payload: Buffer.alloc(MIB, 0x25),
  })),
  beyond('TRIM past the end', 'SHOULD be `NBD_EINVAL`', (s) => ({
    type: CMD.TRIM,
    offset: END(s) - 512n,
    length: 1024,
  })),
  beyond('WRITE_ZEROES past the end', 'SHOULD be `NBD_ENOSPC`', (s) => ({
    type: CMD.WRITE_ZEROES,
    offset: END(s) - 512n,
    length: 1024,
  })),
  beyond('CACHE past the end', 'unspecified', (s) => ({ type: CMD.CACHE, offset: END(s), length: 512 })),
  beyond('READ where offset and length overflow 64 bits', 'MUST NOT be served', () => ({
    type: CMD.READ,
    offset: TOP,
    length: 1024,
  })),
  beyond('WRITE where they overflow', 'MUST NOT be served', () => ({
    type: CMD.WRITE,
    offset: TOP,
    payload: Buffer.alloc(1024, 0x25),
  })),
  ...(
    [
      ['READ', CMD.READ],
      ['WRITE', CMD.WRITE],
      ['TRIM', CMD.TRIM],
      ['WRITE_ZEROES', CMD.WRITE_ZEROES],
    ] as const
  ).map(([name, type]) =>
    row(
      `${name} of length 0`,
      'unspecified; SHOULD NOT disconnect',
      PROOF.lengthZero,
      survives(async (session, { offset }) => {
        await session.ask({ type, offset, length: 0 });
        return undefined;
      }),
    ),
  ),
  ...(
    [
      ['WRITE', CMD.WRITE],
      ['TRIM', CMD.TRIM],
      ['WRITE_ZEROES', CMD.WRITE_ZEROES],
    ] as const
  ).map(
    ([name, type]): Row => ({
      subject: `${name} on a read-only export`,
      rule: 'SHOULD be `NBD_EPERM`',
      proof: PROOF.readOnly,
      ask: async (target) => {
        const session = await target.session('simple', { flavour: 'read-only' });
        return survives(async () => {
          const payload = type === CMD.WRITE ? { payload: Buffer.alloc(4096, 0x25) } : { length: 4096 };
          await session.ask({ type, offset: target.offset, ...payload });
          return undefined;
        })(session, target);
      },
    }),
  ),
];

export const errors: Group = { title: 'Errors', rows };
