/**
 * NBD_OPT_EXTENDED_HEADERS: both sides use the headers with 64-bit lengths, whether or not structured replies were agreed
 * on before; contexts that were selected stay so (proto.md, NBD_OPT_EXTENDED_HEADERS).
 */

import { NBD_REP_ERR_INVALID } from '../constants.js';
import { ack } from '../replies.js';
import { haggle, type Option, refuse } from './option.js';

export const extendedHeaders: Option = {
  name: 'NBD_OPT_EXTENDED_HEADERS',
  needs: 'extended',
  keptMaxBytes: 0,
  answer: (session, option) => haggle({ ...session, replies: 'extended' }, ack(option)),
  answerLonger: (session, option) =>
    refuse(session, option, NBD_REP_ERR_INVALID, 'NBD_OPT_EXTENDED_HEADERS takes no data'),
};
