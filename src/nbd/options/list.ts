/**
 * NBD_OPT_LIST: one NBD_REP_SERVER for each export, then NBD_REP_ACK. It takes no data (proto.md, NBD_OPT_LIST).
 */

import { NBD_REP_ERR_INVALID } from '../constants.js';
import { ack, serverReply } from '../replies.js';
import type { Option } from './option.js';

export const list: Option = {
  name: 'NBD_OPT_LIST',
  keptMaxBytes: 0,
  whenLonger: { kind: 'error', type: NBD_REP_ERR_INVALID, message: 'NBD_OPT_LIST takes no data' },
  answer: (session, option) => ({
    kind: 'haggle',
    session,
    output: [...session.exports.map((one) => serverReply(option, one)), ack(option)],
  }),
};
