/**
 * The one question that stands before every act on a disk, snapshot or image: may this caller do that.
 *
 * Whoever does the work asks, not who parses the words, so no way to the work goes round it. It is asked of what is so:
 * of an object that is to be made, of what it will be. Root is a caller as any other: what a policy catches there is a
 * mistake, for root can change the policy. Where no policy speaks of the caller it costs the look into one folder.
 */

import { fail } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import type { Caller } from './caller.js';
import { evaluate, type Request, type Verdict } from './evaluate.js';
import { type Action, comparableKey, type Statement, spelledKey } from './language.js';
import { concerns, readPolicies } from './store.js';
import { factsOf, resourcesOf, type Subject } from './subject.js';

/** Fails with POLICY_DENIED, and with POLICY_STORE where the policies of the pool cannot be read. */
export async function authorize(
  caller: Caller,
  action: Action,
  subject: Subject,
  environment: ProviderEnvironment,
): Promise<void> {
  const { verdict, request } = await judge(caller, action, subject, environment);
  if (!verdict.allowed) deny(caller, request, verdict);
}

export interface Judgement {
  readonly verdict: Verdict;
  readonly request: Request;
}

/** What `authorize` decides by; it refuses nothing. */
export async function judge(
  caller: Pick<Caller, 'user' | 'groups'>,
  action: Action,
  subject: Subject,
  environment: ProviderEnvironment,
): Promise<Judgement> {
  const all = await readPolicies(environment.poolDir);
  const policies = all.filter((policy) => concerns(policy, caller));
  const resources = resourcesOf(subject);
  if (policies.length === 0)
    return { verdict: { allowed: true, by: 'nothing' }, request: { action, resources, facts: new Map() } };
  const wanted = new Set(policies.flatMap(({ statements }) => statements.flatMap(keysOf)));
  const request = { action, resources, facts: await factsOf(subject, wanted, environment) };
  return { verdict: evaluate(policies, request), request };
}

const keysOf = ({ conditions }: Statement): string[] => conditions.map(({ key }) => comparableKey(key));

function deny(caller: Caller, { action, resources, facts }: Request, verdict: Verdict): never {
  return fail('POLICY_DENIED', {
    user: caller.user,
    action,
    resource: resources[0] ?? '',
    why: reasonOf(verdict),
    facts: [...facts]
      .filter(([key]) => key.startsWith('ecs:'))
      .map(([key, value]) => `${spelledKey(key)} is ${value}`)
      .join(', '),
  });
}

/** The verdict in words. */
export function reasonOf(verdict: Verdict): string {
  switch (verdict.by) {
    case 'statement':
      return `statement ${verdict.statement} of policy ${verdict.policy} ${verdict.allowed ? 'allows' : 'denies'} it`;
    case 'no-allow':
      return `no statement of ${verdict.policy} allows it, and what those do not allow is denied`;
    case 'nothing':
      return 'no policy forbids it';
  }
}
