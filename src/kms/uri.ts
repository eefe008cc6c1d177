/**
 * The grammar of key URIs: text that names a key of some KMS, and never holds a secret.
 *
 * Here is what all schemes share; what stands after the scheme is parsed by the scheme's own file, by one schema: what it
 * does not know is refused, never ignored. An error shows a URI only up to its first parameter, because what somebody
 * typed there may be a PIN or a token.
 */

import { fail } from '../errors.js';

const SCHEME = /^([A-Za-z][A-Za-z0-9+.-]*):(.*)$/s;
const SECRETS = /pin|password|passwd|secret|token$|credential|access-?key/i;

export interface SchemeAndRest {
  /** In lower case. */
  readonly scheme: string;
  readonly rest: string;
}

/** `text` cut at its first colon; undefined when it has no scheme. */
export function splitScheme(text: string): SchemeAndRest | undefined {
  const [, scheme, rest] = SCHEME.exec(text) ?? [];
  return scheme === undefined || rest === undefined ? undefined : { scheme: scheme.toLowerCase(), rest };
}

/** The part before the first `?`, and the parameters after it. */
export function splitQuery(rest: string): { readonly path: string; readonly query: string } {
  const at = rest.indexOf('?');
  return at < 0 ? { path: rest, query: '' } : { path: rest.slice(0, at), query: rest.slice(at + 1) };
}

/**
 * `name=value` pairs between `separator`s, percent-decoded. Fails with KEY_URI_SYNTAX for a name that is not in `known`,
 * stands twice, has no value, or is one that people give secrets by. `text` is the whole URI.
 */
export function parameters<K extends string>(
  text: string,
  pairs: string,
  known: readonly K[],
  separator = '&',
): Partial<Record<K, string>> {
  const found: Partial<Record<K, string>> = {};
  for (const pair of pairs === '' ? [] : pairs.split(separator)) {
    const at = pair.indexOf('=');
    const name = at < 0 ? pair : pair.slice(0, at);
    const parameter = known.find((each) => each === name);
    if (parameter === undefined) return refuseParameter(text, name, known);
    const value = at < 0 ? '' : percentDecoded(text, pair.slice(at + 1), name);
    if (value === '') refuseUri(text, `parameter ${name} has no value`);
    if (parameter in found) refuseUri(text, `parameter ${name} stands twice`);
    found[parameter] = value;
  }
  return found;
}

function refuseParameter(text: string, name: string, known: readonly string[]): never {
  if (SECRETS.test(name)) refuseUri(text, 'a secret does not belong in a key URI');
  const takes = known.length === 0 ? 'it takes no parameters' : `its parameters are ${known.join(', ')}`;
  return refuseUri(text, `a parameter of it is unknown; ${takes}`);
}

/** One line of printable text. */
export function percentDecoded(text: string, part: string, what: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(part);
  } catch {
    return refuseUri(text, `${what} is not percent-encoded UTF-8`);
  }
  if (/\p{Cc}|\p{Cs}/u.test(decoded)) refuseUri(text, `${what} holds control characters`);
  return decoded;
}

/** `https://host:port` of an address; undefined for one that is no server's, has a path or user, or is not safe. */
export function originOf(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.username !== '' || url.password !== '') return undefined;
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') return undefined;
  const safe = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.origin));
  return safe ? url.origin : undefined;
}

/** Whether the server at `origin` is on this machine. */
export const isLoopback = (origin: string): boolean =>
  /^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(origin).hostname);

/** Fails with KEY_URI_SYNTAX. */
export function refuseUri(text: string, why: string): never {
  fail('KEY_URI_SYNTAX', { keyUri: showable(text), why });
}

/** `text` on one line, without what may be a secret, and not longer than a line should be. */
function showable(text: string): string {
  const open = text.replace(/[?;#].*$/s, '?...').replace(/[^\x20-\x7e]/g, '.');
  return open.length > 120 ? `${open.slice(0, 120)}...` : open;
}
