/**
 * What of a policy can never matter here, though it is good RAM: told to who adds it, for a policy that is thought to forbid
 * something and does not is worse than none.
 */

import {
  ACTIONS,
  CONDITION_KEYS,
  comparableKey,
  type Policy,
  type Statement,
  TAG_KEY_PREFIX,
} from './language.js';
import { HERE } from './subject.js';
import { matches } from './wildcard.js';

const KINDS = ['disk', 'snapshot', 'image'];
const KNOWN = new Set(CONDITION_KEYS.map(comparableKey));

/** A line for each thing that the statements say and sealdisk never asks. */
export function notesOn({ statements }: Policy): string[] {
  return statements.flatMap((statement, i) => {
    const name = statement.sid || `${i + 1}`;
    return notesOnStatement(statement).map((note) => `statement ${name}: ${note}`);
  });
}

function notesOnStatement({ actions, resources, conditions }: Statement): string[] {
  const keys = conditions.map(({ key }) => key).filter((key) => !isKnown(key));
  return [
    ...actions.patterns.filter((each) => !isAction(each)).map((each) => `sealdisk has no action ${each}`),
    ...resources.patterns.filter((each) => !isResource(each)).map((each) => `no disk is ever ${each}`),
    ...keys.map((key) => `nothing is ever known of ${key}`),
  ];
}

const isAction = (pattern: string): boolean =>
  ACTIONS.some((action) => matches(pattern.toLowerCase(), action.toLowerCase()));

function isKnown(key: string): boolean {
  const comparable = comparableKey(key);
  return KNOWN.has(comparable) || comparable.startsWith(TAG_KEY_PREFIX);
}

/** Whether the parts before the object's own name can be those of a resource here. */
function isResource(pattern: string): boolean {
  if (pattern === '*') return true;
  const [scheme = '', service = '', region = '', account = '', ...rest] = pattern.split(':');
  const named = [
    [scheme, 'acs'],
    [service, 'ecs'],
    [region, HERE],
    [account, HERE],
  ] as const;
  const kind = rest.join(':').split('/')[0] ?? '';
  const isKind = kind.endsWith('*') || KINDS.some((each) => matches(kind, each));
  return named.every(([part, text]) => matches(part, text)) && isKind;
}
