/**
 * Whether a request is allowed: a pure function of the policies that speak of its caller and of what is so.
 *
 * A Deny that matches decides, whatever allows. Without one, it is allowed by a matching Allow; and where no policy of the
 * caller has an Allow at all: policies that only forbid leave the rest as the file system has it. So one that denies plain
 * disks is enough by itself, and a single Allow makes of a caller's policies a closed list, as in RAM.
 */

import {
  type Action,
  type Condition,
  comparableKey,
  type Patterns,
  type Policy,
  type Statement,
} from './language.js';
import { holds } from './operators.js';
import { matches } from './wildcard.js';

export interface NamedPolicy extends Policy {
  readonly name: string;
}

export interface Request {
  readonly action: Action;
  /** The names of the one resource that is meant, as acs:ecs:...:disk/d-...; a pattern that matches one matches it. */
  readonly resources: readonly string[];
  /** Condition keys, as `comparableKey` spells them, and what is so. */
  readonly facts: ReadonlyMap<string, string>;
}

/** What decided: a statement; or that there is no Allow for it; or that nothing speaks of the caller. */
export type Verdict =
  | {
      readonly allowed: boolean;
      readonly by: 'statement';
      readonly policy: string;
      readonly statement: string;
    }
  | { readonly allowed: false; readonly by: 'no-allow'; readonly policy: string }
  | { readonly allowed: true; readonly by: 'nothing' };

export function evaluate(policies: readonly NamedPolicy[], request: Request): Verdict {
  const denied = find(policies, 'Deny', request);
  if (denied) return { allowed: false, by: 'statement', ...denied };
  const allowed = find(policies, 'Allow', request);
  if (allowed) return { allowed: true, by: 'statement', ...allowed };
  const closed = policies.filter(({ statements }) => statements.some(({ effect }) => effect === 'Allow'));
  if (closed.length === 0) return { allowed: true, by: 'nothing' };
  return { allowed: false, by: 'no-allow', policy: closed.map(({ name }) => name).join(', ') };
}

/** The first statement of this effect that speaks of the request. */
function find(policies: readonly NamedPolicy[], effect: Statement['effect'], request: Request) {
  for (const { name, statements } of policies) {
    for (const [i, statement] of statements.entries()) {
      if (statement.effect === effect && speaksOf(statement, request))
        return { policy: name, statement: statement.sid || `${i + 1}` };
    }
  }
  return undefined;
}

const speaksOf = ({ actions, resources, conditions }: Statement, request: Request): boolean =>
  names(actions, [request.action.toLowerCase()], (pattern) => pattern.toLowerCase()) &&
  names(resources, request.resources, (pattern) => pattern) &&
  conditions.every((condition) => isMet(condition, request.facts));

function names(
  { except, patterns }: Patterns,
  texts: readonly string[],
  spelled: (pattern: string) => string,
): boolean {
  const named = patterns.some((pattern) => texts.some((text) => matches(spelled(pattern), text)));
  return named !== except;
}

const isMet = ({ operator, key, values }: Condition, facts: Request['facts']): boolean =>
  holds(operator, facts.get(comparableKey(key)), values);
