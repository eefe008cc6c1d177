/**
 * The client's side of proto.md: a handshake that asks one option at a time, and a session that sends requests and reads
 * whole replies in whichever of the three styles was agreed on.
 */

import { be, Closed, ERROR_BIT, errorName, type Peer, Refused, refusalName, Wrong } from './wire.js';

export const OPT = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  PEEK_EXPORT: 4,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
  EXTENDED_HEADERS: 11,
} as const;
export const REP = { ACK: 1, SERVER: 2, INFO: 3, META_CONTEXT: 4 } as const;
export const INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;
export const CMD = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
  RESIZE: 8,
} as const;
export const FLAG = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16, PAYLOAD_LEN: 32 } as const;
export const CHUNK = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  BLOCK_STATUS_EXT: 6,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const;
const BOTH_FLAGS = 3;

export interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

/** Reads the greeting and answers it; the server's handshake flags. */
export async function greet(peer: Peer, clientFlags = BOTH_FLAGS): Promise<number> {
  if ((await peer.take(16)).toString('latin1') !== 'NBDMAGICIHAVEOPT')
    throw new Wrong('no newstyle greeting');
  const flags = await peer.u16();
  peer.send(be(32, clientFlags));
  return flags;
}

export const optionBytes = (option: number, data: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([Buffer.from('IHAVEOPT'), be(32, option), be(32, data.length), data]);

/** All replies to one option, the final one last. */
export async function replies(peer: Peer, option: number): Promise<OptionReply[]> {
  const all: OptionReply[] = [];
  for (;;) {
    if ((await peer.u64()) !== 0x3e889045565a9n) throw new Wrong('no magic before a reply');
    if ((await peer.u32()) !== option) throw new Wrong('a reply to another option');
    const type = await peer.u32();
    const data = await peer.take(await peer.u32());
    all.push({ type, data });
    if (type === REP.ACK || type >= ERROR_BIT) return all;
  }
}

/** Asks; the replies before the acknowledgement. Throws Refused when the server says no. */
export async function ask(peer: Peer, option: number, data?: Uint8Array): Promise<OptionReply[]> {
  peer.send(optionBytes(option, data));
  const all = await replies(peer, option);
  const last = all.pop() as OptionReply;
  if (last.type !== REP.ACK) throw new Refused(refusalName(last.type));
  if (last.data.length > 0) throw new Wrong('an acknowledgement with data');
  return all;
}

const string = (text: string): Buffer => Buffer.concat([be(32, Buffer.byteLength(text)), Buffer.from(text)]);

export const goData = (name: string, types: readonly number[] = []): Buffer =>
  Buffer.concat([string(name), be(16, types.length), ...types.map((type) => be(16, type))]);

export const contextData = (name: string, queries: readonly string[]): Buffer =>
  Buffer.concat([string(name), be(32, queries.length), ...queries.map(string)]);

export interface Told {
  readonly sizeBytes: bigint;
  readonly flags: number;
  readonly information: ReadonlyMap<number, Buffer>;
}

/** GO or INFO; what the server told. */
export async function tell(
  peer: Peer,
  option: number,
  name: string,
  types: readonly number[] = [],
): Promise<Told> {
  const information = new Map<number, Buffer>();
  for (const { type, data } of await ask(peer, option, goData(name, types))) {
    if (type !== REP.INFO || data.length < 2) throw new Wrong(`a reply of type ${type}`);
    information.set(data.readUInt16BE(), data.subarray(2));
  }
  const about = information.get(INFO.EXPORT);
  if (about?.length !== 10) throw new Wrong('no information about the export');
  return { sizeBytes: about.readBigUInt64BE(), flags: about.readUInt16BE(8), information };
}

/** The names and ids of the contexts that the server lists or selects. */
export async function contexts(
  peer: Peer,
  option: number,
  name: string,
  queries: readonly string[],
): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const { type, data } of await ask(peer, option, contextData(name, queries))) {
    if (type !== REP.META_CONTEXT || data.length < 4) throw new Wrong(`a reply of type ${type}`);
    found.set(data.subarray(4).toString(), data.readUInt32BE());
  }
  return found;
}

export type Style = 'simple' | 'structured' | 'extended';

export interface Request {
  readonly type: number;
  readonly flags?: number;
  readonly offset?: number | bigint;
  readonly length?: number | bigint;
  readonly payload?: Uint8Array;
  readonly cookie?: bigint;
  readonly magic?: number;
}

export interface Chunk {
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
}

export interface Reply {
  readonly style: Style;
  readonly cookie: bigint;
  readonly error: number;
  /** Data of a simple reply. */
  readonly data: Buffer;
  readonly chunks: readonly Chunk[];
}

const SIMPLE = 0x67446698;
const STRUCTURED = 0x668e33ef;
const EXTENDED = 0x6e8a278c;
const DONE = 1;

export class Session {
  #cookie = 0n;
  #sent = new Map<bigint, Request>();

  constructor(
    readonly peer: Peer,
    readonly style: Style,
    readonly told: Told,
  ) {}

  send(request: Request): bigint {
    const { type, flags = 0, offset = 0, payload = Buffer.alloc(0) } = request;
    const { length = payload.length, cookie = ++this.#cookie } = request;
    this.#sent.set(cookie, request);
    const extended = this.style === 'extended';
    const magic = be(32, request.magic ?? (extended ? 0x21e41c71 : 0x25609513));
    const head = [magic, be(16, flags), be(16, type), be(64, cookie), be(64, offset)];
    this.peer.send(...head, be(extended ? 64 : 32, length), payload);
    return cookie;
  }

  /** The next whole reply; chunks of different replies may not interleave, for a probe waits for each. */
  async reply(): Promise<Reply> {
    const chunks: Chunk[] = [];
    for (;;) {
      const magic = await this.peer.u32();
      if (magic === SIMPLE && this.style !== 'extended') return this.#simple();
      const wanted = this.style === 'structured' ? STRUCTURED : EXTENDED;
      if (magic !== wanted || this.style === 'simple')
        throw new Wrong(`a reply with magic ${magic.toString(16)}`);
      const flags = await this.peer.u16();
      const type = await this.peer.u16();
      const cookie = await this.peer.u64();
      const request = this.#sent.get(cookie);
      if (request === undefined) throw new Wrong('a reply to a request that was not made');
      if (magic === EXTENDED && (await this.peer.u64()) !== BigInt(request.offset ?? 0)) {
        throw new Wrong('an extended reply with another offset');
      }
      const lengthBytes = magic === EXTENDED ? Number(await this.peer.u64()) : await this.peer.u32();
      chunks.push({ type, flags, payload: await this.peer.take(lengthBytes) });
      if (flags & DONE) return this.#whole(cookie, chunks);
    }
  }

  async #simple(): Promise<Reply> {
    const error = await this.peer.u32();
    const cookie = await this.peer.u64();
    const request = this.#sent.get(cookie);
    if (request === undefined) throw new Wrong('a reply to a request that was not made');
    this.#sent.delete(cookie);
    if (this.style === 'structured' && request.type === CMD.READ) throw new Wrong('a simple reply to READ');
    const holdsData = request.type === CMD.READ && error === 0;
    const data = await this.peer.take(holdsData ? Number(request.length) : 0);
    return { style: 'simple', cookie, error, data, chunks: [] };
  }

  #whole(cookie: bigint, chunks: readonly Chunk[]): Reply {
    this.#sent.delete(cookie);
    const fault = chunks.find(({ type }) => type & 0x8000);
    const error = fault?.payload.readUInt32BE() ?? 0;
    if (fault !== undefined && error === 0) throw new Wrong('an error chunk without an error');
    return { style: this.style, cookie, error, data: Buffer.alloc(0), chunks };
  }

  /** Sends one request and waits for its reply; throws Refused when it holds an error. */
  async ask(request: Request): Promise<Reply> {
    const cookie = this.send(request);
    const reply = await this.reply();
    if (reply.cookie !== cookie) throw new Wrong('another cookie');
    if (reply.error !== 0) throw new Refused(errorName(reply.error));
    return reply;
  }

  /** Reads `length` bytes, put together from whatever the server sent. */
  async read(offset: number | bigint, length: number, flags = 0): Promise<Buffer> {
    return assembled(await this.ask({ type: CMD.READ, flags, offset, length }), BigInt(offset), length);
  }

  write(offset: number | bigint, payload: Uint8Array, flags = 0): Promise<Reply> {
    const own = this.style === 'extended' ? flags | FLAG.PAYLOAD_LEN : flags;
    return this.ask({ type: CMD.WRITE, flags: own, offset, payload });
  }

  /** That the connection goes on: a read is answered. */
  async lives(): Promise<void> {
    const data = await this.read(0, 512).catch((error) => {
      throw error instanceof Closed ? error : new Wrong('the next request is not answered well');
    });
    if (data.length !== 512) throw new Wrong('the next request is not answered well');
  }
}

function assembled(reply: Reply, offset: bigint, length: number): Buffer {
  if (reply.style === 'simple') return reply.data;
  const data = Buffer.alloc(length, 0xee);
  let covered = 0;
  for (const { type, payload } of reply.chunks) {
    if (type === CHUNK.NONE) continue;
    const at = Number(payload.readBigUInt64BE() - offset);
    const size = type === CHUNK.OFFSET_HOLE ? payload.readUInt32BE(8) : payload.length - 8;
    if (at < 0 || size < 1 || at + size > length) throw new Wrong('a chunk outside of what was asked');
    if (type === CHUNK.OFFSET_HOLE) data.fill(0, at, at + size);
    else payload.copy(data, at, 8);
    covered += size;
  }
  if (covered !== length) throw new Wrong(`${covered} bytes of ${length}`);
  return data;
}
