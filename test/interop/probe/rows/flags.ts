/** Rows about the transmission flags: which the server sets, agreed on structured replies and a context. */

import { ask, OPT } from '../client.js';
import { PROOF } from '../proofs.js';
import { type Group, type Row, refusal, type Target } from '../target.js';

/** The flags of the export, told to a client that speaks as much as the server does. */
async function flags(target: Target, extended = false): Promise<number> {
  const peer = await target.greeted();
  const option = extended ? OPT.EXTENDED_HEADERS : OPT.STRUCTURED_REPLY;
  const spoken = (await refusal(ask(peer, option))) === 'supported';
  const contexts = spoken ? { contexts: [] } : {};
  return (await target.transmit(peer, 'simple', contexts)).told.flags;
}

const set = (bit: number, name: string, rule: string): Row => ({
  subject: `\`NBD_FLAG_${name}\` (${bit})`,
  rule,
  proof: PROOF.flags,
  ask: async (target) => ((await flags(target, bit === 12)) & (1 << bit) ? 'set' : 'not set'),
});

const rows: Row[] = [
  { ...set(0, 'HAS_FLAGS', 'MUST be set'), must: /^set$/ },
  {
    subject: '`NBD_FLAG_READ_ONLY` (1)',
    rule: 'of a disk that is served for reading',
    proof: PROOF.readOnlyFlag,
    ask: async (target) => {
      const session = await target.session('simple', { flavour: 'read-only' });
      return session.told.flags & 2 ? 'set' : 'not set';
    },
  },
  set(2, 'SEND_FLUSH', '`NBD_CMD_FLUSH`'),
  set(3, 'SEND_FUA', '`NBD_CMD_FLAG_FUA`'),
  set(4, 'ROTATIONAL', 'a spinning disk'),
  set(5, 'SEND_TRIM', '`NBD_CMD_TRIM`'),
  set(6, 'SEND_WRITE_ZEROES', '`NBD_CMD_WRITE_ZEROES`'),
  set(7, 'SEND_DF', '`NBD_CMD_FLAG_DF`, with structured replies'),
  {
    subject: '`NBD_FLAG_SEND_DF` without structured replies',
    rule: 'MUST be clear',
    proof: PROOF.flags,
    must: /^not set$/,
    ask: async (target) => ((await target.session()).told.flags & 128 ? 'set' : 'not set'),
  },
  set(8, 'CAN_MULTI_CONN', 'FLUSH covers all connections'),
  set(9, 'SEND_RESIZE', '`NBD_CMD_RESIZE`, an extension'),
  set(10, 'SEND_CACHE', '`NBD_CMD_CACHE`'),
  set(11, 'SEND_FAST_ZERO', '`NBD_CMD_FLAG_FAST_ZERO`'),
  set(12, 'BLOCK_STATUS_PAYLOAD', 'with extended headers only'),
];

export const transmissionFlags: Group = { title: 'Transmission flags', rows };
