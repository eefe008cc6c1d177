/** A server that closes: what a handshake hears, and how long it may listen. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { shutDown, step } from '#sealdisk/nbd/handshake.js';
import { rawClient, startRig } from './rig.js';
import { clientFlags, goData, metaData, option, play, repliesOf } from './wire.js';

const FIXED = clientFlags(3);
const ACK = 1;
const SHUTDOWN = 0x80000007;
const [EXPORT_NAME, ABORT, LIST, INFO, GO] = [1, 2, 3, 6, 7];
const ALL = { replies: 'extended', tls: 'on' } as const;

const typesOf = (output: readonly Uint8Array[]): number[] =>
  repliesOf(Buffer.concat(output)).map((reply) => reply.type);

t.test('every option but ABORT and EXPORT_NAME is NBD_REP_ERR_SHUTDOWN, in flight or new', async (t) => {
  const inputs = [0, LIST, 4, 5, INFO, GO, 8, 11, 77].map((number) => option(number, goData('disk')));
  inputs.push(...[9, 10].map((number) => option(number, metaData('disk', ['base:']))));
  for (const input of inputs) {
    for (const cut of [0, 8, 17]) {
      const { state } = play([FIXED, input.subarray(0, cut)], undefined, ALL);
      const { output, verdict } = step(shutDown(state), input.subarray(cut));
      t.same(typesOf(output), [SHUTDOWN], `option ${input.readUInt32BE(8)} cut at ${cut}`);
      t.equal(verdict.kind, 'more');
    }
  }
});

t.test(
  'ABORT is acknowledged, and EXPORT_NAME ends the session, which is no fault of the client',
  async (t) => {
    const state = shutDown(play([FIXED]).state);
    const aborted = step(state, option(ABORT));
    t.same(typesOf(aborted.output), [ACK]);
    t.same(aborted.verdict, { kind: 'close', fault: undefined });
    const named = step(state, option(EXPORT_NAME, 'disk'));
    t.same([named.output.length, named.verdict], [0, { kind: 'close', fault: undefined }]);
  },
);

t.test('a client that has not sent its flags yet hears it, too', async (t) => {
  const { output } = step(shutDown(play([]).state), Buffer.concat([FIXED, option(GO, goData('disk'))]));
  t.same(typesOf(output), [SHUTDOWN]);
});

t.test('libnbd in the middle of its options hears that the server closes, and aborts', async (t) => {
  const rig = await startRig(t, { limits: { shutdownMs: 20_000 } });
  const lines = [
    'import sys',
    'h.set_opt_mode(True)',
    `h.connect_uri("${rig.uri}")`,
    'print("ready", flush=True)',
    'sys.stdin.readline()',
    'try:\n  h.opt_info()\nexcept nbd.Error as e:\n  print(e.errno)',
    'h.opt_abort()',
  ];
  const env = { ...process.env, PATH: `/usr/bin:${process.env.PATH}` };
  const args = lines.flatMap((line) => ['-c', line]);
  const child = spawn('nbdsh', args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  await once(child.stdout, 'data');
  const closed = rig.server.close();
  child.stdin.end('\n');
  t.same(await exited, [0, null]);
  t.match(out, 'ESHUTDOWN');
  await closed;
  t.same(await rig.event('closed'), { kind: 'closed', peer: 'unix' });
});

t.test('a client that says nothing has its time, and no more', async (t) => {
  const rig = await startRig(t, { limits: { shutdownMs: 50 } });
  const { socket, closed, said } = await rawClient(rig.path);
  socket.write(Buffer.concat([FIXED, option(LIST).subarray(0, 7)]));
  await rig.event('connected');
  await rig.server.close();
  await closed;
  t.equal(said().length, 18);
  t.same(await rig.event('closed'), { kind: 'closed', peer: 'unix' });
});
