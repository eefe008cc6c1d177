/**
 * NBD_OPT_ABORT: the client goes in good order. Acknowledged; data is ignored (proto.md, NBD_OPT_ABORT).
 */

import { ack } from '../replies.js';
import type { Answer, Option } from './option.js';

const answer = (_session: unknown, option: number): Answer => ({
  kind: 'close',
  fault: undefined,
  output: [ack(option)],
});

export const abort: Option = { name: 'NBD_OPT_ABORT', keptMaxBytes: 0, answer, answerLonger: answer };
