/**
 * NBD_OPT_EXPORT_NAME: the oldest way into the transmission phase, and the only one of clients without fixed newstyle.
 *
 * Its answer has no room for an error: whatever is wrong ends the session (proto.md, "Newstyle negotiation").
 */

import { concat, readText, shown, u16, u64 } from '../bytes.js';
import { EXPORT_NAME_ZEROES_BYTES, STRING_MAX_BYTES } from '../limits.js';
import { findExport, negotiatedFor, type Session } from '../session.js';
import { type Answer, type NbdFault, type Option, transmit } from './option.js';

const close = (fault: NbdFault | undefined): Answer => ({ kind: 'close', fault, output: [] });

function answer(session: Session, _option: number, data: Uint8Array): Answer {
  const wrong = (found: string, expected: string): Answer => close({ what: 'export name', found, expected });
  if (session.closing) return close(undefined);
  if (session.tls === 'required') return wrong('sent in the clear', 'NBD_OPT_STARTTLS before it');
  if (session.replies === 'extended') return wrong('sent after extended headers', 'NBD_OPT_GO');
  const name = readText(data);
  if (name === undefined) return wrong('not a string', 'UTF-8 without NUL');
  const found = findExport(session, name);
  if (typeof found === 'string') return wrong(shown(name), 'an export that exists');
  const zeroes = new Uint8Array(session.noZeroes ? 0 : EXPORT_NAME_ZEROES_BYTES);
  const { sizeBytes, transmissionFlags } = negotiatedFor(session, found);
  return transmit(session, found, [concat(u64(sizeBytes), u16(transmissionFlags), zeroes)]);
}

export const exportName: Option = { name: 'NBD_OPT_EXPORT_NAME', keptMaxBytes: STRING_MAX_BYTES, answer };
