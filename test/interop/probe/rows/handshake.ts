/** Rows about the first bytes: greeting, flags, and the frame of an option. */

import { ask, CMD, goData, greet, OPT, optionBytes, replies, Session } from '../client.js';
import { PROOF } from '../proofs.js';
import { demand, EXPORT, type Group, type Row, refusal, SIZE_BYTES, type Target } from '../target.js';
import { be, ERROR_BIT, type Peer, refusalName } from '../wire.js';

/** Sends EXPORT_NAME; the export's size, when the server goes on to transmission with `zeroes` after it. */
export async function exportName(peer: Peer, name: string, zeroes: boolean): Promise<Session> {
  peer.send(optionBytes(OPT.EXPORT_NAME, Buffer.from(name)));
  const sizeBytes = await peer.u64();
  const flags = await peer.u16();
  if (zeroes)
    demand(
      (await peer.take(124)).every((byte) => byte === 0),
      'no zeroes',
    );
  const session = new Session(peer, 'simple', { sizeBytes, flags, information: new Map() });
  await session.lives();
  return session;
}

/** The answer to an option that should be refused, after which the handshake goes on. */
export async function refused(peer: Peer, option: number, data: Uint8Array): Promise<string> {
  const answer = await refusal(ask(peer, option, data));
  await ask(peer, OPT.LIST);
  return answer;
}

async function optionGoesOn(target: Target, option: number, data: Uint8Array): Promise<string> {
  const peer = await target.greeted();
  peer.send(optionBytes(option, data));
  const last = (await replies(peer, option)).at(-1);
  demand(last !== undefined && last.type >= ERROR_BIT, 'it is accepted');
  await ask(peer, OPT.ABORT);
  return `refused with ${refusalName(last.type)}`;
}

const rows: Row[] = [
  {
    subject: '`NBDMAGIC`, `IHAVEOPT`',
    rule: 'newstyle greeting',
    proof: PROOF.greeting,
    ask: async (target) => {
      await target.greeted();
      return undefined;
    },
  },
  {
    subject: '`NBD_FLAG_FIXED_NEWSTYLE`',
    rule: 'MUST be set',
    proof: PROOF.greeting,
    ask: async (target) => ((await greet(await target.connect())) & 1 ? 'supported' : 'wrong: not set'),
  },
  {
    subject: '`NBD_FLAG_NO_ZEROES`',
    rule: "with the client's flag, no 124 zeroes after `NBD_OPT_EXPORT_NAME`",
    proof: PROOF.noZeroes,
    ask: async (target) => {
      const peer = await target.connect();
      if (!((await greet(peer)) & 2)) return 'not offered';
      await exportName(peer, EXPORT, false);
      return undefined;
    },
  },
  {
    subject: 'without `NBD_FLAG_C_NO_ZEROES`',
    rule: '124 zeroes follow',
    proof: PROOF.zeroes,
    ask: async (target) => {
      await exportName(await target.greeted('plain', 1), EXPORT, true);
      return undefined;
    },
  },
  {
    subject: 'without `NBD_FLAG_C_FIXED_NEWSTYLE`',
    rule: '`NBD_OPT_EXPORT_NAME` works',
    proof: PROOF.notFixed,
    ask: async (target) => {
      const session = await exportName(await target.greeted('plain', 0), EXPORT, true);
      demand(session.told.sizeBytes === SIZE_BYTES, `a size of ${session.told.sizeBytes}`);
      return undefined;
    },
  },
  {
    subject: 'other options without it',
    rule: 'MAY be honoured',
    proof: PROOF.notFixedOptions,
    ask: async (target) => {
      await ask(await target.greeted('plain', 0), OPT.LIST);
      return undefined;
    },
  },
  {
    subject: 'an unknown client flag',
    rule: 'MUST close',
    proof: PROOF.walk,
    must: /^closed$/,
    ask: async (target) => {
      await ask(await target.greeted('plain', 7), OPT.LIST);
      return undefined;
    },
  },
  {
    subject: 'an option without `IHAVEOPT`',
    rule: 'hard disconnect MAY follow',
    proof: PROOF.garbage,
    ask: async (target) => {
      const peer = await target.greeted();
      peer.send(Buffer.from('IHAVENOT'), be(32, OPT.LIST), be(32, 0));
      await replies(peer, OPT.LIST);
      return undefined;
    },
  },
  {
    subject: 'an option in single bytes',
    rule: 'the frame decides, not the packet',
    proof: PROOF.singleBytes,
    ask: async (target) => {
      const peer = await target.greeted();
      for (const byte of optionBytes(OPT.INFO, goData(EXPORT))) {
        peer.send(Buffer.of(byte));
        await new Promise((next) => setImmediate(next));
      }
      demand((await replies(peer, OPT.INFO)).at(-1)?.type === 1, 'refused');
      return undefined;
    },
  },
  {
    subject: 'an unknown option (77)',
    rule: 'MUST be `NBD_REP_ERR_UNSUP`, and the handshake goes on',
    proof: PROOF.unknownOption,
    must: /^refused with ERR_UNSUP$/,
    ask: (target) => optionGoesOn(target, 77, Buffer.alloc(0)),
  },
  {
    subject: 'an unknown option with 4000 bytes',
    rule: 'its data is skipped',
    proof: PROOF.unknownOption,
    must: /^refused with ERR_UNSUP$/,
    ask: (target) => optionGoesOn(target, 77, Buffer.alloc(4000, 0x49)),
  },
  {
    subject: 'an option of 4 GiB',
    rule: 'denial of service: MAY close',
    proof: PROOF.longOption,
    ask: async (target) => {
      const peer = await target.greeted();
      peer.send(Buffer.from('IHAVEOPT'), be(32, OPT.LIST), be(32, 0xffff_ffff), Buffer.alloc(65_536));
      await replies(peer, OPT.LIST);
      return undefined;
    },
  },
  {
    subject: '200 options in one handshake',
    rule: 'each is answered',
    proof: PROOF.manyOptions,
    ask: async (target) => {
      const peer = await target.greeted();
      for (let i = 0; i < 200; i++) await ask(peer, OPT.LIST);
      return undefined;
    },
  },
  {
    subject: 'a client that goes in the middle of an option',
    rule: 'the server serves the next',
    proof: PROOF.vanish,
    ask: async (target) => {
      const peer = await target.greeted();
      peer.send(optionBytes(OPT.GO, goData(EXPORT)).subarray(0, 20));
      await peer.close();
      const session = await target.session();
      await session.lives();
      session.send({ type: CMD.DISC });
      return undefined;
    },
  },
];

export const handshake: Group = { title: 'Handshake', rows };
