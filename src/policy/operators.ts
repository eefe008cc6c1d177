/**
 * The condition operators: each compares what is so (a fact) with what a policy says (a value), both as text.
 *
 * Kept true: a negated operator is the exact contrary of its positive one. So a fact that is missing, or is not of the
 * operator's type, matches no positive operator and every negated one; and of several values a positive operator needs
 * one that matches, a negated one none. A value that is not of the type is refused when the policy is read.
 * Source: "Conditional operators" of RAM's documentation; missing keys as in AWS IAM, for RAM does not say.
 */

import { BlockList, isIP, isIPv4 } from 'node:net';
import { matches } from './wildcard.js';

export interface Operator {
  readonly name: string;
  readonly negated: boolean;
  /** What a value has to be, for an error message. */
  readonly expected: string;
  isValue(value: string): boolean;
  /** Whether the fact matches the value, before any negation. The value is one. */
  matches(fact: string, value: string): boolean;
}

type Type = Pick<Operator, 'expected' | 'isValue'>;

const TEXT: Type = { expected: 'text', isValue: () => true };
const NUMBER: Type = {
  expected: 'a number in quotes, as "10"',
  isValue: (text) => numberOf(text) !== undefined,
};
const DATE: Type = {
  expected: 'a time in quotes, as "2026-01-31T12:00:00Z" or "2026-01-31T12:00:00+08:00"',
  isValue: (text) => timeOf(text) !== undefined,
};
const BOOLEAN: Type = { expected: '"true" or "false"', isValue: (text) => booleanOf(text) !== undefined };
const ADDRESS: Type = {
  expected: 'an IP address or a CIDR block in quotes, as "192.0.2.0/24"',
  isValue: (text) => blockOf(text) !== undefined,
};

function numberOf(text: string): number | undefined {
  return /^-?\d{1,18}(\.\d{1,18})?$/.test(text) ? Number(text) : undefined;
}

/** Milliseconds of an ISO 8601 time with its zone, or of a day, which begins in UTC. */
function timeOf(text: string): number | undefined {
  const match = /^(\d{4}-\d{2}-\d{2})(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/.exec(text);
  const day = match?.[1];
  // Date takes the 31st of June for the 1st of July.
  if (day === undefined || new Date(`${day}T00:00Z`).toJSON()?.slice(0, 10) !== day) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

function booleanOf(text: string): boolean | undefined {
  if (/^true$/i.test(text)) return true;
  return /^false$/i.test(text) ? false : undefined;
}

function blockOf(text: string): { address: string; prefix: number; family: 'ipv4' | 'ipv6' } | undefined {
  const [, address = '', digits] = /^([0-9a-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  if (isIP(address) === 0) return undefined;
  const family = isIPv4(address) ? 'ipv4' : 'ipv6';
  const whole = family === 'ipv4' ? 32 : 128;
  const prefix = digits === undefined ? whole : Number(digits);
  return prefix <= whole ? { address, prefix, family } : undefined;
}

function isInBlock(fact: string, value: string): boolean {
  const block = blockOf(value);
  if (block === undefined || isIP(fact) === 0) return false;
  const list = new BlockList();
  list.addSubnet(block.address, block.prefix, block.family);
  return list.check(fact, isIPv4(fact) ? 'ipv4' : 'ipv6');
}

/** By a comparison of two that have the type; a fact that has it not is equal to none. */
const comparing =
  <T>(of: (text: string) => T | undefined, compare: (fact: T, value: T) => boolean) =>
  (fact: string, value: string): boolean => {
    const [left, right] = [of(fact), of(value)];
    return left !== undefined && right !== undefined && compare(left, right);
  };

const operator = (name: string, negated: boolean, type: Type, matches: Operator['matches']): Operator => ({
  name,
  negated,
  ...type,
  matches,
});

function ordered(prefix: string, type: Type, of: (text: string) => number | undefined): Operator[] {
  const equal = comparing(of, (fact, value) => fact === value);
  const by = (name: string, compare: (fact: number, value: number) => boolean) =>
    operator(`${prefix}${name}`, false, type, comparing(of, compare));
  return [
    operator(`${prefix}Equals`, false, type, equal),
    operator(`${prefix}NotEquals`, true, type, equal),
    by('LessThan', (fact, value) => fact < value),
    by('LessThanEquals', (fact, value) => fact <= value),
    by('GreaterThan', (fact, value) => fact > value),
    by('GreaterThanEquals', (fact, value) => fact >= value),
  ];
}

const same = (fact: string, value: string): boolean => fact === value;
const sameButCase = (fact: string, value: string): boolean => fact.toLowerCase() === value.toLowerCase();
const like = (fact: string, value: string): boolean => matches(value, fact);

/** Every operator of the language. */
export const OPERATORS: readonly Operator[] = [
  operator('StringEquals', false, TEXT, same),
  operator('StringNotEquals', true, TEXT, same),
  operator('StringEqualsIgnoreCase', false, TEXT, sameButCase),
  operator('StringNotEqualsIgnoreCase', true, TEXT, sameButCase),
  operator('StringLike', false, TEXT, like),
  operator('StringNotLike', true, TEXT, like),
  ...ordered('Numeric', NUMBER, numberOf),
  ...ordered('Date', DATE, timeOf),
  operator(
    'Bool',
    false,
    BOOLEAN,
    comparing(booleanOf, (fact, value) => fact === value),
  ),
  operator('IpAddress', false, ADDRESS, isInBlock),
  operator('NotIpAddress', true, ADDRESS, isInBlock),
];

const BY_NAME = new Map(OPERATORS.map((each) => [each.name, each]));

export const operatorNamed = (name: string): Operator | undefined => BY_NAME.get(name);

/** Whether a condition with these values holds; `fact` is undefined where nothing is known of its key. */
export function holds(operator: Operator, fact: string | undefined, values: readonly string[]): boolean {
  const matched = fact !== undefined && values.some((value) => operator.matches(fact, value));
  return matched !== operator.negated;
}
