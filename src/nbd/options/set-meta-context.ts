/**
 * NBD_OPT_SET_META_CONTEXT: the contexts that NBD_CMD_BLOCK_STATUS will tell of, if this very export is entered.
 *
 * Each call replaces what the one before selected, also a call that fails; no query and a wildcard select nothing. Ids are
 * the places in the export's list, from 1 (proto.md, NBD_OPT_SET_META_CONTEXT).
 */

import { NBD_REP_ERR_INVALID } from '../constants.js';
import { META_KEPT_MAX_BYTES } from '../limits.js';
import { ack, metaContextReply } from '../replies.js';
import type { Session } from '../session.js';
import { DATA_TOO_LONG, type MetaRequest, parseMetaRequest, type Refusal } from './meta-query.js';
import { type Answer, haggle, type Option, refuse } from './option.js';

const TOO_EARLY: Refusal = {
  kind: 'bad',
  type: NBD_REP_ERR_INVALID,
  why: 'negotiate structured replies or extended headers first',
};

function select(before: Session, option: number, request: MetaRequest): Answer {
  const session: Session = { ...before, selected: undefined };
  if (request.kind === 'bad') return refuse(session, option, request.type, request.why);
  const { one, queries } = request;
  const asked = new Set(queries);
  const ids = new Map(
    one.contexts.map((name, at) => [name, at + 1] as const).filter(([name]) => asked.has(name)),
  );
  const told = [...ids].map(([name, id]) => metaContextReply(option, id, name));
  return haggle({ ...session, selected: { exportName: one.name, ids } }, ...told, ack(option));
}

export const setMetaContext: Option = {
  name: 'NBD_OPT_SET_META_CONTEXT',
  needs: 'structured',
  keptMaxBytes: META_KEPT_MAX_BYTES,
  answer: (session, option, data) =>
    select(session, option, session.replies === 'simple' ? TOO_EARLY : parseMetaRequest(session, data)),
  answerLonger: (session, option) => select(session, option, DATA_TOO_LONG),
};
