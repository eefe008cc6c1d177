/**
 * NBD_OPT_LIST: one NBD_REP_SERVER for each export that the client may see, then NBD_REP_ACK. It takes no data
 * (proto.md, NBD_OPT_LIST).
 */

import { NBD_REP_ERR_INVALID } from '../constants.js';
import { ack, serverReply } from '../replies.js';
import { exportsSeen } from '../session.js';
import { haggle, type Option, refuse } from './option.js';

export const list: Option = {
  name: 'NBD_OPT_LIST',
  keptMaxBytes: 0,
  answer: (session, option) =>
    haggle(session, ...exportsSeen(session).map((one) => serverReply(option, one)), ack(option)),
  answerLonger: (session, option) =>
    refuse(session, option, NBD_REP_ERR_INVALID, 'NBD_OPT_LIST takes no data'),
};
