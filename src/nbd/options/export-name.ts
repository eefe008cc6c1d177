/**
 * NBD_OPT_EXPORT_NAME: the oldest way into the transmission phase, and the only one of clients without fixed newstyle.
 *
 * Its answer has no room for an error: whatever is wrong ends the session (proto.md, "Newstyle negotiation").
 */

import { concat, readText, shown, u16, u64 } from '../bytes.js';
import { findExport } from '../exports.js';
import { EXPORT_NAME_ZEROES_BYTES, STRING_MAX_BYTES } from '../limits.js';
import { type Answer, type Option, type Session, transmit } from './option.js';

function close(found: string, expected: string): Answer {
  return { kind: 'close', fault: { what: 'export name', found, expected }, output: [] };
}

function answer(session: Session, _option: number, data: Uint8Array): Answer {
  const name = readText(data);
  if (name === undefined) return close('not a string', 'UTF-8 without NUL');
  const found = findExport(session.exports, name);
  if (!found) return close(shown(name), 'an export that exists');
  const zeroes = new Uint8Array(session.noZeroes ? 0 : EXPORT_NAME_ZEROES_BYTES);
  return transmit(session, found, [concat(u64(found.sizeBytes), u16(found.transmissionFlags), zeroes)]);
}

export const exportName: Option = {
  name: 'NBD_OPT_EXPORT_NAME',
  keptMaxBytes: STRING_MAX_BYTES,
  whenLonger: { kind: 'close' },
  answer,
};
