/**
 * What an option gets that is not looked at: one error, its data dropped, and haggling goes on (proto.md, "Baseline":
 * servers MUST NOT fail to parse the next message).
 */

import { NBD_REP_ERR_SHUTDOWN, NBD_REP_ERR_TLS_REQD, NBD_REP_ERR_UNSUP } from '../constants.js';
import { type Option, refuse } from './option.js';

function refusal(name: string, type: number, why: (option: number) => string): Option {
  const answer: Required<Option>['answerLonger'] = (session, option) =>
    refuse(session, option, type, why(option));
  return { name, keptMaxBytes: 0, answer, answerLonger: answer };
}

/** Every option without a row. */
export const unsupported = refusal(
  'an option that is not supported',
  NBD_REP_ERR_UNSUP,
  (option) => `option ${option} is not supported`,
);

/** proto.md, "FORCEDTLS mode": any option, also one that is not supported, but STARTTLS and ABORT. */
export const tlsRequired = refusal(
  'an option before TLS',
  NBD_REP_ERR_TLS_REQD,
  () => 'this server requires TLS',
);

/** proto.md, "Termination of the session during option haggling". */
export const shuttingDown = refusal(
  'an option while the server closes',
  NBD_REP_ERR_SHUTDOWN,
  () => 'the server is shutting down',
);
