/**
 * The options that the handshake speaks: number and row. Whatever has no row, and whatever is not for now, is refused.
 */

import {
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
} from '../constants.js';
import { speaks } from '../exports.js';
import type { Session } from '../session.js';
import { abort } from './abort.js';
import { exportName } from './export-name.js';
import { extendedHeaders } from './extended-headers.js';
import { go, info } from './go.js';
import { list } from './list.js';
import { listMetaContext } from './list-meta-context.js';
import type { Option } from './option.js';
import { shuttingDown, tlsRequired, unsupported } from './refusals.js';
import { setMetaContext } from './set-meta-context.js';
import { starttls } from './starttls.js';
import { structuredReply } from './structured-reply.js';

const OPTIONS: ReadonlyMap<number, Option> = new Map([
  [NBD_OPT_EXPORT_NAME, exportName],
  [NBD_OPT_ABORT, abort],
  [NBD_OPT_LIST, list],
  [NBD_OPT_STARTTLS, starttls],
  [NBD_OPT_INFO, info],
  [NBD_OPT_GO, go],
  [NBD_OPT_STRUCTURED_REPLY, structuredReply],
  [NBD_OPT_LIST_META_CONTEXT, listMetaContext],
  [NBD_OPT_SET_META_CONTEXT, setMetaContext],
  [NBD_OPT_EXTENDED_HEADERS, extendedHeaders],
]);

/** What answers the option in this session. */
export function optionOf(session: Session, option: number): Option {
  const row = OPTIONS.get(option) ?? unsupported;
  if (row === abort || row === exportName) return row; // one is always welcome, the other hears no error
  if (session.closing) return shuttingDown;
  if (session.tls === 'required' && row !== starttls) return tlsRequired;
  return speaks(session.repliesMost, row.needs ?? 'simple') ? row : unsupported;
}
