/**
 * How a key of a KMIP server is named.
 *
 *   kmip://HOST[:PORT]/UNIQUE-IDENTIFIER        the managed object itself
 *   kmip://HOST[:PORT]/?name=NAME               the one that has this Name attribute now
 *
 * with ca=, cert= and key=, full paths of PEM files. The canonical spelling has the port, and the parameters in this
 * order: name, ca, cert, key.
 */

import { parameters, percentDecoded, refuseUri, splitQuery, splitScheme } from '../../uri.js';

const PORT = 5696;
const FILES = ['ca', 'cert', 'key'] as const;
const PARAMETERS = ['name', ...FILES] as const;
const UID_MAX_BYTES = 256;

export type TlsFiles = Readonly<Partial<Record<(typeof FILES)[number], string>>>;

export interface KmipUri {
  readonly host: string;
  readonly port: number;
  /** Either one: `uid` is the KMS's immutable id, `name` can be given to another key. */
  readonly uid?: string;
  readonly name?: string;
  readonly files: TlsFiles;
  readonly canonical: string;
}

/** Fails with KEY_URI_SYNTAX. */
export function parseKmip(uri: string): KmipUri {
  const { path, query } = splitQuery(splitScheme(uri)?.rest ?? '');
  const [, bracketed, plain, portText, encodedUid = ''] =
    /^\/\/(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::(\d{1,5}))?\/([^/]*)$/.exec(path) ?? [];
  const host = (bracketed ?? plain)?.toLowerCase();
  if (host === undefined) return refuseUri(uri, 'it is kmip://HOST:PORT/UNIQUE-IDENTIFIER');
  const port = Number(portText ?? PORT);
  if (port < 1 || port > 65_535) refuseUri(uri, 'its port is not from 1 to 65535');
  const uid = percentDecoded(uri, encodedUid, 'the unique identifier');
  const { name, ...files } = parameters(uri, query, PARAMETERS);
  if ((uid === '') === (name === undefined)) refuseUri(uri, 'it names a unique identifier or a name');
  if (Buffer.byteLength(uid) > UID_MAX_BYTES)
    refuseUri(uri, `its identifier is longer than ${UID_MAX_BYTES} bytes`);
  for (const file of FILES) {
    if (files[file]?.startsWith('/') === false) refuseUri(uri, `${file} is no full path`);
  }
  const key = name === undefined ? { uid } : { name };
  const authority = `${bracketed === undefined ? host : `[${host}]`}:${port}`;
  const settings = PARAMETERS.flatMap((parameter) => {
    const value = parameter === 'name' ? name : files[parameter];
    return value === undefined ? [] : [`${parameter}=${encodeURIComponent(value).replaceAll('%2F', '/')}`];
  });
  const spelled = settings.length > 0 ? `?${settings.join('&')}` : '';
  return { host, port, ...key, files, canonical: `kmip://${authority}/${encodeURIComponent(uid)}${spelled}` };
}
