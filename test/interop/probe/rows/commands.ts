/** Rows about commands and their flags, answered with simple replies. */

import { CMD, FLAG } from '../client.js';
import { PROOF } from '../proofs.js';
import { demand, type Group, type Row } from '../target.js';
import { pattern, quiet, row, survives, written, zeroed } from './ask.js';

const basics: Row[] = [
  row('`NBD_CMD_READ` (0)', 'data', PROOF.rules, async (session, { offset }) => {
    await session.read(offset, 65_536);
    return undefined;
  }),
  row('`NBD_CMD_WRITE` (1)', 'reads back', PROOF.rules, (session, { offset }) =>
    written(session, offset, 65_536),
  ),
  row('`NBD_CMD_DISC` (2)', 'MUST close, without a reply', PROOF.disc, async (session) => {
    session.send({ type: CMD.DISC });
    demand((await session.peer.rest()).length === 0, 'a reply');
    return undefined;
  }),
  row(
    'DISC behind 64 reads and writes',
    'MUST answer what is outstanding',
    PROOF.disc,
    async (session, { offset }) => {
      for (let i = 0; i < 32; i++) {
        session.send({ type: CMD.READ, offset: offset + i * 4096, length: 4096 });
        session.send({ type: CMD.WRITE, offset: offset + i * 4096, payload: Buffer.alloc(4096, i) });
      }
      session.send({ type: CMD.DISC });
      const answered = (await session.peer.rest()).length;
      const whole = 64 * 16 + 32 * 4096;
      demand(answered === whole, 'some are not answered');
      return undefined;
    },
  ),
  row('a request after DISC', 'the client MUST NOT', PROOF.disc, async (session, { offset }) => {
    session.send({ type: CMD.DISC });
    session.send({ type: CMD.READ, offset, length: 512 });
    return (await session.peer.rest()).length === 0 ? 'closed' : 'wrong: answered';
  }),
  row('`NBD_CMD_FLUSH` (3)', 'after stable storage', PROOF.rules, async (session, { offset }) => {
    await session.write(offset, pattern(4096, 1));
    await session.ask({ type: CMD.FLUSH, length: 0 });
    return undefined;
  }),
  row(
    'FLUSH with an offset',
    'MUST be zero',
    PROOF.flushRule,
    survives(async (session) => {
      await session.ask({ type: CMD.FLUSH, offset: 4096, length: 0 });
      return undefined;
    }),
  ),
  row('`NBD_CMD_TRIM` (4)', 'a hint', PROOF.trim, (session, target) => quiet(session, target, CMD.TRIM)),
  row('data after TRIM', 'undefined', PROOF.trim, async (session, target) => {
    await quiet(session, target, CMD.TRIM);
    return (await session.read(target.offset, 65_536)).every((byte) => byte === 0) ? 'zeroes' : 'as before';
  }),
  row(
    '`NBD_CMD_CACHE` (5)',
    'a hint',
    PROOF.cache,
    survives((session, target) => quiet(session, target, CMD.CACHE)),
  ),
  row(
    '`NBD_CMD_WRITE_ZEROES` (6)',
    'reads back as zeroes, at any alignment',
    PROOF.rules,
    (session, { offset }) => zeroed(session, offset, 0),
  ),
  row(
    '`NBD_CMD_BLOCK_STATUS` (7) without a context',
    'SHOULD be `NBD_EINVAL`',
    PROOF.unknownCommand,
    survives((session, target) => quiet(session, target, CMD.BLOCK_STATUS)),
  ),
  row(
    '`NBD_CMD_RESIZE` (8)',
    'an extension: the offset is the new size',
    PROOF.resize,
    survives(async (session) => {
      await session.ask({ type: CMD.RESIZE, offset: session.told.sizeBytes, length: 0 });
      return undefined;
    }),
  ),
  row(
    'an unknown command (99)',
    'SHOULD be `NBD_EINVAL`',
    PROOF.unknownCommand,
    survives(async (session, { offset }) => {
      await session.ask({ type: 99, offset, length: 512 });
      return undefined;
    }),
  ),
];

const flag = (
  subject: string,
  rule: string,
  request: { type: number; flags: number; length?: number; payload?: Buffer },
  must?: RegExp,
): Row =>
  row(
    subject,
    rule,
    PROOF.commandFlags,
    survives(async (session, { offset }) => {
      const where = request.type === CMD.FLUSH ? 0 : offset;
      const length = request.payload?.length ?? (request.type === CMD.FLUSH ? 0 : 4096);
      await session.ask({ offset: where, length, ...request });
      return undefined;
    }),
    must,
  );

const FUA_RULE = 'MUST be accepted when FUA is advertised';
const flags: Row[] = [
  row('`NBD_CMD_FLAG_FUA` on WRITE', 'stable before the reply', PROOF.rules, (session, { offset }) =>
    written(session, offset, 4096, FLAG.FUA),
  ),
  row('FUA on WRITE_ZEROES', 'as above', PROOF.rules, (session, { offset }) =>
    zeroed(session, offset, FLAG.FUA),
  ),
  flag('FUA on TRIM', FUA_RULE, { type: CMD.TRIM, flags: FLAG.FUA }, /^supported$/),
  flag('FUA on READ', FUA_RULE, { type: CMD.READ, flags: FLAG.FUA }, /^supported$/),
  flag('FUA on FLUSH', FUA_RULE, { type: CMD.FLUSH, flags: FLAG.FUA }, /^supported$/),
  row('`NBD_CMD_FLAG_NO_HOLE` on WRITE_ZEROES', 'MUST be supported', PROOF.rules, (session, { offset }) =>
    zeroed(session, offset, FLAG.NO_HOLE),
  ),
  flag('NO_HOLE on READ', 'SHOULD be `NBD_EINVAL`', { type: CMD.READ, flags: FLAG.NO_HOLE }),
  row(
    '`NBD_CMD_FLAG_FAST_ZERO` on WRITE_ZEROES',
    'fast, or `NBD_ENOTSUP` and no change',
    PROOF.fastZero,
    survives(async (session, { offset }) => {
      await session.write(offset, pattern(65_536, 2));
      try {
        await session.ask({ type: CMD.WRITE_ZEROES, flags: FLAG.FAST_ZERO, offset, length: 65_536 });
      } catch (error) {
        demand(
          (await session.read(offset, 65_536)).equals(pattern(65_536, 2)),
          'refused, and the data is altered',
        );
        throw error;
      }
      demand(
        (await session.read(offset, 65_536)).every((byte) => byte === 0),
        'not zero',
      );
      return undefined;
    }),
  ),
  flag('FAST_ZERO on TRIM', 'SHOULD be `NBD_EINVAL`', { type: CMD.TRIM, flags: FLAG.FAST_ZERO }),
  flag('`NBD_CMD_FLAG_DF` without structured replies', 'SHOULD be `NBD_EINVAL`', {
    type: CMD.READ,
    flags: FLAG.DF,
  }),
  flag('`NBD_CMD_FLAG_REQ_ONE` on READ', 'SHOULD be `NBD_EINVAL`', { type: CMD.READ, flags: FLAG.REQ_ONE }),
  flag('`NBD_CMD_FLAG_PAYLOAD_LEN` without extended headers', 'the client MUST NOT', {
    type: CMD.READ,
    flags: FLAG.PAYLOAD_LEN,
  }),
  flag('an unknown command flag on READ', 'SHOULD be `NBD_EINVAL`', { type: CMD.READ, flags: 1 << 9 }),
  flag('an unknown command flag on WRITE', 'SHOULD be `NBD_EINVAL`; its payload is skipped', {
    type: CMD.WRITE,
    flags: 1 << 9,
    payload: Buffer.alloc(4096, 0x25),
  }),
];

export const commands: Group[] = [
  { title: 'Commands', rows: basics },
  { title: 'Command flags', rows: flags },
];
