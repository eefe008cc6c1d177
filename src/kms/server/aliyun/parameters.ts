/**
 * The parameters of a request of Alibaba Cloud's protocols: from its query and its body, a form or JSON, as one set. A
 * parameter that stands twice is refused: somebody would read the one, somebody else the other.
 *
 * Lists and objects of JSON become what forms have for them: `Tag.1.Key`, `EncryptionContext.name`.
 */

import type { FaceRequest } from '../protocol.js';
import { refuse } from './errors.js';

export type Parameters = ReadonlyMap<string, string>;

const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';
const DEPTH_MAX = 4;

export type BodyKind = 'none' | 'form' | 'json';

/** Of what kind the body is. Fails with ParseRequestParameterException for one that is neither. */
export function bodyKind({ headers, body }: FaceRequest): BodyKind {
  const type = (headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (body.length === 0) return 'none';
  if (type === FORM || type === '') return 'form';
  return type === JSON_TYPE ? 'json' : unreadable('the body is neither a form nor JSON');
}

/** Fails with ParseRequestParameterException. */
export function parametersOf(request: FaceRequest): Parameters {
  const found = queryOf(request.query);
  switch (bodyKind(request)) {
    case 'none':
      return found;
    case 'form':
      return addPairs(found, request.body.toString('utf8'));
    case 'json':
      return addJson(found, request.body);
  }
}

/** The pairs of a query alone, decoded. */
export const queryOf = (query: string): Map<string, string> => addPairs(new Map(), query);

function addPairs(found: Map<string, string>, pairs: string): Map<string, string> {
  for (const pair of pairs.split('&')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    add(found, decoded(at < 0 ? pair : pair.slice(0, at)), at < 0 ? '' : decoded(pair.slice(at + 1)));
  }
  return found;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return unreadable('a parameter is not percent-encoded UTF-8');
  }
}

function addJson(found: Map<string, string>, body: Buffer): Map<string, string> {
  let json: unknown;
  try {
    json = JSON.parse(body.toString('utf8'));
  } catch {
    return unreadable('the body is not JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    return unreadable('the body is not a JSON object');
  }
  for (const [name, value] of Object.entries(json)) addValue(found, name, value, 1);
  return found;
}

function addValue(found: Map<string, string>, name: string, value: unknown, depth: number): void {
  if (value === null) return;
  if (typeof value !== 'object') return void add(found, name, String(value));
  if (depth > DEPTH_MAX) unreadable('the body is nested too deep');
  const parts: [string, unknown][] = Array.isArray(value)
    ? value.map((each, i) => [String(i + 1), each])
    : Object.entries(value);
  for (const [part, each] of parts) addValue(found, `${name}.${part}`, each, depth + 1);
}

function add(found: Map<string, string>, name: string, value: string): void {
  if (found.has(name)) unreadable(`the parameter "${name.slice(0, 64)}" stands twice`);
  found.set(name, value);
}

const unreadable = (why: string): never =>
  refuse(400, 'ParseRequestParameterException', `Server parse parameters exception: ${why}.`);
