/** The JSON area of a header, read by the strict reader of the house; what is no JSON is LUKS2_JSON. */

import { fail } from '../errors.js';
import { type JsonValue, readJson } from '../json.js';

export {
  isObject,
  JSON_DEPTH_MAX,
  JSON_VALUES_MAX,
  type JsonObject,
  type JsonValue,
  printable,
  show,
} from '../json.js';

/** The one value that `text` is, whole; fails with LUKS2_JSON. */
export const parseJson = (text: string): JsonValue =>
  readJson(text, (why, at, cause) => fail('LUKS2_JSON', { why: `${why} (at ${at})` }, cause));
