/**
 * How a key of a PKCS#11 token is named: RFC 7512.
 *
 *   pkcs11:token=T;manufacturer=M;serial=S;model=M;object=LABEL;id=%01%02?module-path=/PATH&pin-source=file:/PATH
 *
 * The token by its label or serial number, the key by its label or CKA_ID. Other attributes of the RFC are refused, as is
 * pin-value, which is a secret. The canonical spelling has the attributes in the order above, an id all in percent codes.
 */

import { parameters, refuseUri, splitQuery, splitScheme } from '../../uri.js';

const TOKEN = ['token', 'manufacturer', 'serial', 'model'] as const;
const PATH = [...TOKEN, 'object', 'type'] as const;
const QUERY = ['module-path', 'pin-source'] as const;
/** PKCS#11 does not bound it; what no token has only fills a disk's header. */
const ID_MAX_BYTES = 64;

export type TokenNames = Readonly<Partial<Record<(typeof TOKEN)[number], string>>>;

export interface Pkcs11Uri {
  readonly token: TokenNames;
  /** CKA_LABEL: it can be given to another key, as an alias can. */
  readonly object?: string;
  /** CKA_ID in hex. */
  readonly id?: string;
  readonly modulePath?: string;
  readonly pinFile?: string;
  readonly canonical: string;
}

/** Fails with KEY_URI_SYNTAX. */
export function parsePkcs11(text: string): Pkcs11Uri {
  const { path, query } = splitQuery(splitScheme(text)?.rest ?? '');
  const { id, others } = takeId(text, path);
  const { object, type, ...token } = parameters(text, others, PATH, ';');
  const { 'module-path': modulePath, 'pin-source': pinSource } = parameters(text, query, QUERY);
  if (type !== undefined && type !== 'secret-key') refuseUri(text, 'type is secret-key or left out');
  if (!token.token && !token.serial) refuseUri(text, 'it names no token: give token=LABEL or serial=NUMBER');
  if (object === undefined && id === undefined)
    refuseUri(text, 'it names no key: give object=LABEL or id=%..');
  if (modulePath !== undefined && !modulePath.startsWith('/')) refuseUri(text, 'module-path is no full path');
  const pinFile = pinSource === undefined ? undefined : pinFileOf(text, pinSource);
  const names = { token, ...defined({ object, id, modulePath, pinFile }) };
  return { ...names, canonical: spell(names) };
}

/** CKA_ID is bytes, not text, so the id is decoded by itself. */
function takeId(text: string, path: string): { id: string | undefined; others: string } {
  const pairs = path.split(';');
  const ids = pairs.filter((pair) => /^id(=|$)/.test(pair));
  if (ids.length > 1) refuseUri(text, 'parameter id stands twice');
  const others = pairs.filter((pair) => !ids.includes(pair)).join(';');
  if (ids[0] === undefined) return { id: undefined, others };
  const encoded = ids[0].slice('id='.length);
  if (!/^(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~:@!$'()*+,=&[\]-])+$/.test(encoded)) {
    refuseUri(text, 'id is bytes, each as %XX');
  }
  const bytes = encoded.replace(/%(..)|([^%])/g, (_, code: string, char: string) =>
    code === undefined ? Buffer.from(char).toString('hex') : code.toLowerCase(),
  );
  if (bytes.length > 2 * ID_MAX_BYTES) refuseUri(text, `id is longer than ${ID_MAX_BYTES} bytes`);
  return { id: bytes, others };
}

/** RFC 7512 has `file:/path`, `file:///path` and `|program`. No program is run. */
function pinFileOf(text: string, pinSource: string): string {
  const [, path] = /^file:(?:\/\/)?(\/[^/].*)$/.exec(pinSource) ?? [];
  return path ?? refuseUri(text, 'pin-source is file: and the full path of a file');
}

function spell(uri: Omit<Pkcs11Uri, 'canonical'>): string {
  const bytes = uri.id?.replace(/../g, '%$&');
  const path = [
    ...TOKEN.map((name) => [name, encoded(uri.token[name])] as const),
    ['object', encoded(uri.object)] as const,
    ['id', bytes] as const,
  ];
  const pinSource = uri.pinFile === undefined ? undefined : `file:${uri.pinFile}`;
  const query = [
    ['module-path', encodedPath(uri.modulePath)] as const,
    ['pin-source', encodedPath(pinSource)] as const,
  ];
  const pairs = (list: readonly (readonly [string, string | undefined])[], separator: string): string =>
    list.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`])).join(separator);
  const settings = pairs(query, '&');
  return `pkcs11:${pairs(path, ';')}${settings && `?${settings}`}`;
}

const encoded = (value: string | undefined): string | undefined =>
  value === undefined ? undefined : encodeURIComponent(value);

/** A query may hold : and / as they are. */
const encodedPath = (value: string | undefined): string | undefined =>
  encoded(value)?.replaceAll('%2F', '/').replaceAll('%3A', ':');

function defined<T extends object>(facts: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined)) as never;
}
