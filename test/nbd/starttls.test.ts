/** NBD_OPT_STARTTLS in the state machine: when it may begin, what it forgets, who sees which export. */

import t from 'tap';
import type { Abilities } from '#sealdisk/nbd/exports.js';
import { enterTls, step } from '#sealdisk/nbd/handshake.js';
import { OPTION_SKIPPED_MAX_BYTES } from '#sealdisk/nbd/limits.js';
import {
  clientFlags,
  disk,
  goData,
  haggle,
  metaData,
  option,
  optionHeader,
  type Played,
  play,
  repliesOf,
} from './wire.js';

const [ACK, SERVER] = [1, 2];
const POLICY = 0x80000002;
const INVALID = 0x80000003;
const TLS_REQD = 0x80000005;
const UNKNOWN = 0x80000006;
const [EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO] = [1, 2, 3, 5, 6, 7];
const [STRUCTURED, LIST_META, SET_META, EXTENDED] = [8, 9, 10, 11];

const ON: Abilities = { replies: 'extended', tls: 'on' };
const REQUIRE: Abilities = { replies: 'extended', tls: 'require' };
const open = { ...disk, name: 'open' };
const forAda = { ...disk, name: 'ada', clientNames: ['ada', 'root'] };
const forNobody = { ...disk, name: 'nobody', clientNames: [] };
const exports = [forAda, open, forNobody];

const typesOf = (output: Uint8Array): number[] => repliesOf(output).map((reply) => reply.type);

/** What a client hears inside TLS, as `clientName`, after `before` in the clear. */
function inTls(before: Buffer[], after: Buffer[], clientName?: string, abilities = ON): Played {
  const { state, verdict } = haggle([...before, option(STARTTLS)], abilities, exports);
  if (verdict.kind !== 'tls') throw new Error(`no TLS, but ${verdict.kind}`);
  const { next, output, verdict: last } = step(enterTls(state, clientName), Buffer.concat(after));
  return { state: next, output: Buffer.concat(output), verdict: last };
}

t.test('STARTTLS is acknowledged in the clear, and nothing more is said there', async (t) => {
  for (const abilities of [ON, REQUIRE]) {
    const { output, verdict } = haggle([option(STARTTLS)], abilities);
    t.same(repliesOf(output), [{ option: STARTTLS, type: ACK, data: Buffer.alloc(0) }]);
    t.same(verdict, { kind: 'tls' });
  }
});

t.test('STARTTLS is NBD_REP_ERR_POLICY where TLS is off, with and without data', async (t) => {
  for (const data of ['', 'x']) {
    const { output, verdict } = haggle([option(STARTTLS, data), option(LIST)], { tls: 'off' }, []);
    t.same(typesOf(output), [POLICY, ACK]);
    t.equal(verdict.kind, 'more');
  }
});

t.test(
  'STARTTLS with data is NBD_REP_ERR_INVALID and begins nothing, and may be asked for again',
  async (t) => {
    const { output, verdict } = haggle([option(STARTTLS, 'x'), option(STARTTLS)], REQUIRE);
    t.same(typesOf(output), [INVALID, ACK]);
    t.equal(verdict.kind, 'tls');
  },
);

t.test('a second STARTTLS is NBD_REP_ERR_INVALID, and haggling goes on inside TLS', async (t) => {
  for (const abilities of [ON, REQUIRE]) {
    const { output, verdict } = inTls(
      [],
      [option(STARTTLS), option(STARTTLS, 'x'), option(LIST)],
      undefined,
      abilities,
    );
    t.same(typesOf(output), [INVALID, INVALID, SERVER, ACK]);
    t.equal(verdict.kind, 'more');
  }
});

t.test('bytes that come with STARTTLS end the session, unanswered and unread', async (t) => {
  const behind = {
    'a byte': Buffer.alloc(1),
    'an option': option(ABORT),
    'a ClientHello': Buffer.from('1603010200', 'hex'),
  };
  for (const [title, bytes] of Object.entries(behind)) {
    const { output, verdict } = haggle([option(LIST), Buffer.concat([option(STARTTLS), bytes])], ON, []);
    t.same(typesOf(output), [ACK], title);
    const fault = { what: 'input behind NBD_OPT_STARTTLS', found: `${bytes.length} bytes` };
    t.match(verdict, { kind: 'close', fault }, title);
  }
});

t.test('nothing that was agreed on in the clear is agreed on inside TLS', async (t) => {
  const select = option(SET_META, metaData('open', ['base:allocation']));
  for (const before of [
    [option(STRUCTURED), select],
    [option(EXTENDED), select],
  ]) {
    const { verdict } = inTls(before, [option(GO, goData('open'))]);
    const simple = { replies: 'simple', transmissionFlags: disk.transmissionFlags };
    t.match(verdict, { kind: 'transmit', negotiated: simple });
    const structured = inTls(before, [option(STRUCTURED), option(GO, goData('open'))]).verdict;
    t.same(structured.kind === 'transmit' && [...structured.negotiated.contexts], []);
    const early = inTls(before, [select]);
    t.same(typesOf(early.output), [INVALID], 'structured replies are to be negotiated again');
  }
  const again = inTls([option(STRUCTURED)], [option(EXTENDED), select, option(GO, goData('open'))]);
  t.match(again.verdict, {
    negotiated: { replies: 'extended', contexts: new Map([['base:allocation', 1]]) },
  });
});

t.test('the client flags stay as they were', async (t) => {
  const { state } = play([clientFlags(1), option(STARTTLS)], exports, ON);
  const { output, verdict } = step(enterTls(state, 'ada'), option(EXPORT_NAME, 'ada'));
  t.equal(Buffer.concat(output).length, 8 + 2 + 124);
  t.match(verdict, { negotiated: { fixedNewstyle: true, noZeroes: false } });
});

t.test(
  'a server that requires TLS answers every option but STARTTLS and ABORT with NBD_REP_ERR_TLS_REQD',
  async (t) => {
    const all = [0, LIST, 4, INFO, GO, STRUCTURED, LIST_META, SET_META, EXTENDED, 12, 0xffffffff];
    for (const number of all) {
      for (const data of [Buffer.alloc(0), goData('open'), Buffer.alloc(OPTION_SKIPPED_MAX_BYTES)]) {
        const { output, verdict } = haggle([option(number, data), option(STARTTLS)], REQUIRE, exports);
        t.same(typesOf(output), [TLS_REQD, ACK], `option ${number}, ${data.length} bytes`);
        t.equal(verdict.kind, 'tls');
      }
    }
    t.match(haggle([optionHeader(GO, OPTION_SKIPPED_MAX_BYTES + 1)], REQUIRE).verdict, { kind: 'close' });
    t.match(haggle([option(ABORT)], REQUIRE), { verdict: { kind: 'close', fault: undefined } });
  },
);

t.test(
  'a server that requires TLS closes on EXPORT_NAME, also of a client without fixed newstyle',
  async (t) => {
    for (const flags of [0, 1, 3]) {
      const { output, verdict } = play([clientFlags(flags), option(EXPORT_NAME, 'open')], exports, REQUIRE);
      t.equal(output.length, 0);
      t.match(verdict, { kind: 'close', fault: { what: 'export name', found: 'sent in the clear' } });
    }
  },
);

t.test('NBD_REP_ERR_TLS_REQD is never said inside TLS', async (t) => {
  const options = [LIST, INFO, GO, STRUCTURED, LIST_META, 77].map((one) => option(one, goData('ada')));
  for (const abilities of [ON, REQUIRE]) {
    const { output } = inTls([], options, 'eve', abilities);
    t.equal(repliesOf(output).length, options.length);
    t.notOk(typesOf(output).includes(TLS_REQD));
  }
});

const listOf = ({ output }: Played): string[] =>
  repliesOf(output)
    .filter((reply) => reply.type === SERVER)
    .map(({ data }) => data.subarray(4, 4 + data.readUInt32BE(0)).toString());

t.test('LIST tells each client the exports that it may open', async (t) => {
  t.same(listOf(haggle([option(LIST)], ON, exports)), ['open']);
  t.same(listOf(haggle([option(LIST)], { tls: 'off' }, exports)), ['open']);
  t.same(listOf(inTls([], [option(LIST)])), ['open']);
  t.same(listOf(inTls([], [option(LIST)], 'eve')), ['open']);
  t.same(listOf(inTls([], [option(LIST)], 'Ada')), ['open']);
  t.same(listOf(inTls([], [option(LIST)], 'ada')), ['ada', 'open']);
  t.same(listOf(inTls([], [option(LIST)], 'root')), ['ada', 'open']);
});

t.test('an export of somebody else is answered byte for byte as one that does not exist', async (t) => {
  const absent = [{ ...open, name: 'first' }, open];
  const asks = (name: string): Buffer[] => [
    option(STRUCTURED),
    option(INFO, goData(name, [1, 2, 3])),
    option(LIST_META, metaData(name, ['base:'])),
    option(SET_META, metaData(name, ['base:allocation'])),
    option(GO, goData(name)),
  ];
  for (const name of ['ada', 'nobody']) {
    const hidden = inTls([], asks(name), 'eve');
    t.same(typesOf(hidden.output), [ACK, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]);
    t.same(hidden.output, haggle(asks(name), { replies: 'extended' }, absent).output);
    t.same(
      haggle(asks(name), { replies: 'extended' }, exports).output,
      hidden.output,
      'and so where TLS is off',
    );
    const byName = inTls([], [option(EXPORT_NAME, name)], 'eve');
    t.match(byName.verdict, {
      kind: 'close',
      fault: { found: `"${name}"`, expected: 'an export that exists' },
    });
    t.equal(byName.output.length, 0);
  }
});

t.test('who may open an export does', async (t) => {
  for (const name of ['ada', 'root']) {
    t.match(inTls([], [option(GO, goData('ada'))], name).verdict, { negotiated: { exportName: 'ada' } });
    t.match(inTls([], [option(EXPORT_NAME, 'ada')], name).verdict, { negotiated: { exportName: 'ada' } });
  }
});

t.test('the default export is the same for everybody: who may not open it gets no other', async (t) => {
  t.match(inTls([], [option(GO, goData(''))], 'ada').verdict, { negotiated: { exportName: 'ada' } });
  t.same(typesOf(inTls([], [option(GO, goData(''))], 'eve').output), [UNKNOWN]);
  t.same(typesOf(haggle([option(GO, goData(''))], ON, exports).output), [TLS_REQD]);
});

t.test(
  'before TLS, names that are hidden and names that nobody has are NBD_REP_ERR_TLS_REQD alike',
  async (t) => {
    for (const number of [INFO, GO]) {
      const [hidden, absent] = ['ada', 'zoe'].map(
        (name) => haggle([option(number, goData(name))], ON, exports).output,
      );
      t.same(typesOf(hidden ?? Buffer.alloc(0)), [TLS_REQD]);
      t.same(hidden, absent);
      t.same(
        typesOf(haggle([option(number, goData('zoe'))], ON, [open]).output),
        [UNKNOWN],
        'nothing is hidden',
      );
    }
    t.match(haggle([option(EXPORT_NAME, 'ada')], ON, exports).verdict, { kind: 'close' });
    const meta = haggle(
      [option(STRUCTURED), option(SET_META, metaData('ada', ['base:allocation']))],
      ON,
      exports,
    );
    t.same(typesOf(meta.output), [ACK, UNKNOWN], 'the error is not for other options');
  },
);

t.test('what everybody may open needs no TLS where it is only offered', async (t) => {
  t.match(haggle([option(GO, goData('open'))], ON, exports).verdict, { negotiated: { exportName: 'open' } });
});

t.test('the way into TLS may be cut anywhere', async (t) => {
  const conversation = Buffer.concat([
    clientFlags(3),
    option(STARTTLS, 'x'),
    option(STRUCTURED),
    option(STARTTLS),
  ]);
  for (let cut = 1; cut < conversation.length; cut += 1) {
    const { output, verdict } = play(
      [conversation.subarray(0, cut), conversation.subarray(cut)],
      exports,
      ON,
    );
    if (verdict.kind !== 'tls' || typesOf(output).join() !== [INVALID, ACK, ACK].join())
      t.fail(`cut at ${cut}`);
  }
});
