/** Rows about listing and selecting metadata contexts. */

import { ask, contextData, OPT } from '../client.js';
import { PROOF } from '../proofs.js';
import { EXPORT, type Group, type Row, refusal, type Target } from '../target.js';
import { be } from '../wire.js';
import { refused } from './handshake.js';

/** LIST or SET with the queries; the names found, sorted. */
async function found(
  target: Target,
  option: number,
  queries: readonly string[],
  before = true,
): Promise<string> {
  const peer = await target.greeted();
  if (before) await ask(peer, OPT.STRUCTURED_REPLY);
  const all = await ask(peer, option, contextData(EXPORT, queries));
  const names = all.map(({ data }) => data.subarray(4).toString()).sort();
  return names.length > 0 ? `supported: ${names.map((name) => `\`${name}\``).join(', ')}` : 'supported: none';
}

const brokenContext = (subject: string, rule: string, data: Buffer, must?: RegExp): Row[] =>
  [OPT.LIST_META_CONTEXT, OPT.SET_META_CONTEXT].map((option) => ({
    subject: `${option === OPT.LIST_META_CONTEXT ? 'LIST' : 'SET'}_META_CONTEXT ${subject}`,
    rule,
    proof: PROOF.metaContext,
    ...(must && { must }),
    ask: async (target) => {
      const peer = await target.greeted();
      if ((await refusal(ask(peer, OPT.STRUCTURED_REPLY))) !== 'supported') return 'not offered';
      return refused(peer, option, data);
    },
  }));

const INVALID = /^refused with ERR_INVALID$/;
const contextRow = (
  subject: string,
  rule: string,
  option: number,
  queries: readonly string[],
  must?: RegExp,
  before = true,
): Row => ({
  subject,
  rule,
  proof: PROOF.metaContext,
  ...(must && { must }),
  ask: async (target) => found(target, option, queries, before),
});

const UNSUPPORTED = '|^refused with ERR_UNSUP$';
const rows: Row[] = [
  contextRow('`NBD_OPT_LIST_META_CONTEXT` (9)', 'no query: all contexts', OPT.LIST_META_CONTEXT, []),
  contextRow(
    'LIST of `base:`',
    'MUST be a wildcard',
    OPT.LIST_META_CONTEXT,
    ['base:'],
    new RegExp(`^supported: .base:allocation.$${UNSUPPORTED}`),
  ),
  contextRow(
    'LIST of an unknown namespace',
    'MUST be ignored',
    OPT.LIST_META_CONTEXT,
    ['x-nobody:here'],
    new RegExp(`^supported: none$${UNSUPPORTED}`),
  ),
  contextRow('LIST of a query without a colon', 'MAY be refused', OPT.LIST_META_CONTEXT, ['base']),
  contextRow(
    'LIST without structured replies',
    'MAY be refused',
    OPT.LIST_META_CONTEXT,
    [],
    undefined,
    false,
  ),
  contextRow('`NBD_OPT_SET_META_CONTEXT` (10)', '`base:allocation`', OPT.SET_META_CONTEXT, [
    'base:allocation',
  ]),
  contextRow(
    'SET of `base:`',
    'MUST select nothing',
    OPT.SET_META_CONTEXT,
    ['base:'],
    new RegExp(`^supported: none$${UNSUPPORTED}`),
  ),
  contextRow(
    'SET of `base:nothing`',
    'MUST be ignored',
    OPT.SET_META_CONTEXT,
    ['base:nothing'],
    new RegExp(`^supported: none$${UNSUPPORTED}`),
  ),
  contextRow(
    'SET of the same context twice',
    'each context has one id',
    OPT.SET_META_CONTEXT,
    ['base:allocation', 'base:allocation'],
    new RegExp(`^supported: .base:allocation.$${UNSUPPORTED}`),
  ),
  contextRow(
    'SET without structured replies',
    'SHOULD be refused',
    OPT.SET_META_CONTEXT,
    ['base:allocation'],
    undefined,
    false,
  ),
  ...brokenContext(
    'with a query longer than its data',
    'MUST be `NBD_REP_ERR_INVALID`',
    Buffer.concat([be(32, 4), Buffer.from(EXPORT), be(32, 1), be(32, 99), Buffer.from('base:')]),
    new RegExp(`${INVALID.source}${UNSUPPORTED}|^not offered`),
  ),
  ...brokenContext(
    'with more queries than data',
    'MUST be `NBD_REP_ERR_INVALID`',
    Buffer.concat([be(32, 4), Buffer.from(EXPORT), be(32, 9)]),
    new RegExp(`${INVALID.source}${UNSUPPORTED}|^not offered`),
  ),
  ...brokenContext(
    'of an unknown export',
    '`NBD_REP_ERR_UNKNOWN`',
    contextData('nobody', ['base:allocation']),
  ),
];

export const metaContexts: Group = { title: 'Metadata contexts', rows };
