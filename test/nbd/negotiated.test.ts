/** NBD_OPT_STRUCTURED_REPLY and NBD_OPT_EXTENDED_HEADERS: what is agreed on, and the flags that follow from it. */

import t from 'tap';
import type { Replies } from '#sealdisk/nbd/server.js';
import { disk, goData, haggle, metaData, option, type Played, repliesOf } from './wire.js';

const [ACK, INFO, META_CONTEXT] = [1, 3, 4];
const UNSUP = 0x80000001;
const INVALID = 0x80000003;
const EXT_HEADER_REQD = 0x8000000a;
const [EXPORT_NAME, ABORT, INFO_OPTION, GO, STRUCTURED, LIST_META, SET_META, EXTENDED] = [
  1, 2, 6, 7, 8, 9, 10, 11,
];
const DF = 1 << 7;
const STATUS_PAYLOAD = 1 << 12;

const typesOf = ({ output }: Played): number[] => repliesOf(output).map((reply) => reply.type);
const negotiatedOf = ({ verdict }: Played) =>
  verdict.kind === 'transmit' ? verdict.negotiated : { kind: verdict.kind };

const conversations: [string, number[], number[], Replies][] = [
  ['nothing', [], [], 'simple'],
  ['structured replies', [STRUCTURED], [ACK], 'structured'],
  ['structured replies twice', [STRUCTURED, STRUCTURED], [ACK, ACK], 'structured'],
  ['extended headers', [EXTENDED], [ACK], 'extended'],
  ['extended headers twice', [EXTENDED, EXTENDED], [ACK, ACK], 'extended'],
  ['structured replies, then extended headers', [STRUCTURED, EXTENDED], [ACK, ACK], 'extended'],
  ['structured replies after extended headers', [EXTENDED, STRUCTURED], [ACK, EXT_HEADER_REQD], 'extended'],
];

for (const [asked, options, answers, replies] of conversations) {
  t.test(`a client that asks for ${asked} gets ${replies} replies`, async (t) => {
    const played = haggle([...options.map((one) => option(one)), option(GO, goData('disk'))]);
    t.same(typesOf(played), [...answers, INFO, ACK]);
    t.match(negotiatedOf(played), { replies });
    const df = replies === 'simple' ? 0 : DF;
    const { data } = repliesOf(played.output).at(-2) ?? { data: Buffer.alloc(12) };
    t.equal(data.readUInt16BE(10), disk.transmissionFlags | df, 'NBD_INFO_EXPORT tells the flags');
    t.match(negotiatedOf(played), { transmissionFlags: disk.transmissionFlags | df });
  });
}

t.test(
  'structured replies and extended headers with data are NBD_REP_ERR_INVALID and agree on nothing',
  async (t) => {
    for (const number of [STRUCTURED, EXTENDED]) {
      for (const data of ['x', Buffer.alloc(5000)]) {
        const played = haggle([option(number, data), option(GO, goData('disk'))]);
        t.same(typesOf(played), [INVALID, INFO, ACK]);
        t.match(negotiatedOf(played), { replies: 'simple' });
      }
    }
  },
);

t.test('a server whose transmission speaks less does not know the options that need more', async (t) => {
  const all = [STRUCTURED, LIST_META, SET_META, EXTENDED];
  const meta = (number: number): Buffer =>
    option(number, number === LIST_META || number === SET_META ? metaData('disk', []) : '');
  const answers = (replies: Replies): number[] => typesOf(haggle(all.map(meta), { replies }));
  t.same(answers('simple'), [UNSUP, UNSUP, UNSUP, UNSUP]);
  t.same(answers('structured'), [ACK, META_CONTEXT, META_CONTEXT, ACK, ACK, UNSUP]);
  t.same(answers('extended'), [ACK, META_CONTEXT, META_CONTEXT, ACK, ACK, ACK]);
});

t.test(
  'EXPORT_NAME tells DF after structured replies, and ends the session after extended headers',
  async (t) => {
    const structured = haggle([option(STRUCTURED), option(EXPORT_NAME, 'disk')]);
    t.equal(structured.output.readUInt16BE(20 + 8), disk.transmissionFlags | DF);
    t.match(negotiatedOf(structured), {
      replies: 'structured',
      transmissionFlags: disk.transmissionFlags | DF,
    });
    const { output, verdict } = haggle([option(EXTENDED), option(EXPORT_NAME, 'disk')]);
    t.same(repliesOf(output).length, 1);
    t.match(verdict, { kind: 'close', fault: { what: 'export name', expected: 'NBD_OPT_GO' } });
  },
);

t.test(
  'NBD_FLAG_BLOCK_STATUS_PAYLOAD is told with extended headers and a selected context only',
  async (t) => {
    const set = option(SET_META, metaData('disk', ['base:allocation']));
    const none = option(SET_META, metaData('disk', []));
    const other = option(SET_META, metaData('çopy', ['base:allocation']));
    const cases: [string, Buffer[], number][] = [
      ['structured replies', [option(STRUCTURED), set], 0],
      ['extended headers without a selection', [option(EXTENDED)], 0],
      ['extended headers and a selection', [option(EXTENDED), set], STATUS_PAYLOAD],
      ['a selection, then extended headers', [option(STRUCTURED), set, option(EXTENDED)], STATUS_PAYLOAD],
      ['an empty selection', [option(EXTENDED), set, none], 0],
      ['a selection for another export', [option(EXTENDED), other], 0],
    ];
    for (const [title, inputs, bit] of cases) {
      const played = haggle([...inputs, option(GO, goData('disk'))]);
      t.match(negotiatedOf(played), { transmissionFlags: disk.transmissionFlags | DF | bit }, title);
    }
  },
);

t.test('INFO tells what a GO behind it tells, whatever was negotiated before', async (t) => {
  const befores = [[], [STRUCTURED], [EXTENDED]].map((options) => options.map((one) => option(one)));
  befores.push([option(EXTENDED), option(SET_META, metaData('disk', ['base:allocation']))]);
  for (const before of befores) {
    const asked = goData('disk', [1, 2, 3]);
    const { output } = haggle([...before, option(INFO_OPTION, asked), option(GO, asked)]);
    const replies = repliesOf(output);
    const of = (number: number): Buffer[] =>
      replies.filter((reply) => reply.option === number).map((reply) => reply.data);
    t.same(of(INFO_OPTION), of(GO));
    t.equal(of(GO).length, 5);
  }
});

t.test('an export that claims what only negotiation gives is refused before it is announced', async (t) => {
  for (const bit of [DF, STATUS_PAYLOAD]) {
    const exports = [{ ...disk, transmissionFlags: disk.transmissionFlags | bit }];
    t.throws(() => haggle([option(ABORT)], {}, exports), { code: 'INTERNAL' });
  }
});
