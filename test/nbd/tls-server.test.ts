/** The server with the engine's TLS under it: foreign clients inside it, clients that break it, the hand-over. */

import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import type { ServerOptions, TransmitArgs } from '#sealdisk/nbd/server.js';
import { makeCertificates } from './certificates.js';
import { nbdsh, type Rig, rawClient, run, startRig, tempDir } from './rig.js';
import { tlsOffer } from './tls-offer.js';
import { clientFlags, disk, goData, option, repliesOf } from './wire.js';

const certificates = makeCertificates(tempDir(t));
const strangers = makeCertificates(tempDir(t));
const [forAda, forAll, withoutName] = [
  certificates.clientDir('ada'),
  certificates.clientDir('bob'),
  certificates.clientDir(),
];
const forged = strangers.clientDir('ada');

const FIXED = clientFlags(3);
const [LIST, STARTTLS, GO] = [3, 5, 7];
const GREETING_BYTES = 18;
const exports = [
  { ...disk, name: 'open' },
  { ...disk, name: 'hers', clientNames: ['ada'] },
];

async function startTls(t: Test, mode: 'on' | 'require', options: Partial<ServerOptions> = {}) {
  const tls = tlsOffer(certificates, mode);
  const rig = await startRig(t, { exports: () => exports, replies: 'structured', tls, ...options });
  return { ...rig, peers: tls.peers };
}

const NAMES = 'h.opt_list(lambda name, description: print("listed", name))';
const inTls = (rig: Rig, dir: string, ...lines: string[]) =>
  nbdsh(
    'h.set_opt_mode(True)',
    'h.set_tls(nbd.TLS_REQUIRE)',
    `h.set_tls_certificates("${dir}")`,
    `h.connect_uri("nbd+unix:///?socket=${rig.path}")`,
    ...lines,
    'h.opt_abort()',
  );

t.test('libnbd sees, inside TLS, what its certificate lets it see', async (t) => {
  const rig = await startTls(t, 'require');
  for (const [dir, listed, clientName] of [
    [forAda, 'listed open\nlisted hers\n', 'ada'],
    [forAll, 'listed open\n', 'bob'],
    [withoutName, 'listed open\n', undefined],
  ] as const) {
    const lines = [NAMES, 'print("tls", h.get_tls_negotiated())'];
    const { code, out, err } = await inTls(rig, dir, ...lines);
    t.equal(code, 0, err);
    t.equal(out, `${listed}tls True\n`);
    const secured = rig.events.filter((event) => event.kind === 'secured').at(-1);
    t.same(secured, { kind: 'secured', peer: 'unix', ...(clientName && { clientName }) });
  }
});

t.test('nbdinfo lists over nbds:// what its certificate lets it see', async (t) => {
  const rig = await startTls(t, 'require');
  for (const [dir, names] of [
    [forAda, ['open', 'hers']],
    [withoutName, ['open']],
  ] as const) {
    const uri = `nbds+unix:///?socket=${rig.path}&tls-certificates=${dir}`;
    const { code, out, err } = await run('nbdinfo', '--list', '--no-content', '--json', uri);
    t.equal(code, 0, err);
    const { protocol, TLS, exports } = JSON.parse(out);
    t.same([protocol, TLS], ['newstyle-fixed', true]);
    t.same(
      exports.map((one: { 'export-name': string }) => one['export-name']),
      names,
    );
  }
});

t.test('libnbd hears of an export of somebody else as of one that does not exist', async (t) => {
  const rig = await startTls(t, 'on');
  const asked = ['hers', 'nothing'].flatMap((name) => [
    `h.set_export_name("${name}")`,
    'try:\n  h.opt_info()\nexcept nbd.Error as e:\n  print(e.errno)',
  ]);
  t.match(await inTls(rig, forAll, ...asked), { code: 0, out: 'ENOENT\nENOENT\n' });
  t.match(await inTls(rig, forAda, ...asked), { code: 0, out: 'ENOENT\n' });
});

t.test('a client without TLS is told to begin it', async (t) => {
  const rig = await startTls(t, 'require');
  const { code, err } = await run('nbdinfo', '--size', rig.uri);
  t.not(code, 0);
  t.match(err, /TLS/);
  const { out } = await nbdsh(
    'h.set_opt_mode(True)',
    `h.connect_uri("${rig.uri}")`,
    'try:\n  h.opt_list(lambda *a: 0)\nexcept nbd.Error as e:\n  print(e)',
  );
  t.match(out, 'ENOTSUP', "libnbd's word for NBD_REP_ERR_TLS_REQD");
});

t.test('a client that may do without TLS does, where it is only offered', async (t) => {
  const { uri } = await startTls(t, 'on');
  t.match(await run('nbdinfo', '--size', `${uri.replace('///', '///open')}`), {
    code: 0,
    out: `${disk.sizeBytes}\n`,
  });
});

/** A client that has sent STARTTLS and read its reply. */
async function atStartTls(path: string) {
  const socket = connect({ path });
  await once(socket, 'connect');
  socket.write(Buffer.concat([FIXED, option(STARTTLS)]));
  await new Promise<void>((resolve) => {
    let saidBytes = 0;
    socket.on('data', function count(chunk: Buffer) {
      saidBytes += chunk.length;
      if (saidBytes < GREETING_BYTES + 20) return;
      socket.off('data', count);
      socket.pause();
      resolve();
    });
  });
  return socket;
}

async function rawTls(path: string): Promise<TLSSocket> {
  const socket = await atStartTls(path);
  const tls = connectTls({ socket, ca: certificates.ca, servername: 'localhost' });
  await once(tls, 'secureConnect');
  return tls;
}

t.test('the hand-over gives TLS and what the client said behind GO, in the clear', async (t) => {
  const handed: TransmitArgs[] = [];
  const rig = await startTls(t, 'require', {
    transmit: (args) => {
      handed.push(args);
      return { ended: Promise.resolve(), close: () => {} };
    },
  });
  const client = await rawTls(rig.path);
  const gone = once(client, 'close');
  const heard: Buffer[] = [];
  client.on('data', (chunk: Buffer) => heard.push(chunk));
  client.write(Buffer.concat([option(8), option(GO, goData('open')), Buffer.from('request')]));
  await rig.event('ended');
  const [args] = handed;
  t.match(args, { rest: Buffer.from('request'), negotiated: { replies: 'structured', exportName: 'open' } });
  t.equal(args?.tls, rig.peers[0]);
  t.equal(rig.peers[0]?.closes, 0, 'it belongs to the transmission now');
  await gone;
  const types = repliesOf(Buffer.concat(heard)).map((reply) => reply.type);
  t.same(types, [1, 3, 1], 'the replies have gone before it');
  args?.tls?.close();
});

t.test('a TLS record that is cut at every byte is the same record', async (t) => {
  const rig = await startTls(t, 'require');
  const socket = await atStartTls(rig.path);
  const write = socket.write.bind(socket);
  socket.write = ((chunk: Buffer, _encoding: unknown, written: () => void) => {
    const trickle = async (): Promise<void> => {
      for (const byte of chunk) {
        await new Promise((resolve) => write(Buffer.of(byte), resolve));
        await new Promise(setImmediate);
      }
      written();
    };
    void trickle();
    return false;
  }) as never;
  const tls = connectTls({ socket, ca: certificates.ca, servername: 'localhost' });
  await once(tls, 'secureConnect');
  tls.write(option(LIST));
  const [reply] = await once(tls, 'data');
  t.equal(repliesOf(reply)[0]?.data.subarray(4, 8).toString(), 'open');
  tls.destroy();
  await rig.event('closed');
});

t.test('bytes in the clear behind STARTTLS end the connection, come they with it or later', async (t) => {
  const rig = await startTls(t, 'on');
  const early = await rawClient(rig.path);
  early.socket.write(Buffer.concat([FIXED, option(STARTTLS), option(LIST)]));
  await early.closed;
  t.equal(early.said().length, GREETING_BYTES, 'STARTTLS is not acknowledged');
  t.match(await rig.event('closed'), { error: { facts: { what: 'input behind NBD_OPT_STARTTLS' } } });
  t.equal(rig.peers.length, 0);
  const late = await atStartTls(rig.path);
  late.on('error', () => {}); // a reset is as good as an end
  late.resume();
  late.write(option(LIST));
  await once(late, 'close');
  t.match(await rig.event('closed', 2), { error: /TLS/ });
  t.equal(rig.peers[0]?.closes, 1);
});

t.test('a certificate of an unknown CA does not enter', async (t) => {
  const rig = await startTls(t, 'require');
  const lines = ['h.set_tls_verify_peer(False)', NAMES];
  const { code, out } = await inTls(rig, forged, ...lines);
  t.not(code, 0);
  t.equal(out, '');
  t.match(await rig.event('closed'), { error: { code: 'TLS_PEER' } });
  t.equal(rig.peers[0]?.closes, 1);
});

t.test('a TLS handshake that does not come to its end is closed after its time', async (t) => {
  const rig = await startTls(t, 'on', { limits: { handshakeMs: 300 } });
  const socket = await atStartTls(rig.path);
  socket.resume();
  socket.write(Buffer.from('160301', 'hex'));
  await once(socket, 'close');
  t.match(await rig.event('closed'), { error: { code: 'NBD_HANDSHAKE_TIMEOUT' } });
  t.equal(rig.peers[0]?.closes, 1);
});

t.test('a client that vanishes in the TLS handshake is a client that broke the protocol', async (t) => {
  const rig = await startTls(t, 'on');
  const socket = await atStartTls(rig.path);
  socket.end();
  t.match(await rig.event('closed'), { error: { facts: { found: 'no TLS handshake' } } });
  t.equal(rig.peers[0]?.closes, 1);
});

t.test('a TLS that cannot be had ends the connection, and no other', async (t) => {
  const offer = tlsOffer(certificates, 'on');
  let calls = 0;
  const rig = await startTls(t, 'on', {
    tls: {
      mode: 'on',
      accept: () => {
        calls += 1;
        if (calls === 1) throw new Error('no memory');
        return offer.accept();
      },
    },
  });
  const client = await rawClient(rig.path);
  client.socket.write(Buffer.concat([FIXED, option(STARTTLS)]));
  await client.closed;
  t.equal(client.said().length, GREETING_BYTES, 'TLS is not promised');
  t.match(await rig.event('closed'), { error: { message: 'no memory' } });
  t.match(await inTls(rig, forAda, NAMES), { code: 0 });
});

t.test('a transmit that throws ends its connection without a word of the TLS that it took', async (t) => {
  const offer = tlsOffer(certificates, 'on');
  const rig = await startTls(t, 'on', {
    tls: {
      mode: 'on',
      accept: () => Object.assign(offer.accept(), { end: () => Buffer.from('last words') }),
    },
    transmit: () => {
      throw new Error('no engine');
    },
  });
  const client = await rawTls(rig.path);
  client.on('error', (error) => t.fail(`TLS was broken: ${error.message}`));
  client.resume();
  client.write(option(GO, goData('open')));
  t.match(await rig.event('closed'), { error: { message: 'no engine' } });
  t.equal(offer.peers[0]?.closes, 1);
});

t.test('a connection that ends inside TLS sends its last words', async (t) => {
  const offer = tlsOffer(certificates, 'on');
  const accept = () => Object.assign(offer.accept(), { end: () => Buffer.from('last words') });
  const rig = await startTls(t, 'on', { tls: { mode: 'on', accept } });
  const client = await rawTls(rig.path);
  const broken = once(client, 'error');
  client.resume();
  client.write(option(2));
  const [error] = await broken;
  t.match(
    error,
    { message: /wrong version number|packet length|record/ },
    'words that are no TLS have arrived',
  );
});
