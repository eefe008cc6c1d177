/** Option by option: what is answered, byte for byte where the specification says it so. */

import t from 'tap';
import { GO_KEPT_MAX_BYTES, OPTION_SKIPPED_MAX_BYTES } from '#sealdisk/nbd/limits.js';
import {
  ask,
  be,
  clientFlags,
  disk,
  goData,
  option,
  optionHeader,
  play,
  readOnlyDisk,
  repliesOf,
} from './wire.js';

const ACK = 1;
const SERVER = 2;
const INFO = 3;
const UNSUP = 0x80000001;
const INVALID = 0x80000003;
const UNKNOWN = 0x80000006;
const TOO_BIG = 0x80000009;
const FIXED = clientFlags(3);
const [EXPORT_NAME, ABORT, LIST, INFO_OPTION, GO] = [1, 2, 3, 6, 7];

const exportInfo = Buffer.concat([be(16, 0), be(64, disk.sizeBytes), be(16, disk.transmissionFlags)]);
const types = (replies: { type: number }[]): number[] => replies.map((reply) => reply.type);

t.test('EXPORT_NAME answers size, flags and 124 zeroes, then transmits', async (t) => {
  const { output, verdict } = play([clientFlags(1), option(EXPORT_NAME, 'disk'), Buffer.from('rest')]);
  t.same(output, Buffer.concat([exportInfo.subarray(2), Buffer.alloc(124)]));
  t.match(verdict, { kind: 'transmit', negotiated: { exportName: 'disk', noZeroes: false } });
});

t.test('EXPORT_NAME leaves the zeroes out for NBD_FLAG_C_NO_ZEROES', async (t) => {
  const { output, verdict } = play([FIXED, option(EXPORT_NAME, 'disk')]);
  t.same(output, exportInfo.subarray(2));
  t.match(verdict, { kind: 'transmit', negotiated: { noZeroes: true, fixedNewstyle: true } });
});

t.test('EXPORT_NAME serves a client without fixed newstyle', async (t) => {
  const { verdict } = play([clientFlags(0), option(EXPORT_NAME, '')]);
  t.match(verdict, { kind: 'transmit', negotiated: { exportName: 'disk', fixedNewstyle: false } });
});

t.test('EXPORT_NAME of an export that does not exist ends the session without a byte', async (t) => {
  const { output, verdict } = play([FIXED, option(EXPORT_NAME, 'nobody')]);
  t.equal(output.length, 0);
  t.match(verdict, { kind: 'close', fault: { what: 'export name', found: '"nobody"' } });
});

t.test('EXPORT_NAME with a name that is not UTF-8 ends the session', async (t) => {
  for (const name of [Buffer.from([0xff]), Buffer.from('di\0sk')]) {
    t.match(play([FIXED, option(EXPORT_NAME, name)]).verdict, {
      kind: 'close',
      fault: { found: 'not a string' },
    });
  }
});

t.test('EXPORT_NAME longer than a name can be ends the session before the name is read', async (t) => {
  const { verdict } = play([FIXED, optionHeader(EXPORT_NAME, 4097)]);
  t.match(verdict, { kind: 'close', fault: { found: 4097, expected: 'at most 4096' } });
  t.match(play([FIXED, optionHeader(EXPORT_NAME, 4096)]).verdict, { kind: 'more' });
});

t.test('GO answers NBD_INFO_EXPORT and ACK, then transmits, without zeroes', async (t) => {
  const { output, verdict } = play([clientFlags(1), option(GO, goData('disk'))]);
  t.same(repliesOf(output), [
    { option: GO, type: INFO, data: exportInfo },
    { option: GO, type: ACK, data: Buffer.alloc(0) },
  ]);
  t.match(verdict, { kind: 'transmit', negotiated: { exportName: 'disk', sizeBytes: disk.sizeBytes } });
});

t.test('GO says that the export is read-only', async (t) => {
  t.match(play([FIXED, option(GO, goData('çopy'))]).verdict, { negotiated: { readOnly: true } });
  t.match(play([FIXED, option(GO, goData('disk'))]).verdict, { negotiated: { readOnly: false } });
});

t.test('INFO answers what GO answers, and haggling goes on', async (t) => {
  const asked = goData('disk', [1, 2, 3]);
  const { output, verdict } = play([FIXED, option(INFO_OPTION, asked)]);
  t.equal(verdict.kind, 'more');
  t.same(
    repliesOf(output),
    ask(GO, asked).map((reply) => ({ ...reply, option: INFO_OPTION })),
  );
});

t.test('INFO tells name, description and block sizes when asked', async (t) => {
  const replies = ask(INFO_OPTION, goData('disk', [3, 1, 2]));
  t.same(
    replies.map((reply) => reply.data),
    [
      exportInfo,
      Buffer.concat([be(16, 3), be(32, 1), be(32, 4096), be(32, 32 << 20)]),
      Buffer.concat([be(16, 1), Buffer.from('disk')]),
      Buffer.concat([be(16, 2), Buffer.from('a disk')]),
      Buffer.alloc(0),
    ],
  );
});

t.test('INFO leaves out a description that is empty', async (t) => {
  t.same(types(ask(INFO_OPTION, goData('çopy', [2]))), [INFO, ACK]);
});

t.test(
  'INFO ignores information types that it does not know, and answers one asked for twice once',
  async (t) => {
    t.same(types(ask(INFO_OPTION, goData('disk', [0, 9, 65535, 3, 3, 0]))), [INFO, INFO, ACK]);
  },
);

t.test('INFO of the empty name is the first export, by its canonical name', async (t) => {
  t.same(ask(INFO_OPTION, goData('', [1]))[1]?.data, Buffer.concat([be(16, 1), Buffer.from('disk')]));
});

t.test('INFO of the empty name is the export of that name where there is one', async (t) => {
  const exports = [disk, { ...disk, name: '', sizeBytes: 512n }];
  t.same(ask(INFO_OPTION, goData(''), exports)[0]?.data.readBigUInt64BE(2), 512n);
});

t.test(
  'GO of an export that does not exist is NBD_REP_ERR_UNKNOWN with a message, and haggling goes on',
  async (t) => {
    const { output, verdict } = play([FIXED, option(GO, goData('no\nbody'))]);
    t.equal(verdict.kind, 'more');
    t.same(repliesOf(output), [{ option: GO, type: UNKNOWN, data: Buffer.from('no export "no\\nbody"') }]);
  },
);

t.test('GO of the empty name on a server without exports is NBD_REP_ERR_UNKNOWN', async (t) => {
  t.same(types(ask(GO, goData(''), [])), [UNKNOWN]);
});

t.test('GO that is malformed is NBD_REP_ERR_INVALID', async (t) => {
  const flaws: [string, Buffer][] = [
    ['no data', Buffer.alloc(0)],
    ['five bytes', Buffer.alloc(5)],
    ['a name that reaches into the count', Buffer.concat([be(32, 5), Buffer.from('disk'), be(16, 0)])],
    ['a name of 4 GiB', Buffer.concat([be(32, 0xffffffff), Buffer.from('disk'), be(16, 0)])],
    ['fewer information requests than said', goData('disk', [1]).subarray(0, -2)],
    ['half an information request', goData('disk', [1]).subarray(0, -1)],
    ['a byte too many', Buffer.concat([goData('disk'), Buffer.alloc(1)])],
    ['a name that is not UTF-8', Buffer.concat([be(32, 1), Buffer.from([0x80]), be(16, 0)])],
    ['a name with a NUL', goData('di\0sk')],
  ];
  for (const [flaw, data] of flaws) {
    for (const number of [GO, INFO_OPTION]) {
      const { output, verdict } = play([FIXED, option(number, data)]);
      t.same(types(repliesOf(output)), [INVALID], flaw);
      t.equal(verdict.kind, 'more', flaw);
    }
  }
});

t.test('GO with a name over 4096 bytes is NBD_REP_ERR_TOO_BIG, at 4096 it is looked up', async (t) => {
  t.same(types(ask(GO, goData('x'.repeat(4097)))), [TOO_BIG]);
  t.same(types(ask(GO, goData('x'.repeat(4096)))), [UNKNOWN]);
});

t.test('GO with more data than is kept is skipped and answered NBD_REP_ERR_TOO_BIG', async (t) => {
  const { output, verdict } = play([
    FIXED,
    option(GO, Buffer.alloc(GO_KEPT_MAX_BYTES + 1)),
    option(INFO_OPTION, goData('disk')),
  ]);
  t.same(types(repliesOf(output)), [TOO_BIG, INFO, ACK]);
  t.equal(verdict.kind, 'more');
});

t.test('LIST tells each export with its description', async (t) => {
  t.same(ask(LIST), [
    { option: LIST, type: SERVER, data: Buffer.concat([be(32, 4), Buffer.from('diska disk')]) },
    { option: LIST, type: SERVER, data: Buffer.concat([be(32, 5), Buffer.from('çopy')]) },
    { option: LIST, type: ACK, data: Buffer.alloc(0) },
  ]);
});

t.test('LIST of no exports is ACK', async (t) => t.same(types(ask(LIST, '', [])), [ACK]));

t.test('LIST with data is NBD_REP_ERR_INVALID, and the next option is read right', async (t) => {
  const { output } = play([FIXED, option(LIST, 'x'), option(LIST)], [readOnlyDisk]);
  t.same(types(repliesOf(output)), [INVALID, SERVER, ACK]);
});

t.test('ABORT is acknowledged and ends the session without a fault, also with data', async (t) => {
  for (const data of ['', 'bye']) {
    const { output, verdict } = play([FIXED, option(ABORT, data)]);
    t.same(repliesOf(output), [{ option: ABORT, type: ACK, data: Buffer.alloc(0) }]);
    t.same(verdict, { kind: 'close', fault: undefined });
  }
});

t.test('every other option is NBD_REP_ERR_UNSUP, its data dropped, and haggling goes on', async (t) => {
  for (const number of [0, 4, 8, 9, 10, 11, 12, 0x7fffffff, 0xffffffff]) {
    for (const data of ['', 'some data']) {
      const { output, verdict } = play([FIXED, option(number, data), option(ABORT)]);
      const [first, second] = repliesOf(output);
      t.match(first, { option: number, type: UNSUP });
      t.match(second, { option: ABORT, type: ACK });
      t.equal(verdict.kind, 'close');
    }
  }
});

t.test('data of 1 MiB is still skipped, one byte more ends the session', async (t) => {
  const { output } = play([FIXED, option(10, Buffer.alloc(OPTION_SKIPPED_MAX_BYTES))]);
  t.same(types(repliesOf(output)), [UNSUP]);
  for (const number of [10, GO, LIST, ABORT]) {
    const { verdict } = play([FIXED, optionHeader(number, OPTION_SKIPPED_MAX_BYTES + 1)]);
    t.match(verdict, { kind: 'close', fault: { found: OPTION_SKIPPED_MAX_BYTES + 1 } });
  }
});
