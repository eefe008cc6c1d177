/** NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT: queries, selections, and what forgets a selection. */

import t from 'tap';
import { META_KEPT_MAX_BYTES } from '#sealdisk/nbd/limits.js';
import {
  be,
  clientFlags,
  disk,
  goData,
  haggle,
  metaData,
  option,
  type Played,
  play,
  repliesOf,
} from './wire.js';

const [ACK, META_CONTEXT] = [1, 4];
const INVALID = 0x80000003;
const UNKNOWN = 0x80000006;
const TOO_BIG = 0x80000009;
const [EXPORT_NAME, GO, STRUCTURED, LIST, SET, EXTENDED] = [1, 7, 8, 9, 10, 11];

const many = {
  ...disk,
  name: 'many',
  contexts: ['base:allocation', 'sealdisk:key-state', 'sealdisk:a:b', 'x-é:ö'],
};
const exports = [disk, many, { ...disk, name: 'none', contexts: [] }];
const structured = (...inputs: Buffer[]): Played =>
  haggle([option(STRUCTURED), ...inputs], { replies: 'extended' }, exports);

/** Replies to the last option: name of each context, then the type of what is no context. */
function toldOf({ output }: Played, number: number): (string | number)[] {
  const replies = repliesOf(output).filter((reply) => reply.option === number);
  return replies.map(({ type, data }) => (type === META_CONTEXT ? data.subarray(4).toString() : type));
}
const ids = ({ output }: Played, number: number): number[] =>
  repliesOf(output)
    .filter((reply) => reply.option === number && reply.type === META_CONTEXT)
    .map((reply) => reply.data.readUInt32BE(0));
const contextsOf = ({ verdict }: Played): [string, number][] | string =>
  verdict.kind === 'transmit' ? [...verdict.negotiated.contexts] : verdict.kind;

const queries: [string, string, string[], string[], string[]][] = [
  // title, export, queries, what LIST tells, what SET selects
  ['no query', 'many', [], many.contexts, []],
  ['a whole name', 'disk', ['base:allocation'], ['base:allocation'], ['base:allocation']],
  ['the namespace base', 'many', ['base:'], ['base:allocation'], []],
  ['a namespace of ours', 'many', ['sealdisk:'], ['sealdisk:key-state', 'sealdisk:a:b'], []],
  ['a leaf-name with a colon', 'many', ['sealdisk:a:b'], ['sealdisk:a:b'], ['sealdisk:a:b']],
  ['half a leaf-name', 'many', ['sealdisk:a:', 'sealdisk:key', 'base:alloc'], [], []],
  ['a name beyond ASCII', 'many', ['x-é:ö'], ['x-é:ö'], ['x-é:ö']],
  ['an unknown leaf-name of base', 'disk', ['base:nothing'], [], []],
  ['unknown namespaces', 'disk', ['qemu:dirty-bitmap:x', 'x-a:b', 'base2:'], [], []],
  ['another case', 'disk', ['BASE:allocation', 'base:Allocation'], [], []],
  ['a name twice', 'disk', ['base:allocation', 'base:allocation'], ['base:allocation'], ['base:allocation']],
  [
    'a name and its namespace',
    'many',
    ['base:allocation', 'base:'],
    ['base:allocation'],
    ['base:allocation'],
  ],
  [
    'known and unknown',
    'disk',
    ['x-a:b', 'sealdisk:key-state', 'qemu:'],
    ['sealdisk:key-state'],
    ['sealdisk:key-state'],
  ],
  ['all names', 'disk', [...disk.contexts].reverse(), [...disk.contexts], [...disk.contexts]],
  ['the default export', '', ['base:allocation'], ['base:allocation'], ['base:allocation']],
  ['an export without contexts', 'none', ['base:allocation', 'base:'], [], []],
];

for (const [title, name, asked, listed, selected] of queries) {
  t.test(`of ${title}, LIST tells ${listed.length} and SET selects ${selected.length}`, async (t) => {
    const list = structured(option(LIST, metaData(name, asked)));
    t.same(toldOf(list, LIST), [...listed, ACK]);
    t.ok(
      ids(list, LIST).every((id) => id === 0),
      'ids of LIST are reserved',
    );
    const set = structured(option(SET, metaData(name, asked)), option(GO, goData(name)));
    t.same(toldOf(set, SET), [...selected, ACK]);
    const told = ids(set, SET);
    t.ok(
      told.every((id) => id !== 0) && new Set(told).size === told.length,
      'ids of SET are not 0, none twice',
    );
    t.same(
      contextsOf(set),
      selected.map((context, i) => [context, told[i] ?? 0]),
    );
  });
}

const flaws: [string, Buffer, number][] = [
  ['no data', Buffer.alloc(0), INVALID],
  ['three bytes', Buffer.alloc(3), INVALID],
  ['a name that reaches past the end', Buffer.concat([be(32, 5), Buffer.from('disk')]), INVALID],
  ['a name of 4 GiB', Buffer.concat([be(32, 0xffffffff), Buffer.from('disk'), be(32, 0)]), INVALID],
  ['no number of queries', metaData('disk', []).subarray(0, -1), INVALID],
  ['fewer queries than said', Buffer.concat([be(32, 4), Buffer.from('disk'), be(32, 1)]), INVALID],
  [
    'a number of 4 G queries',
    Buffer.concat([metaData('disk', []).subarray(0, -4), be(32, 0xffffffff)]),
    INVALID,
  ],
  ['a query that is cut', metaData('disk', ['base:allocation']).subarray(0, -1), INVALID],
  ['a query whose length is cut', metaData('disk', ['base:', '']).subarray(0, -1), INVALID],
  ['a byte behind the queries', Buffer.concat([metaData('disk', ['base:']), Buffer.alloc(1)]), INVALID],
  ['a query without a colon', metaData('disk', ['base:allocation', 'base']), INVALID],
  ['a query without a namespace', metaData('disk', [':allocation']), INVALID],
  ['an empty query', metaData('disk', ['']), INVALID],
  ['a query with a NUL', metaData('disk', ['base:\0']), INVALID],
  [
    'a query that is not UTF-8',
    Buffer.concat([be(32, 0), be(32, 1), be(32, 2), Buffer.from([0x3a, 0xff])]),
    INVALID,
  ],
  ['a name that is not UTF-8', Buffer.concat([be(32, 1), Buffer.from([0xff]), be(32, 0)]), INVALID],
  ['a name over 4096 bytes', metaData('x'.repeat(4097), []), TOO_BIG],
  ['a query over 4096 bytes', metaData('disk', [`x:${'x'.repeat(4095)}`]), TOO_BIG],
  ['more data than is kept', Buffer.alloc(META_KEPT_MAX_BYTES + 1), TOO_BIG],
  ['an export that does not exist', metaData('nobody', ['base:allocation']), UNKNOWN],
];

for (const [flaw, data, type] of flaws) {
  t.test(`${flaw}: an error, the selection is forgotten, and haggling goes on`, async (t) => {
    const good = option(SET, metaData('disk', ['base:allocation']));
    const listed = structured(good, option(LIST, data), option(GO, goData('disk')));
    t.same(toldOf(listed, LIST), [type]);
    t.same(contextsOf(listed), [['base:allocation', 1]], 'LIST changes no selection');
    const set = structured(good, option(SET, data), option(GO, goData('disk')));
    t.same(toldOf(set, SET).slice(2), [type]);
    t.same(contextsOf(set), []);
  });
}

t.test('the longest name and the longest query fit', async (t) => {
  const data = metaData('x'.repeat(4096), [`x:${'x'.repeat(4094)}`]);
  t.same(toldOf(structured(option(LIST, data)), LIST), [UNKNOWN]);
  const usual = metaData(
    'disk',
    Array.from({ length: 400 }, (_, i) => `base:allocation-${i}`),
  );
  t.same(toldOf(structured(option(LIST, usual)), LIST), [ACK]);
});

t.test(
  'SET before structured replies is NBD_REP_ERR_INVALID and selects nothing, LIST is answered',
  async (t) => {
    const data = metaData('disk', ['base:allocation']);
    const early = [option(SET, data), option(LIST, data), option(STRUCTURED), option(GO, goData('disk'))];
    const played = haggle(early, { replies: 'structured' });
    t.same(toldOf(played, SET), [INVALID]);
    t.same(toldOf(played, LIST), ['base:allocation', ACK]);
    t.same(contextsOf(played), []);
  },
);

t.test('SET after extended headers alone selects', async (t) => {
  const data = metaData('disk', ['sealdisk:key-state']);
  t.same(contextsOf(haggle([option(EXTENDED), option(SET, data), option(GO, goData('disk'))])), [
    ['sealdisk:key-state', 2],
  ]);
});

t.test('each SET replaces what the one before selected', async (t) => {
  const first = option(SET, metaData('disk', ['base:allocation']));
  const cases: [string, Buffer, [string, number][]][] = [
    ['another context', option(SET, metaData('disk', ['sealdisk:key-state'])), [['sealdisk:key-state', 2]]],
    ['no context', option(SET, metaData('disk', [])), []],
    ['a context of another export', option(SET, metaData('many', ['base:allocation'])), []],
  ];
  for (const [title, second, expected] of cases) {
    t.same(contextsOf(structured(first, second, option(GO, goData('disk')))), expected, title);
  }
});

t.test(
  'a selection holds for its own export only, by GO and by EXPORT_NAME, under either of its names',
  async (t) => {
    const selected = [['base:allocation', 1]];
    const entries: [string, string, unknown][] = [
      ['disk', 'disk', selected],
      ['disk', '', selected],
      ['', 'disk', selected],
      ['', '', selected],
      ['disk', 'many', []],
      ['many', '', []],
    ];
    for (const [set, entered, expected] of entries) {
      const chosen = option(SET, metaData(set, ['base:allocation']));
      t.same(contextsOf(structured(chosen, option(GO, goData(entered)))), expected, `GO ${set} ${entered}`);
      const byName = structured(chosen, option(EXPORT_NAME, entered));
      t.same(contextsOf(byName), expected, `EXPORT_NAME ${set} ${entered}`);
    }
  },
);

t.test('a GO that fails forgets no selection', async (t) => {
  const set = option(SET, metaData('disk', ['base:allocation']));
  const played = structured(set, option(GO, goData('nobody')), option(GO, goData('disk')));
  t.same(contextsOf(played), [['base:allocation', 1]]);
});

t.test('a conversation about contexts may be cut anywhere', async (t) => {
  const data = metaData('many', ['base:allocation', 'sealdisk:', 'x-é:ö', 'qemu:']);
  const conversation = Buffer.concat([
    clientFlags(3),
    option(STRUCTURED),
    option(LIST, data),
    option(SET, data),
    option(LIST, metaData('many', [])),
    option(GO, goData('many')),
  ]);
  const whole = play([conversation], exports, { replies: 'structured' });
  t.same(contextsOf(whole), [
    ['base:allocation', 1],
    ['x-é:ö', 4],
  ]);
  for (let cut = 1; cut < conversation.length; cut += 1) {
    const halves = play([conversation.subarray(0, cut), conversation.subarray(cut)], exports, {
      replies: 'structured',
    });
    if (!halves.output.equals(whole.output) || contextsOf(halves).toString() !== contextsOf(whole).toString())
      t.fail(`cut at ${cut}`);
  }
});

t.test('a context that has no right name is refused before it is announced', async (t) => {
  const wrong = [
    ['base'],
    [':allocation'],
    ['base:'],
    ['ba se:x'],
    ['base:\0'],
    ['a:b', 'a:b'],
    [`a:${'x'.repeat(4095)}`],
  ];
  for (const contexts of wrong) {
    t.throws(() => haggle([], {}, [{ ...disk, contexts }]), { code: 'INTERNAL' }, contexts.join());
  }
});
