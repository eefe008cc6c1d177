/** The state machine: every phase with every kind of event, cuts of the input, limits, what is held. */

import t from 'tap';
import { checkExports } from '#sealdisk/nbd/exports.js';
import { begin, enterTls, faultOfEnd, type Handshake, shutDown, step } from '#sealdisk/nbd/handshake.js';
import {
  checkLimits,
  DEFAULT_LIMITS,
  GO_KEPT_MAX_BYTES,
  OPTION_KEPT_MAX_BYTES,
} from '#sealdisk/nbd/limits.js';
import { clientFlags, disk, goData, metaData, option, optionHeader, play, repliesOf } from './wire.js';

const FIXED = clientFlags(3);
const [EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, META] = [1, 2, 3, 5, 6, 7, 10];
const WITH_TLS = { tls: 'on' } as const;

t.test('the greeting is NBDMAGIC, IHAVEOPT, fixed newstyle and no zeroes', async (t) => {
  const { output } = begin([disk], DEFAULT_LIMITS);
  t.same(Buffer.concat(output), Buffer.from('NBDMAGICIHAVEOPT\0\x03'));
});

/** A state in each phase, and what may happen to it. */
const phases: Record<Handshake['phase'], Handshake> = {
  flags: play([]).state,
  header: play([FIXED], [disk], WITH_TLS).state,
  data: play([FIXED, optionHeader(GO, 10)]).state,
  skip: play([FIXED, optionHeader(META, 20)]).state,
  tls: play([FIXED, option(STARTTLS)], [disk], WITH_TLS).state,
  over: play([FIXED, option(ABORT)]).state,
};
const notFixed = play([clientFlags(0)]).state;
const lastOption = play([FIXED, option(LIST)], [disk], { optionsMax: 1 }).state;

type Expected = { kind: string; phase: Handshake['phase']; what?: string };
const more = (phase: Handshake['phase']): Expected => ({ kind: 'more', phase });
const transmits: Expected = { kind: 'transmit', phase: 'over' };
const closes = (what?: string): Expected => ({ kind: 'close', phase: 'over', ...(what ? { what } : {}) });

const pairs: [keyof typeof phases, string, Buffer, Expected][] = [
  ['flags', 'nothing', Buffer.alloc(0), more('flags')],
  ['flags', 'half of the flags', FIXED.subarray(0, 2), more('flags')],
  ['flags', 'fixed newstyle', clientFlags(1), more('header')],
  ['flags', 'no flag', clientFlags(0), more('header')],
  ['flags', 'an unknown flag', clientFlags(4 | 1), closes('client flags')],
  ['flags', 'the highest flag', clientFlags(0x80000000), closes('client flags')],
  ['flags', 'an option before the flags', option(LIST), closes('client flags')],
  ['flags', 'flags and the whole rest', Buffer.concat([FIXED, option(GO, goData('disk'))]), transmits],
  ['header', 'nothing', Buffer.alloc(0), more('header')],
  ['header', 'half a header', option(LIST).subarray(0, 8), more('header')],
  ['header', 'LIST', option(LIST), more('header')],
  ['header', 'INFO', option(INFO, goData('disk')), more('header')],
  ['header', 'GO', option(GO, goData('disk')), transmits],
  ['header', 'GO of an unknown export', option(GO, goData('x')), more('header')],
  ['header', 'EXPORT_NAME', option(EXPORT_NAME, 'disk'), transmits],
  ['header', 'EXPORT_NAME of an unknown export', option(EXPORT_NAME, 'x'), closes('export name')],
  ['header', 'ABORT', option(ABORT), closes()],
  ['header', 'an unknown option', option(77), more('header')],
  ['header', 'the head of an option with data', optionHeader(GO, 10), more('data')],
  ['header', 'the head of an option with data to drop', optionHeader(META, 10), more('skip')],
  ['header', 'client flags again', Buffer.concat([FIXED, option(LIST)]), closes('option magic')],
  [
    'header',
    'a request of the transmission phase',
    Buffer.from('25609513'.repeat(7), 'hex'),
    closes('option magic'),
  ],
  [
    'header',
    'an option longer than is skipped',
    optionHeader(META, 0xffffffff),
    closes('data length of an option that is not supported'),
  ],
  ['header', 'STARTTLS', option(STARTTLS), { kind: 'tls', phase: 'tls' }],
  [
    'header',
    'STARTTLS after LIST',
    Buffer.concat([option(LIST), option(STARTTLS)]),
    { kind: 'tls', phase: 'tls' },
  ],
  [
    'header',
    'STARTTLS and a byte more',
    Buffer.concat([option(STARTTLS), Buffer.alloc(1)]),
    closes('input behind NBD_OPT_STARTTLS'),
  ],
  ['header', 'STARTTLS with data', option(STARTTLS, 'x'), more('header')],
  ['data', 'nothing', Buffer.alloc(0), more('data')],
  ['data', 'some of it', goData('disk').subarray(0, 9), more('data')],
  ['data', 'the rest of it', goData('disk'), transmits],
  ['data', 'an option in its place', option(LIST), more('header')],
  ['skip', 'nothing', Buffer.alloc(0), more('skip')],
  ['skip', 'some of it', Buffer.alloc(19), more('skip')],
  ['skip', 'all of it', Buffer.alloc(20), more('header')],
  ['skip', 'all of it and an ABORT', Buffer.concat([Buffer.alloc(20), option(ABORT)]), closes()],
];

for (const [phase, event, input, expected] of pairs) {
  t.test(`in phase ${phase}, ${event}: ${expected.kind}, then ${expected.phase}`, async (t) => {
    const { next, verdict } = step(phases[phase], input);
    t.equal(verdict.kind, expected.kind);
    t.equal(next.phase, expected.phase);
    if (verdict.kind === 'close') t.equal(verdict.fault?.what, expected.what);
  });
}

t.test('a step of a handshake that is over is our own mistake', async (t) => {
  for (const input of [Buffer.alloc(0), FIXED, option(LIST)]) {
    t.throws(() => step(phases.over, input), { code: 'INTERNAL' });
  }
});

t.test('a step before TLS stands is our own mistake, and so is TLS in any other phase', async (t) => {
  for (const input of [Buffer.alloc(0), option(LIST)]) {
    t.throws(() => step(phases.tls, input), { code: 'INTERNAL' });
  }
  for (const [phase, state] of Object.entries(phases)) {
    if (phase === 'tls') t.equal(enterTls(state, undefined).phase, 'header');
    else t.throws(() => enterTls(state, undefined), { code: 'INTERNAL' }, phase);
  }
});

t.test('a handshake in any phase can be told that the server closes, and keeps its phase', async (t) => {
  for (const [phase, state] of Object.entries(phases)) t.equal(shutDown(state).phase, phase);
  t.equal(shutDown(phases.over), phases.over);
});

t.test('without fixed newstyle every option but EXPORT_NAME ends the session', async (t) => {
  for (const number of [ABORT, LIST, INFO, GO, META, 5]) {
    const { verdict } = step(notFixed, optionHeader(number, 0));
    t.match(verdict, { kind: 'close', fault: { what: 'option without fixed newstyle', found: number } });
  }
});

t.test('one option over the limit ends the session', async (t) => {
  t.equal(lastOption.phase, 'header');
  const { verdict } = step(lastOption, option(LIST));
  t.match(verdict, { kind: 'close', fault: { what: 'number of options', found: 2, expected: 'at most 1' } });
});

t.test('the end of input is a fault but between two options', async (t) => {
  const cutHeader = step(phases.header, option(LIST).subarray(0, 3)).next;
  t.equal(faultOfEnd(phases.header), undefined);
  t.equal(faultOfEnd(phases.over), undefined);
  t.match(faultOfEnd(phases.flags), { found: '0 bytes', expected: '4 bytes' });
  t.match(faultOfEnd(cutHeader), { found: '3 bytes', expected: '16 bytes' });
  t.match(faultOfEnd(phases.data), { found: '0 bytes', expected: '10 bytes' });
  t.match(faultOfEnd(phases.skip), { expected: '20 bytes' });
  t.match(faultOfEnd(phases.tls), { found: 'no TLS handshake' });
});

const conversation = Buffer.concat([
  FIXED,
  option(STARTTLS),
  option(8),
  option(9, metaData('disk', ['base:'])),
  option(META, Buffer.alloc(300)),
  option(META, metaData('disk', ['sealdisk:key-state', 'base:allocation'])),
  option(11),
  option(8),
  option(77, Buffer.alloc(300)),
  option(LIST),
  option(LIST, 'data'),
  option(INFO, goData('çopy', [1, 2, 3])),
  option(GO, goData('nobody')),
  option(GO, Buffer.alloc(GO_KEPT_MAX_BYTES + 9)),
  option(GO, goData('disk', [3])),
  Buffer.from('transmission'),
]);

t.test('bytes one by one give what the whole gives, and the rest is what follows', async (t) => {
  const all = { replies: 'extended' } as const;
  const whole = play([conversation], undefined, all);
  t.equal(repliesOf(whole.output).length, 24);
  t.match(whole.verdict, { kind: 'transmit', rest: Buffer.from('transmission') });
  const handshakeBytes = conversation.length - 'transmission'.length;
  const single = play(
    Array.from(conversation, (byte) => Buffer.of(byte)),
    undefined,
    all,
  );
  t.same(single.output, whole.output);
  t.match(single.verdict, { kind: 'transmit', rest: Buffer.alloc(0) });
  t.same(
    single.verdict.kind === 'transmit' && single.verdict.negotiated,
    whole.verdict.kind === 'transmit' && whole.verdict.negotiated,
  );
  for (let cut = 1; cut < handshakeBytes; cut += 1) {
    const halves = play([conversation.subarray(0, cut), conversation.subarray(cut)], undefined, all);
    if (!halves.output.equals(whole.output)) t.fail(`cut at ${cut}`);
  }
});

t.test('a step changes neither the state nor the input, so a state can be used again', async (t) => {
  const state = play([FIXED, option(LIST).subarray(0, 7)]).state;
  const input = Buffer.from(option(LIST).subarray(7));
  const copy = Buffer.from(input);
  t.same(step(state, input), step(state, input));
  t.same(input, copy);
});

t.test('a state never holds more than the longest option that is kept', async (t) => {
  let state = play([FIXED]).state;
  for (const byte of option(GO, Buffer.alloc(GO_KEPT_MAX_BYTES))) {
    state = step(state, Buffer.of(byte)).next;
    if ('held' in state && state.held.length > OPTION_KEPT_MAX_BYTES) t.fail(`holds ${state.held.length}`);
  }
  const header = step(state, optionHeader(META, 1 << 20)).next;
  t.notOk('held' in step(header, Buffer.alloc(1 << 19)).next, 'what is skipped is not held');
});

t.test('what is held does not keep the chunk it came in alive', async (t) => {
  const { next } = step(play([]).state, Buffer.alloc(65536).subarray(0, 3));
  t.equal('held' in next && next.held.buffer.byteLength, 3);
});

t.test('an export that breaks a rule of the protocol is refused before it is announced', async (t) => {
  const flaws = {
    'a long name': { name: 'x'.repeat(4097) },
    'a NUL': { name: 'a\0' },
    'a long description': { description: 'x'.repeat(4097) },
    'a negative size': { sizeBytes: -1n },
    'a size over 63 bits': { sizeBytes: 1n << 63n },
    'no NBD_FLAG_HAS_FLAGS': { transmissionFlags: 2 },
    'flags over 16 bits': { transmissionFlags: 0x10001 },
    'a minimum that is no power of two': { minimumBlockSize: 3 },
    'a minimum over 64 KiB': { minimumBlockSize: 131072, preferredBlockSize: 131072 },
    'a preferred size under 512': { preferredBlockSize: 256 },
    'a preferred size under the minimum': { minimumBlockSize: 4096, preferredBlockSize: 512 },
    'a maximum under the preferred size': { maximumBlockSize: 512 },
    'a maximum over 32 bits': { maximumBlockSize: 2 ** 32 },
  };
  for (const [flaw, change] of Object.entries(flaws)) {
    t.throws(() => checkExports([{ ...disk, ...change }]), { code: 'INTERNAL' }, flaw);
  }
  t.throws(() => checkExports([disk, disk]), { code: 'INTERNAL' }, 'two of one name');
  t.doesNotThrow(() => checkExports([disk, { ...disk, name: 'x'.repeat(4096) }]));
});

t.test('limits that nobody can keep are refused', async (t) => {
  for (const change of [{ optionsMax: 0 }, { handshakeMs: 2 ** 31 }, { connectionsMax: 1.5 }]) {
    t.throws(() => checkLimits({ ...DEFAULT_LIMITS, ...change }), { code: 'INTERNAL' });
  }
});
