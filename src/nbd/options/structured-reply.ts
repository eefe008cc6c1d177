/**
 * NBD_OPT_STRUCTURED_REPLY: the transmission phase answers in structured chunks. Asked for again, it is agreed on
 * again; after extended headers it would be a step back, and is refused (proto.md, NBD_OPT_STRUCTURED_REPLY).
 */

import { NBD_REP_ERR_EXT_HEADER_REQD, NBD_REP_ERR_INVALID } from '../constants.js';
import { ack } from '../replies.js';
import { haggle, type Option, refuse } from './option.js';

export const structuredReply: Option = {
  name: 'NBD_OPT_STRUCTURED_REPLY',
  needs: 'structured',
  keptMaxBytes: 0,
  answer: (session, option) =>
    session.replies === 'extended'
      ? refuse(session, option, NBD_REP_ERR_EXT_HEADER_REQD, 'extended headers are negotiated already')
      : haggle({ ...session, replies: 'structured' }, ack(option)),
  answerLonger: (session, option) =>
    refuse(session, option, NBD_REP_ERR_INVALID, 'NBD_OPT_STRUCTURED_REPLY takes no data'),
};
