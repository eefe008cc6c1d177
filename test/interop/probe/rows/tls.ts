/** Rows about TLS: with certificates, with a shared key, allowed and demanded. */

import { type Duplex, duplexPair } from 'node:stream';
import type { ConnectionOptions } from 'node:tls';
import { ask, CMD, goData, OPT, optionBytes, REP, replies } from '../client.js';
import { PROOF } from '../proofs.js';
import { demand, EXPORT, type Flavour, type Group, type Row, refusal, type Target } from '../target.js';
import { Peer, refusalName } from '../wire.js';
import { exportName } from './handshake.js';

/** A whole session inside of TLS. */
async function inside(
  target: Target,
  flavour: Flavour,
  options: ConnectionOptions = {},
): Promise<string | undefined> {
  const peer = await target.startTls(await target.greeted(flavour), options);
  const session = await target.transmit(peer, 'simple');
  await session.write(target.offset, Buffer.alloc(70_000, 0x42));
  demand(
    (await session.read(target.offset, 70_000)).every((byte) => byte === 0x42),
    'other data',
  );
  return undefined;
}

const version = (name: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'): ConnectionOptions => ({
  minVersion: name,
  maxVersion: name,
  ...(name === 'TLSv1.1' && { ciphers: 'DEFAULT@SECLEVEL=0' }),
});

const row = (subject: string, rule: string, question: Row['ask'], must?: RegExp): Row => ({
  subject,
  rule,
  proof: PROOF.tls,
  ...(must && { must }),
  ask: question,
});

const answer = (flavour: Flavour, option: number, data?: Buffer) => async (target: Target) =>
  refusal(ask(await target.greeted(flavour), option, data));

const rows: Row[] = [
  row(
    '`NBD_OPT_STARTTLS` (5) without TLS',
    '`NBD_REP_ERR_UNSUP` or `NBD_REP_ERR_POLICY`',
    answer('plain', OPT.STARTTLS),
    /^refused with ERR_(UNSUP|POLICY)$/,
  ),
  row('STARTTLS, TLS 1.3', 'SHOULD be supported', (target) => inside(target, 'tls', version('TLSv1.3'))),
  row('STARTTLS, TLS 1.2', 'MUST be supported', (target) => inside(target, 'tls', version('TLSv1.2'))),
  row('STARTTLS, TLS 1.1', 'SHOULD NOT by default', (target) => inside(target, 'tls', version('TLSv1.1'))),
  row('a session in the clear beside it', 'SELECTIVETLS', async (target) => {
    await (await target.session('simple', { flavour: 'tls' })).lives();
    return undefined;
  }),
  row('STARTTLS with data', 'MAY be `NBD_REP_ERR_INVALID`', answer('tls', OPT.STARTTLS, Buffer.from('x'))),
  row(
    'STARTTLS inside of TLS',
    'MUST be `NBD_REP_ERR_INVALID`',
    async (target) => {
      const peer = await target.startTls(await target.greeted('tls'));
      return refusal(ask(peer, OPT.STARTTLS));
    },
    /^refused with ERR_INVALID$/,
  ),
  row('structured replies agreed on before STARTTLS', 'MUST be forgotten', async (target) => {
    const clear = await target.greeted('tls');
    await ask(clear, OPT.STRUCTURED_REPLY);
    const session = await target.transmit(await target.startTls(clear), 'simple');
    await session.lives();
    return undefined;
  }),
  row(
    'an option sent in the clear behind STARTTLS',
    'MUST NOT be taken for one from inside',
    async (target) => {
      const peer = await target.greeted('tls');
      peer.send(optionBytes(OPT.STARTTLS), optionBytes(OPT.STRUCTURED_REPLY));
      const [first] = await replies(peer, OPT.STARTTLS);
      if (first?.type !== REP.ACK) return `refused with ${refusalName(first?.type ?? 0)}`;
      const tried = await refusal(target.shakeHands(peer).then(({ peer: within }) => ask(within, OPT.LIST)));
      return tried === 'supported' ? 'wrong: taken' : 'closed';
    },
  ),
  row(
    'TLS demanded: `NBD_OPT_LIST` in the clear',
    'MUST be `NBD_REP_ERR_TLS_REQD`',
    answer('tls-required', OPT.LIST),
    /TLS_REQD$/,
  ),
  row(
    'TLS demanded: `NBD_OPT_GO` in the clear',
    'MUST be `NBD_REP_ERR_TLS_REQD`',
    answer('tls-required', OPT.GO, goData(EXPORT)),
    /TLS_REQD$/,
  ),
  row(
    'TLS demanded: an unknown option',
    'MUST be `NBD_REP_ERR_TLS_REQD`',
    answer('tls-required', 77),
    /TLS_REQD$/,
  ),
  row('TLS demanded: `NBD_OPT_ABORT`', 'MAY be acknowledged', answer('tls-required', OPT.ABORT)),
  row(
    'TLS demanded: `NBD_OPT_EXPORT_NAME`',
    'MUST close',
    async (target) => {
      await exportName(await target.greeted('tls-required'), EXPORT, false);
      return undefined;
    },
    /^closed$/,
  ),
  row('TLS demanded: a session inside', 'works', (target) => inside(target, 'tls-required')),
  row('client certificate asked for and sent', 'works', (target) => inside(target, 'tls-client')),
  row('client certificate asked for and not sent', 'MUST close', async (target) => {
    const said = await refusal(inside(target, 'tls-client', { cert: undefined, key: undefined }));
    return said.startsWith('refused with TLS') ? 'closed' : said;
  }),
  row('pre-shared key', 'works', (target) =>
    inside(target, 'psk', sharedKey(target, target.secrets.psk.psk)),
  ),
  row('a wrong pre-shared key', 'MUST close', async (target) => {
    const said = await refusal(inside(target, 'psk', sharedKey(target, Buffer.alloc(32, 1))));
    return said.startsWith('refused with TLS') ? 'closed' : said;
  }),
  row('`NBD_CMD_DISC` inside of TLS', 'MUST shut TLS down', async (target) => {
    const clear = await target.greeted('tls');
    await ask(clear, OPT.STARTTLS);
    const heard: Buffer[] = [];
    const { peer } = await target.shakeHands(new Peer(overheard(clear.release(), heard)), version('TLSv1.2'));
    const session = await target.transmit(peer, 'simple');
    session.send({ type: CMD.DISC });
    await peer.rest();
    return lastRecord(Buffer.concat(heard)) === ALERT ? 'supported' : 'closed without close_notify';
  }),
];

function sharedKey(target: Target, psk: Buffer): ConnectionOptions {
  const { identity } = target.secrets.psk;
  return {
    pskCallback: () => ({ identity, psk }),
    ciphers: 'PSK',
    checkServerIdentity: () => undefined,
  } as ConnectionOptions;
}

/** The stream as it is, each chunk from the other side put into `heard`. */
function overheard(stream: Duplex, heard: Buffer[]): Duplex {
  const [near, far] = duplexPair();
  stream.on('data', (chunk: Buffer) => heard.push(chunk));
  stream.on('error', () => near.destroy());
  stream.pipe(far).pipe(stream);
  return near;
}

const ALERT = 21;

/** The type of the last TLS record of the stream; what TLS 1.2 leaves readable. */
function lastRecord(bytes: Buffer): number {
  let type = 0;
  for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) type = bytes.readUInt8(at);
  return type;
}

export const tls: Group = { title: 'TLS', rows };
