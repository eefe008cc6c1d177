/** Rows about structured replies, and the same questions of extended headers. */

import {
  ask,
  CHUNK,
  type Chunk,
  CMD,
  contexts,
  FLAG,
  OPT,
  type Reply,
  Session,
  type Style,
  tell,
} from '../client.js';
import { PROOF } from '../proofs.js';
import { demand, EXPORT, type Group, MIB, type Row, refusal, type Target } from '../target.js';
import { be, Wrong } from '../wire.js';

const ALLOCATION = 'base:allocation';

const types = ({ chunks }: Reply): number[] => chunks.map(({ type }) => type);

/** A MiB whose second quarter was written and whose rest was trimmed, or what the server makes of that. */
async function holed(session: Session, offset: number): Promise<void> {
  for (const type of [CMD.TRIM, CMD.WRITE_ZEROES]) {
    await session.ask({ type, offset, length: MIB }).catch(() => {});
  }
  await session.write(offset + MIB / 4, Buffer.alloc(MIB / 4, 0x77));
}

type Question = (session: Session, target: Target, style: Style) => Promise<string | undefined>;

interface StyledRow {
  readonly subject: string;
  readonly rule: string;
  readonly must?: RegExp;
  readonly contexts?: readonly string[];
  readonly question: Question;
}

interface Extent {
  readonly length: number;
  readonly flags: number;
}

/** The extents of a status chunk, after its context's id. */
function extents({ type, payload }: Chunk, style: Style): Extent[] {
  const extended = style === 'extended';
  demand(type === (extended ? CHUNK.BLOCK_STATUS_EXT : CHUNK.BLOCK_STATUS), `a chunk of type ${type}`);
  const head = extended ? 8 : 4;
  const size = extended ? 16 : 8;
  demand(payload.length > head && (payload.length - head) % size === 0, 'a chunk of an odd length');
  const all: Extent[] = [];
  for (let at = head; at < payload.length; at += size) {
    const [length, flags] = extended
      ? [Number(payload.readBigUInt64BE(at)), Number(payload.readBigUInt64BE(at + 8))]
      : [payload.readUInt32BE(at), payload.readUInt32BE(at + 4)];
    demand(length > 0, 'an extent of length zero');
    all.push({ length, flags });
  }
  if (extended) demand(payload.readUInt32BE(4) === all.length, 'another count of extents');
  return all;
}

async function status(
  session: Session,
  style: Style,
  offset: number | bigint,
  length: number | bigint,
  flags = 0,
) {
  const reply = await session.ask({ type: CMD.BLOCK_STATUS, flags, offset, length });
  const chunks = reply.chunks.filter(({ type }) => type !== CHUNK.NONE);
  demand(chunks.length === 1, `${chunks.length} status chunks for one context`);
  return extents(chunks[0] as Chunk, style);
}

const STATES = ['data', 'a hole of unknown content', 'allocated zeroes', 'a hole that reads as zeroes'];

const reads: StyledRow[] = [
  {
    subject: '`NBD_CMD_READ`',
    rule: 'MUST be answered in chunks',
    question: async (session, { offset }) => {
      await session.write(offset, Buffer.alloc(65_536, 0x31));
      demand(
        (await session.read(offset, 65_536)).every((byte) => byte === 0x31),
        'other data',
      );
      return undefined;
    },
  },
  {
    subject: '`NBD_REPLY_TYPE_OFFSET_DATA` (1)',
    rule: 'data with its offset',
    question: async (session, { offset }) => {
      await session.write(offset, Buffer.alloc(4096, 0x31));
      const reply = await session.ask({ type: CMD.READ, offset, length: 4096 });
      demand(types(reply).includes(CHUNK.OFFSET_DATA), 'no such chunk');
      return undefined;
    },
  },
  {
    subject: '`NBD_REPLY_TYPE_OFFSET_HOLE` (2)',
    rule: 'for a hole; MAY be sent',
    question: async (session, { offset }) => {
      await holed(session, offset);
      const reply = await session.ask({ type: CMD.READ, offset, length: MIB });
      return types(reply).includes(CHUNK.OFFSET_HOLE) ? 'supported' : 'not sent';
    },
  },
  {
    subject: '`NBD_REPLY_TYPE_NONE` (0)',
    rule: 'MUST be last, where it is sent',
    question: async (session, { offset }) => {
      const reply = await session.ask({ type: CMD.READ, offset, length: 4096 });
      const at = types(reply).indexOf(CHUNK.NONE);
      demand(at < 0 || at === reply.chunks.length - 1, 'not the last chunk');
      return at < 0 ? 'not sent' : 'supported';
    },
  },
  {
    subject: '`NBD_CMD_FLAG_DF` over data and a hole',
    rule: 'MUST be one chunk of data',
    question: async (session, { offset }) => {
      await holed(session, offset);
      const reply = await session.ask({ type: CMD.READ, flags: FLAG.DF, offset, length: MIB });
      const content = types(reply).filter((type) => type !== CHUNK.NONE);
      demand(content.length === 1 && content[0] === CHUNK.OFFSET_DATA, `chunks ${content.join()}`);
      return undefined;
    },
  },
  {
    subject: 'DF of 32 MiB',
    rule: 'MAY be `NBD_EOVERFLOW`',
    question: async (session) => {
      const reply = await session.ask({
        type: CMD.READ,
        flags: FLAG.DF,
        offset: 1n << 30n,
        length: 32 * MIB,
      });
      demand(types(reply).filter((type) => type !== CHUNK.NONE).length === 1, 'more than one chunk');
      return undefined;
    },
  },
  {
    subject: '`NBD_REPLY_TYPE_ERROR` (2^15 + 1)',
    rule: 'a refused READ MUST NOT get a simple reply',
    question: async (session) => {
      const offset = session.told.sizeBytes - 512n;
      session.send({ type: CMD.READ, offset, length: 1024 });
      const reply = await session.reply();
      demand(reply.style !== 'simple' && reply.error !== 0, 'no error chunk');
      const fault = reply.chunks.find(({ type }) => type & 0x8000) as Chunk;
      await session.lives();
      const text = fault.payload.subarray(6, 6 + fault.payload.readUInt16BE(4)).toString();
      const offsets = fault.type === CHUNK.ERROR_OFFSET ? ', with an offset' : '';
      return `supported: ${text.length > 0 ? 'with a message' : 'no message'}${offsets}`;
    },
  },
  {
    subject: 'reply to WRITE',
    rule: 'a simple reply or a chunk without data',
    question: async (session, { offset }, style) => {
      const reply = await session.write(offset, Buffer.alloc(512));
      if (style === 'extended') demand(reply.style === 'extended', 'a simple reply');
      return `supported: ${reply.style === 'simple' ? 'simple reply' : 'chunk'}`;
    },
  },
  {
    subject: 'refused WRITE',
    rule: 'SHOULD be an error chunk',
    question: async (session, _, style) => {
      const flags = style === 'extended' ? FLAG.PAYLOAD_LEN : 0;
      session.send({
        type: CMD.WRITE,
        flags,
        offset: session.told.sizeBytes,
        payload: Buffer.alloc(4096, 0x25),
      });
      const reply = await session.reply();
      demand(reply.error !== 0, 'no error');
      await session.lives();
      return `supported: ${reply.style === 'simple' ? 'simple reply' : 'error chunk'}`;
    },
  },
];

const statuses: StyledRow[] = [
  {
    subject: '`NBD_CMD_BLOCK_STATUS` of what was written',
    rule: 'data: no `NBD_STATE_HOLE`, no `NBD_STATE_ZERO`',
    contexts: [ALLOCATION],
    question: async (session, { offset }, style) => {
      await session.write(offset, Buffer.alloc(65_536, 0x31));
      const [first] = await status(session, style, offset, 65_536);
      demand(first?.flags === 0, `state ${first?.flags}`);
      return undefined;
    },
  },
  {
    subject: 'BLOCK_STATUS of what was zeroed or trimmed',
    rule: '`NBD_STATE_HOLE`, `NBD_STATE_ZERO`',
    contexts: [ALLOCATION],
    question: async (session, { offset }, style) => {
      await holed(session, offset);
      const [first] = await status(session, style, offset, MIB);
      return `supported: ${STATES[first?.flags ?? 0]}`;
    },
  },
  {
    subject: 'BLOCK_STATUS with several extents',
    rule: 'consecutive, from the offset on',
    contexts: [ALLOCATION],
    question: async (session, { offset }, style) => {
      await holed(session, offset);
      const all = await status(session, style, offset, MIB);
      return all.length > 1 ? 'supported' : 'one extent';
    },
  },
  {
    subject: '`NBD_CMD_FLAG_REQ_ONE`',
    rule: 'MUST be one extent, inside of the request',
    contexts: [ALLOCATION],
    question: async (session, { offset }, style) => {
      await holed(session, offset);
      const all = await status(session, style, offset, MIB / 2, FLAG.REQ_ONE);
      demand(all.length === 1 && (all[0] as Extent).length <= MIB / 2, `${all.length} extents`);
      return undefined;
    },
  },
  {
    subject: 'BLOCK_STATUS past the end',
    rule: 'SHOULD be `NBD_EINVAL`',
    contexts: [ALLOCATION],
    question: async (session, _, style) => {
      const said = await refusal(status(session, style, session.told.sizeBytes - 512n, 1024));
      await session.lives();
      return said;
    },
  },
  {
    subject: 'BLOCK_STATUS without a context',
    rule: 'SHOULD be `NBD_EINVAL`',
    question: async (session, { offset }, style) => {
      const said = await refusal(status(session, style, offset, 512));
      await session.lives();
      return said;
    },
  },
];

const styled = (style: Style, { subject, rule, must, contexts, question }: StyledRow): Row => ({
  subject: style === 'extended' ? `${subject} (extended)` : subject,
  rule,
  proof: style === 'extended' ? PROOF.extended : contexts ? PROOF.status : PROOF.structured,
  ...(must && { must }),
  ask: async (target) => question(await target.session(style, contexts && { contexts }), target, style),
});

/** A context other than base:allocation, of the server's own. */
const ownContext: Row = {
  subject: "a context of the server's own",
  rule: 'one chunk for each context',
  proof: PROOF.status,
  ask: async (target) => {
    const peer = await target.greeted();
    await ask(peer, OPT.STRUCTURED_REPLY);
    const [own] = [...(await contexts(peer, OPT.LIST_META_CONTEXT, EXPORT, [])).keys()].filter(
      (name) => name !== ALLOCATION,
    );
    if (own === undefined) return 'not offered';
    const both = await target.session('structured', { contexts: [ALLOCATION, own] });
    const reply = await both.ask({ type: CMD.BLOCK_STATUS, offset: target.offset, length: MIB });
    const ids = reply.chunks
      .filter(({ type }) => type === CHUNK.BLOCK_STATUS)
      .map(({ payload }) => payload.readUInt32BE());
    demand(ids.length === 2 && ids[0] !== ids[1], `chunks for ${ids.length} contexts`);
    return `supported: \`${own}\``;
  },
};

const otherExport: Row = {
  subject: 'a context set for another name',
  rule: 'BLOCK_STATUS SHOULD be `NBD_EINVAL`',
  proof: PROOF.status,
  ask: async (target) => {
    const peer = await target.greeted();
    await ask(peer, OPT.STRUCTURED_REPLY);
    await contexts(peer, OPT.SET_META_CONTEXT, EXPORT, [ALLOCATION]);
    await refusal(contexts(peer, OPT.SET_META_CONTEXT, 'nobody', [ALLOCATION]));
    const session = new Session(peer, 'structured', await tell(peer, OPT.GO, EXPORT));
    const said = await refusal(status(session, 'structured', target.offset, 512));
    await session.lives();
    return said;
  },
};

export const structured: Group = {
  title: 'Structured replies',
  rows: [...reads, ...statuses].map((one) => styled('structured', one)).concat(ownContext, otherExport),
};

const FIVE_GIB = 5n << 30n;
const extendedOnly: StyledRow[] = [
  {
    subject: 'WRITE without `NBD_CMD_FLAG_PAYLOAD_LEN`',
    rule: 'the client MUST set it',
    question: async (session, { offset }) => {
      const said = await refusal(session.ask({ type: CMD.WRITE, offset, length: 512 }));
      await session.lives();
      return said;
    },
  },
  {
    subject: '`NBD_CMD_FLAG_PAYLOAD_LEN` on READ',
    rule: 'SHOULD consume the payload, then `NBD_EINVAL`',
    question: async (session, { offset }) => {
      const payload = Buffer.alloc(4096, 0x25);
      const said = await refusal(session.ask({ type: CMD.READ, flags: FLAG.PAYLOAD_LEN, offset, payload }));
      await session.lives();
      return said;
    },
  },
  {
    subject: 'TRIM of 5 GiB',
    rule: 'a length of 64 bits',
    question: async (session) => {
      await session.ask({ type: CMD.TRIM, offset: 2n << 30n, length: FIVE_GIB });
      return undefined;
    },
  },
  {
    subject: 'WRITE_ZEROES of 5 GiB with FAST_ZERO',
    rule: 'a length of 64 bits',
    question: async (session) => {
      const said = await refusal(
        session.ask({ type: CMD.WRITE_ZEROES, flags: FLAG.FAST_ZERO, offset: 2n << 30n, length: FIVE_GIB }),
      );
      await session.lives();
      return said;
    },
  },
  {
    subject: '`NBD_REPLY_TYPE_BLOCK_STATUS_EXT` (6) of 5 GiB',
    rule: 'extents of 64 bits',
    contexts: [ALLOCATION],
    question: async (session, _, style) => {
      const all = await status(session, style, 2n << 30n, FIVE_GIB);
      const covered = all.reduce((sum, { length }) => sum + length, 0);
      return covered >= Number(FIVE_GIB) ? 'supported' : `supported: ${covered} bytes`;
    },
  },
  {
    subject: 'READ of 5 GiB',
    rule: 'MAY be `NBD_EOVERFLOW`',
    question: async (session) => {
      const said = await refusal(session.ask({ type: CMD.READ, offset: 2n << 30n, length: FIVE_GIB }));
      await session.lives();
      return said;
    },
  },
  {
    subject: 'BLOCK_STATUS with a payload of ids',
    rule: 'with `NBD_FLAG_BLOCK_STATUS_PAYLOAD`: only those contexts',
    question: async (_, target) => {
      const peer = await target.greeted();
      await ask(peer, OPT.EXTENDED_HEADERS);
      const [id] = (await contexts(peer, OPT.SET_META_CONTEXT, EXPORT, [ALLOCATION])).values();
      const session = new Session(peer, 'extended', await tell(peer, OPT.GO, EXPORT));
      const payload = (wanted: number) => Buffer.concat([be(64, 4096), be(32, wanted)]);
      const request = { type: CMD.BLOCK_STATUS, flags: FLAG.PAYLOAD_LEN, offset: target.offset };
      const unknown = await refusal(session.ask({ ...request, payload: payload((id as number) ^ 0x55) }));
      demand(unknown === 'refused with EINVAL', `an unknown id is ${unknown}`);
      const { chunks } = await session.ask({ ...request, payload: payload(id as number) });
      if (chunks.length === 0) throw new Wrong('no chunk');
      return undefined;
    },
  },
];

export const extended: Group = {
  title: 'Extended headers (an extension of the specification)',
  rows: [...reads, ...statuses, ...extendedOnly].map((one) => styled('extended', one)),
};
