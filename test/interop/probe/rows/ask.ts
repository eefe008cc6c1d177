/** How a row asks a session with simple replies: what it writes, reads back, and does after a refusal. */

import { CMD, type Session } from '../client.js';
import { demand, type Row, type Target } from '../target.js';
import { Wrong } from '../wire.js';

export type Question = (session: Session, target: Target) => Promise<string | undefined>;

/** A row asked of one session that must live on. */
export const row = (
  subject: string,
  rule: string,
  proof: Row['proof'],
  question: Question,
  must?: RegExp,
): Row => ({
  subject,
  rule,
  proof,
  ...(must && { must }),
  ask: async (target) => question(await target.session(), target),
});

/** As `row`: the request is refused, and a read after it is answered. */
export const survives =
  (question: Question): Question =>
  async (session, target) => {
    const outcome = await question(session, target).then(
      (answer) => ({ answer }),
      (error: unknown) => ({ error }),
    );
    if ('error' in outcome && outcome.error instanceof Wrong) throw outcome.error;
    await session.lives();
    if ('error' in outcome) throw outcome.error;
    return outcome.answer;
  };

/** Bytes that differ between neighbours and between seeds. */
export const pattern = (length: number, seed: number): Buffer =>
  Buffer.alloc(length, Buffer.from(Array.from({ length: 256 }, (_, i) => i * 7 + seed)));

export async function written(
  session: Session,
  offset: number,
  length: number,
  flags = 0,
): Promise<undefined> {
  const data = pattern(length, offset / 512);
  await session.write(offset, data, flags);
  demand((await session.read(offset, length)).equals(data), 'it reads back other data');
  return undefined;
}

export async function zeroed(session: Session, offset: number, flags: number): Promise<undefined> {
  await session.write(offset, pattern(8192, 3));
  await session.ask({ type: CMD.WRITE_ZEROES, flags, offset: offset + 1000, length: 5000 });
  const after = await session.read(offset, 8192);
  const expected = pattern(8192, 3).fill(0, 1000, 6000);
  demand(after.equals(expected), 'it reads back other data');
  return undefined;
}

/** The command over one 64 KiB of the row's own, written before. */
export async function quiet(session: Session, target: Target, type: number, flags = 0): Promise<undefined> {
  await session.write(target.offset, pattern(65_536, 5));
  await session.ask({ type, flags, offset: target.offset, length: 65_536 });
  return undefined;
}
