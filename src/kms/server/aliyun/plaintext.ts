/**
 * Takes the plaintext of Encrypt out of a request into secure memory, and leaves blanks in its place.
 *
 * From a body it never becomes a JavaScript string when the request is signed by ACS3. What clients put into the URL, or
 * sign by RPC v1, has been one already, and nobody can wipe that.
 */

import { allocSecret, freeSecret } from '../../local/secret.js';
import type { SecretBytes } from '../../provider.js';
import { takeSecret, takeText } from '../../secret-json.js';
import type { FaceRequest } from '../protocol.js';
import { invalid, missing } from './errors.js';
import { bodyKind, queryOf } from './parameters.js';

const NAME = 'Plaintext';
const SPACE = 0x20;
const AMPERSAND = 0x26;
const PERCENT = 0x25;

/** 1 to `maxBytes` bytes, the caller's to free. Fails with MissingParameter or InvalidParameter. */
export function takePlaintext(request: FaceRequest, maxBytes: number): SecretBytes {
  const kind = bodyKind(request);
  if (kind === 'json' && request.body.includes(`"${NAME}"`)) {
    return takeSecret(request.body, NAME, maxBytes) ?? invalid(NAME);
  }
  const field = kind === 'form' ? formField(request.body) : undefined;
  if (field !== undefined) return ofForm(field, maxBytes);
  const text = queryOf(request.query).get(NAME) || missing(NAME);
  return takeText(Buffer.from(text), maxBytes) ?? invalid(NAME);
}

/** The still encoded value, within `body`. */
function formField(body: Buffer): Buffer | undefined {
  const start = `${NAME}=`;
  let at = body.indexOf(start);
  while (at > 0 && body[at - 1] !== AMPERSAND) at = body.indexOf(start, at + 1);
  if (at < 0) return undefined;
  const from = at + start.length;
  const end = body.indexOf(AMPERSAND, from);
  return body.subarray(from, end < 0 ? body.length : end);
}

function ofForm(field: Buffer, maxBytes: number): SecretBytes {
  if (field.length === 0) return missing(NAME);
  const text = allocSecret(field.length);
  try {
    let length = 0;
    for (let at = 0; at < field.length; at += 1) {
      const byte = field[at] as number;
      const hex = byte === PERCENT ? hexAt(field, at + 1) : undefined;
      text[length++] = hex ?? byte;
      if (hex !== undefined) at += 2;
    }
    return takeText(text.subarray(0, length), maxBytes) ?? invalid(NAME);
  } finally {
    freeSecret(text);
    field.fill(SPACE);
  }
}

function hexAt(field: Buffer, at: number): number | undefined {
  const [high, low] = [digit(field[at]), digit(field[at + 1])];
  return high === undefined || low === undefined ? undefined : high * 16 + low;
}

function digit(byte = 0): number | undefined {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : undefined;
}
