/**
 * Reading a policy: whole or not at all.
 *
 * Kept true: what is read means what it says. An element, effect or operator that is not of the language, a key that
 * stands twice, a value of another type than its operator compares, an empty list: each refuses the whole policy, with
 * the line and column of what is wrong, for half a policy allows what its author meant to forbid.
 */

import { fail } from '../errors.js';
import { isObject, type JsonObject, type JsonValue, Places, readJson, show } from '../json.js';
import { type Condition, type Patterns, type Policy, type Statement, VERSION } from './language.js';
import { OPERATORS, operatorNamed } from './operators.js';

/** RAM takes 6144 characters. */
export const POLICY_MAX_BYTES = 64 * 1024;

/** A text that holds a policy, and what it is called in an error. */
export interface Source {
  readonly name: string;
  readonly text: string;
}

/** A place in the text at which the value has been found. */
interface Found {
  readonly value: JsonValue | undefined;
  readonly at: number;
}

/** Reads the policy that the text is. Fails with POLICY_SYNTAX. */
export function parsePolicy(source: Source): Policy {
  const document = Document.read(source);
  return policyIn(document, document.root);
}

/** The JSON of a source, and where in it things stand. */
export class Document {
  private constructor(
    private readonly source: Source,
    private readonly places: Places,
    readonly root: Found,
  ) {}

  /** Fails with POLICY_SYNTAX. */
  static read(source: Source): Document {
    if (Buffer.byteLength(source.text) > POLICY_MAX_BYTES)
      refuse(source, 0, `${Buffer.byteLength(source.text)} bytes`, `at most ${POLICY_MAX_BYTES}`);
    const places = new Places();
    const value = readJson(source.text, (why, at, cause) => refuse(source, at, why, 'JSON', cause), places);
    return new Document(source, places, { value, at: Math.max(0, source.text.search(/\S/)) });
  }

  refuse({ value, at }: Found, expected: string): never {
    return refuse(this.source, at, show(value), expected);
  }

  /** The object; fails for what has elements of other names. */
  object(found: Found, what: string, names?: readonly string[]): JsonObject {
    const { value } = found;
    if (!isObject(value)) return this.refuse(found, what);
    for (const name of Object.keys(value)) {
      if (names && !names.includes(name))
        refuse(this.source, this.places.of(value, name)?.keyAt ?? 0, show(name), names.join(', '));
    }
    return value;
  }

  /** An element of the object; of one that is missing the place is where the object begins. */
  element(object: JsonObject, name: string, parent: Found): Found {
    return { value: object[name], at: this.places.of(object, name)?.valueAt ?? parent.at };
  }

  key(object: JsonObject, name: string): Found {
    return { value: name, at: this.places.of(object, name)?.keyAt ?? 0 };
  }

  items(array: JsonValue[]): Found[] {
    return array.map((value, i) => ({ value, at: this.places.of(array, i)?.valueAt ?? 0 }));
  }
}

function refuse({ name, text }: Source, at: number, found: string, expected: string, cause?: unknown): never {
  const before = text.slice(0, at).split('\n');
  const column = (before.at(-1)?.length ?? 0) + 1;
  return fail('POLICY_SYNTAX', { name, line: before.length, column, found, expected }, cause);
}

export function policyIn(document: Document, found: Found): Policy {
  const object = document.object(found, 'a policy: { "Version": "1", "Statement": [...] }', [
    'Version',
    'Statement',
  ]);
  const version = document.element(object, 'Version', found);
  if (version.value !== VERSION) document.refuse(version, `Version "${VERSION}"`);
  const list = document.element(object, 'Statement', found);
  const items = Array.isArray(list.value) ? document.items(list.value) : [list];
  if (items.length === 0) document.refuse(list, 'at least one Statement');
  return { statements: items.map((item) => statementIn(document, item)) };
}

const ELEMENTS = ['Sid', 'Effect', 'Action', 'NotAction', 'Resource', 'NotResource', 'Condition'];

function statementIn(document: Document, found: Found): Statement {
  const object = document.object(
    found,
    'a Statement: { "Effect": ..., "Action": ..., "Resource": ... }',
    ELEMENTS,
  );
  const effect = document.element(object, 'Effect', found);
  if (effect.value !== 'Allow' && effect.value !== 'Deny')
    document.refuse(effect, 'Effect "Allow" or "Deny"');
  const sid = document.element(object, 'Sid', found);
  const named =
    sid.value === undefined || (typeof sid.value === 'string' && /^[\w.-]{1,64}$/.test(sid.value));
  if (!named) document.refuse(sid, 'a Sid of 1 to 64 letters, digits, _ . -');
  return {
    sid: (sid.value as string | undefined) ?? '',
    effect: effect.value as 'Allow' | 'Deny',
    actions: patternsIn(document, object, found, 'Action', ACTION),
    resources: patternsIn(document, object, found, 'Resource', RESOURCE),
    conditions: conditionsIn(document, document.element(object, 'Condition', found)),
  };
}

interface PatternType {
  readonly shape: RegExp;
  readonly expected: string;
}

const ACTION: PatternType = {
  shape: /^(\*|[\w*?-]+:[\w*?/-]+)$/,
  expected: 'an action as "ecs:CreateDisk", "ecs:*" or "*"',
};
const RESOURCE: PatternType = {
  shape: /^(\*|acs:[^:\s]*:[^:\s]*:[^:\s]*:\P{Cc}+)$/u,
  expected: 'a resource as "acs:ecs:*:*:disk/*" or "*"',
};

/** Of the two ways to name, one. */
function patternsIn(
  document: Document,
  object: JsonObject,
  parent: Found,
  name: 'Action' | 'Resource',
  { shape, expected }: PatternType,
): Patterns {
  const except = object[name] === undefined && object[`Not${name}`] !== undefined;
  const found = document.element(object, except ? `Not${name}` : name, parent);
  if (!except && object[`Not${name}`] !== undefined)
    document.refuse(document.key(object, `Not${name}`), `either ${name} or Not${name}`);
  const patterns = textsIn(document, found, `${name} or Not${name}: ${expected}`);
  for (const pattern of patterns) if (!shape.test(pattern.text)) document.refuse(pattern.found, expected);
  return { except, patterns: patterns.map(({ text }) => text) };
}

/** One text, or a list of at least one. */
function textsIn(document: Document, found: Found, expected: string): { text: string; found: Found }[] {
  const items = Array.isArray(found.value) ? document.items(found.value) : [found];
  if (items.length === 0) document.refuse(found, `${expected}, at least one`);
  return items.map((item) =>
    typeof item.value === 'string' ? { text: item.value, found: item } : document.refuse(item, expected),
  );
}

function conditionsIn(document: Document, found: Found): Condition[] {
  if (found.value === undefined) return [];
  const operators = document.object(found, 'a Condition: { "OPERATOR": { "KEY": "VALUE" } }');
  return Object.keys(operators).flatMap((name) => {
    const operator = operatorNamed(name);
    if (operator === undefined) {
      const names = OPERATORS.map((each) => each.name).join(', ');
      return document.refuse(document.key(operators, name), `an operator: ${names}`);
    }
    const inner = document.element(operators, name, found);
    const keys = document.object(inner, `keys of ${name}: { "KEY": "VALUE" }`);
    if (Object.keys(keys).length === 0) document.refuse(inner, `at least one key of ${name}`);
    return Object.keys(keys).map((key) => conditionOf(document, operator, keys, key, inner));
  });
}

function conditionOf(
  document: Document,
  operator: Condition['operator'],
  keys: JsonObject,
  key: string,
  parent: Found,
): Condition {
  if (!/^[\w-]+:[^\p{Cc}\s][^\p{Cc}]*$/u.test(key))
    document.refuse(document.key(keys, key), 'a condition key as "ecs:IsDiskEncrypted"');
  const expected = `for ${operator.name} ${operator.expected}`;
  const texts = textsIn(document, document.element(keys, key, parent), expected);
  for (const { text, found } of texts) if (!operator.isValue(text)) document.refuse(found, expected);
  return { operator, key, values: texts.map(({ text }) => text) };
}
