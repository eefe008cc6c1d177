/**
 * NBD_OPT_LIST_META_CONTEXT: the contexts of an export that match a query, all of them where nothing is asked.
 *
 * An empty leaf-name stands for its whole namespace, in each namespace. Nothing changes, so it is answered before
 * structured replies are agreed on, too (proto.md only advises clients against it).
 */

import { META_KEPT_MAX_BYTES } from '../limits.js';
import { ack, metaContextReply } from '../replies.js';
import { DATA_TOO_LONG, parseMetaRequest } from './meta-query.js';
import { haggle, type Option, refuse } from './option.js';

const matches = (name: string, query: string): boolean =>
  query === name || query === name.slice(0, name.indexOf(':') + 1);

export const listMetaContext: Option = {
  name: 'NBD_OPT_LIST_META_CONTEXT',
  needs: 'structured',
  keptMaxBytes: META_KEPT_MAX_BYTES,
  answer: (session, option, data) => {
    const request = parseMetaRequest(session, data);
    if (request.kind === 'bad') return refuse(session, option, request.type, request.why);
    const { one, queries } = request;
    const listed = one.contexts.filter(
      (name) => queries.length === 0 || queries.some((query) => matches(name, query)),
    );
    return haggle(session, ...listed.map((name) => metaContextReply(option, 0, name)), ack(option));
  },
  answerLonger: (session, option) => refuse(session, option, DATA_TOO_LONG.type, DATA_TOO_LONG.why),
};
