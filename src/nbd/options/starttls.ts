/**
 * NBD_OPT_STARTTLS: the connection goes on in TLS, and nothing that was agreed in the clear goes with it. Once only
 * (proto.md, NBD_OPT_STARTTLS and "TLS support").
 */

import { NBD_REP_ERR_INVALID, NBD_REP_ERR_POLICY } from '../constants.js';
import { ack } from '../replies.js';
import { begunTls, type Session } from '../session.js';
import { type Answer, type Option, refuse } from './option.js';

/** Why TLS cannot begin now, data or none. */
function refusalOf(session: Session, option: number): Answer | undefined {
  if (session.tls === 'off') return refuse(session, option, NBD_REP_ERR_POLICY, 'this server has TLS off');
  if (session.tls === 'begun') return refuse(session, option, NBD_REP_ERR_INVALID, 'TLS has begun already');
  return undefined;
}

export const starttls: Option = {
  name: 'NBD_OPT_STARTTLS',
  keptMaxBytes: 0,
  answer: (session, option) =>
    refusalOf(session, option) ?? { kind: 'tls', session: begunTls(session), output: [ack(option)] },
  answerLonger: (session, option) =>
    refusalOf(session, option) ??
    refuse(session, option, NBD_REP_ERR_INVALID, 'NBD_OPT_STARTTLS takes no data'),
};
