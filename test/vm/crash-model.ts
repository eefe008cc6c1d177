/**
 * What a disk may hold after a crash, piece by piece of 512 bytes: the last write that a completed FLUSH (or its own FUA)
 * covers, or one that was issued later. Anything else is lost data or noise.
 *
 * Kept true: two writes in flight never touch the same piece, so that each piece has one order of writes. A piece that is
 * written holds its write's number and its own in every 16 bytes, the block of the cipher.
 */

export const PIECE_BYTES = 512;
const BLOCK_BYTES = 16;

export interface Write {
  readonly id: number;
  readonly first: number;
  readonly pieces: number;
  readonly zeros: boolean;
}

/** What was promised when a mark was set in the log. */
interface Promised {
  readonly stable: Uint32Array;
  /** The number of the last write that was issued before. */
  readonly issued: number;
}

export class CrashModel {
  readonly #writes: Write[][];
  readonly #stable: Uint32Array;
  readonly #marks: Promised[] = [];
  #ids = 0;

  constructor(readonly pieces: number) {
    this.#writes = Array.from({ length: pieces }, () => []);
    this.#stable = new Uint32Array(pieces);
  }

  get marks(): number {
    return this.#marks.length;
  }

  issue(first: number, pieces: number, zeros: boolean): Write {
    const write = { id: ++this.#ids, first, pieces, zeros };
    for (let piece = first; piece < first + pieces; piece++) this.#writes[piece]?.push(write);
    return write;
  }

  /** The write is promised to be there from now on, or a later one in its place. */
  becameStable({ id, first, pieces }: Write): void {
    for (let piece = first; piece < first + pieces; piece++) {
      this.#stable[piece] = Math.max(id, this.#stable[piece] ?? 0);
    }
  }

  /** To be called right before the mark is set: every promise so far holds at it and after it. */
  mark(): number {
    return this.#marks.push({ stable: this.#stable.slice(), issued: this.#ids });
  }

  /**
   * What is wrong with the pieces from `first` on, as `image` has them, at a crash after mark `mark` (from 1) and before
   * the next one; '' when nothing is.
   */
  wrong(image: Buffer, first: number, mark: number): string {
    const { stable } = this.#marks[mark - 1] as Promised;
    const issued = this.#marks[mark]?.issued ?? this.#ids;
    for (let piece = first; piece < first + image.length / PIECE_BYTES; piece++) {
      const bytes = image.subarray((piece - first) * PIECE_BYTES, (piece - first + 1) * PIECE_BYTES);
      const oldest = stable[piece] ?? 0;
      const may = (this.#writes[piece] ?? []).filter(({ id }) => id >= oldest && id <= issued);
      if (may.some((write) => holds(bytes, piece, write))) continue;
      return `piece ${piece} holds ${told(bytes)}, expected one of the writes ${may.map(({ id }) => id)}`;
    }
    return '';
  }
}

export function payloadOf({ id, first, pieces }: Write): Buffer {
  const payload = Buffer.alloc(pieces * PIECE_BYTES);
  for (let n = 0; n < pieces; n++) {
    const block = Buffer.alloc(BLOCK_BYTES, 'sealdisk');
    block.writeUInt32LE(id, 0);
    block.writeUInt32LE(first + n, 4);
    payload.fill(block, n * PIECE_BYTES, (n + 1) * PIECE_BYTES);
  }
  return payload;
}

const ZEROS = Buffer.alloc(PIECE_BYTES);
const isUniform = (bytes: Buffer) =>
  bytes.subarray(BLOCK_BYTES).equals(bytes.subarray(0, PIECE_BYTES - BLOCK_BYTES));

function holds(bytes: Buffer, piece: number, write: Write): boolean {
  if (write.zeros) return bytes.equals(ZEROS);
  return isUniform(bytes) && bytes.readUInt32LE(0) === write.id && bytes.readUInt32LE(4) === piece;
}

function told(bytes: Buffer): string {
  if (bytes.equals(ZEROS)) return 'zeros';
  if (!isUniform(bytes) || bytes.toString('latin1', 8, 16) !== 'sealdisk') return 'noise';
  return `write ${bytes.readUInt32LE(0)} of piece ${bytes.readUInt32LE(4)}`;
}
