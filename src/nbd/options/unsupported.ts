/**
 * Every option without a row: NBD_REP_ERR_UNSUP, its data dropped, and haggling goes on (proto.md, "Baseline": servers
 * MUST NOT fail to parse the next message).
 */

import { NBD_REP_ERR_UNSUP } from '../constants.js';
import { errorReply } from '../replies.js';
import type { Option } from './option.js';

export const unsupported: Option = {
  name: 'an option that is not supported',
  keptMaxBytes: 0,
  whenLonger: { kind: 'drop' },
  answer: (session, option) => ({
    kind: 'haggle',
    session,
    output: [errorReply(option, NBD_REP_ERR_UNSUP, `option ${option} is not supported`)],
  }),
};
