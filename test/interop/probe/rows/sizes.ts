/** Rows about alignment, sizes, cookies, and many requests or connections at once. */

import { CMD, FLAG } from '../client.js';
import { PROOF } from '../proofs.js';
import { demand, type Group, MIB, type Row } from '../target.js';
import { pattern, row, survives, written } from './ask.js';

const rows: Row[] = [
  row(
    'READ and WRITE of 1 byte at offset 511',
    'the default minimum is 1',
    PROOF.alignment,
    async (session, { offset }) => written(session, offset + 511, 1),
  ),
  row(
    'READ and WRITE of 4097 bytes at offset 4095',
    'as above',
    PROOF.alignment,
    async (session, { offset }) => written(session, offset + 4095, 4097),
  ),
  row('WRITE of 32 MiB', 'SHOULD be served', PROOF.large, async (session) => {
    await session.write(1n << 30n, Buffer.alloc(32 * MIB, 0x5a));
    return undefined;
  }),
  row('READ of 32 MiB', 'SHOULD be served', PROOF.large, async (session) => {
    await session.read(1n << 30n, 32 * MIB);
    return undefined;
  }),
  row(
    'READ of 64 MiB',
    'MAY be refused',
    PROOF.large,
    survives(async (session) => {
      await session.read(1n << 30n, 64 * MIB);
      return undefined;
    }),
  ),
  row(
    'READ of 65 MiB',
    'MAY be refused',
    PROOF.tooLarge,
    survives(async (session) => {
      await session.read(1n << 30n, 65 * MIB);
      return undefined;
    }),
  ),
  row(
    'WRITE of 65 MiB',
    'MAY be refused or close',
    PROOF.tooLarge,
    survives(async (session) => {
      await session.write(1n << 30n, Buffer.alloc(65 * MIB, 0x5a));
      return undefined;
    }),
  ),
  row(
    'TRIM of 2 GiB',
    'SHOULD NOT disconnect',
    PROOF.hugeTrim,
    survives(async (session) => {
      await session.ask({ type: CMD.TRIM, offset: 2n << 30n, length: 2n << 30n });
      return undefined;
    }),
  ),
  row(
    'WRITE_ZEROES of 2 GiB with FAST_ZERO',
    'SHOULD NOT be `NBD_EOVERFLOW`',
    PROOF.fastZero,
    survives(async (session) => {
      await session.ask({
        type: CMD.WRITE_ZEROES,
        flags: FLAG.FAST_ZERO,
        offset: 2n << 30n,
        length: 2n << 30n,
      });
      return undefined;
    }),
  ),
  row('a request without its magic', 'hard disconnect MAY follow', PROOF.magic, async (session) => {
    await session.ask({ type: CMD.READ, length: 512, magic: 0x25609514 });
    return undefined;
  }),
  row('a cookie of 64 ones', 'MUST come back', PROOF.cookie, async (session, { offset }) => {
    await session.ask({ type: CMD.READ, offset, length: 512, cookie: (1n << 64n) - 1n });
    return undefined;
  }),
  row('one cookie for two requests in flight', 'the client SHOULD NOT', PROOF.cookie, async (session) => {
    for (let i = 0; i < 2; i++) session.send({ type: CMD.FLUSH, length: 0, cookie: 7n });
    for (let i = 0; i < 2; i++) demand((await session.peer.take(16)).readUInt32BE(4) === 0, 'an error');
    return undefined;
  }),
  row('512 requests sent at once', 'all are answered', PROOF.manyCommands, async (session, { offset }) => {
    for (let i = 0; i < 512; i++)
      session.send({ type: CMD.READ, offset: offset + (i % 64) * 512, length: 512 });
    for (let i = 0; i < 512; i++) await session.reply();
    return undefined;
  }),
  {
    subject: 'FLUSH and data across two connections',
    rule: 'with `NBD_FLAG_CAN_MULTI_CONN`',
    proof: PROOF.multiConn,
    ask: async (target) => {
      const one = await target.session();
      const two = await target.session();
      if (!(one.told.flags & 256)) return 'not offered';
      await one.write(target.offset, pattern(4096, 9));
      await two.ask({ type: CMD.FLUSH, length: 0 });
      demand(
        (await two.read(target.offset, 4096)).equals(pattern(4096, 9)),
        'the other connection reads old data',
      );
      return undefined;
    },
  },
];

export const sizes: Group = { title: 'Sizes and framing', rows };
