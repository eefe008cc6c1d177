/**
 * NBD_OPT_ABORT: the client goes in good order. Acknowledged; data is ignored (proto.md, NBD_OPT_ABORT).
 */

import { ack } from '../replies.js';
import type { Option } from './option.js';

export const abort: Option = {
  name: 'NBD_OPT_ABORT',
  keptMaxBytes: 0,
  whenLonger: { kind: 'drop' },
  answer: (_session, option) => ({ kind: 'close', fault: undefined, output: [ack(option)] }),
};
