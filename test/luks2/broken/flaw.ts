/**
 * One flaw in an otherwise right header, in both copies, checksums made right again unless the flaw is there: what a
 * reader must refuse, and by which code.
 */

import { encodeCopy, type Luks2Header, sealCopy, type Which } from '#sealdisk/luks2/header.js';
import { MemoryFile } from '../memory-file.js';
import { sampleHeader } from '../sample.js';

// biome-ignore lint/suspicious/noExplicitAny: flaws reach anywhere into the JSON and put anything there.
export type AnyJson = any;

export interface Flaw {
  /** Ends the sentence "refuses …". */
  readonly title: string;
  readonly code: string;
  /** Changes the JSON as a value. */
  readonly json?: (json: AnyJson) => void;
  /** Changes the JSON as text. */
  readonly text?: (text: string) => string;
  /** Changes the bytes of a copy before its checksum is made right. */
  readonly bytes?: (copy: Buffer, which: Which) => void;
  /** Changes the bytes of a copy afterwards. */
  readonly afterChecksum?: (copy: Buffer, which: Which) => void;
}

export const JSON_AT = 4096;

/** Both copies of `header` with the flaw in those that `where` names. */
export function imageWith(
  flaw: Partial<Flaw>,
  header: Luks2Header = sampleHeader(),
  where: readonly Which[] = ['primary', 'secondary'],
): MemoryFile {
  const image = Buffer.alloc(2 * header.hdrSizeBytes);
  for (const which of ['primary', 'secondary'] as const) {
    const copy = encodeCopy(header, which);
    if (where.includes(which)) breakCopy(copy, which, flaw);
    copy.copy(image, which === 'primary' ? 0 : header.hdrSizeBytes);
  }
  return new MemoryFile(image);
}

function breakCopy(copy: Buffer, which: Which, flaw: Partial<Flaw>): void {
  const area = copy.subarray(JSON_AT);
  let text = area.subarray(0, area.indexOf(0)).toString();
  if (flaw.json) {
    const json = JSON.parse(text);
    flaw.json(json);
    text = JSON.stringify(json);
  }
  if (flaw.text) text = flaw.text(text);
  if (flaw.json || flaw.text) area.fill(0).write(text);
  flaw.bytes?.(copy, which);
  sealCopy(copy);
  flaw.afterChecksum?.(copy, which);
}
