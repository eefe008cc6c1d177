/**
 * The parameters of one operation, each taken with its type and bounds checked. What is missing fails with
 * MissingParameter, what is of a wrong kind or out of bounds with InvalidParameter.
 */

import type { EncryptionContext } from '../../provider.js';
import { invalid, missing } from './errors.js';
import type { Parameters } from './parameters.js';

const CONTEXT_MAX_BYTES = 8192;
const TEXT_MAX_CHARS = 8192;
const LIST_MAX = 50;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const TRUE = /^true$/i;
const FALSE = /^false$/i;

export class Input {
  constructor(private readonly parameters: Parameters) {}

  has(name: string): boolean {
    return (this.parameters.get(name) ?? '') !== '';
  }

  optionalText(name: string, maxChars = TEXT_MAX_CHARS): string | undefined {
    const text = this.parameters.get(name);
    return text === undefined || text.length <= maxChars ? text : invalid(name);
  }

  text(name: string, maxChars = TEXT_MAX_CHARS): string {
    return this.optionalText(name, maxChars) || missing(name);
  }

  /** One of `known`. */
  optionalWord<W extends string>(name: string, known: readonly W[]): W | undefined {
    const text = this.optionalText(name);
    if (text === undefined || text === '') return undefined;
    return known.find((each) => each === text) ?? invalid(name);
  }

  word<W extends string>(name: string, known: readonly W[]): W {
    return this.optionalWord(name, known) ?? missing(name);
  }

  optionalInteger(name: string, min: number, max: number): number | undefined {
    const text = this.optionalText(name, 20);
    if (text === undefined || text === '') return undefined;
    const value = /^\d{1,15}$/.test(text) ? Number(text) : invalid(name);
    return value >= min && value <= max ? value : invalid(name);
  }

  optionalFlag(name: string): boolean | undefined {
    const text = this.optionalText(name);
    if (text === undefined || text === '') return undefined;
    return TRUE.test(text) || (!FALSE.test(text) && invalid(name));
  }

  flag(name: string): boolean {
    return this.optionalFlag(name) ?? missing(name);
  }

  blob(name: string, maxBytes: number): Buffer {
    const text = this.text(name, 4 * Math.ceil(maxBytes / 3));
    const bytes = BASE64.test(text) ? Buffer.from(text, 'base64') : invalid(name);
    return bytes.length <= maxBytes ? bytes : invalid(name);
  }

  /** JSON in the parameter, as documented, or `name.key=value` pairs, as older clients send it; empty for none. */
  context(name: string): EncryptionContext {
    const [fields, json] = [this.#fieldsOf(name), this.#jsonPairs(name)];
    const pairs = fields.length === 0 || json.length === 0 ? [...fields, ...json] : invalid(name);
    let bytes = 0;
    for (const [key, value] of pairs) {
      if (typeof value !== 'string') return invalid(name);
      bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
    }
    return bytes <= CONTEXT_MAX_BYTES ? Object.fromEntries(pairs as [string, string][]) : invalid(name);
  }

  /** JSON in the parameter, parsed; undefined when it is missing. */
  optionalJson(name: string): unknown {
    const text = this.optionalText(name);
    if (text === undefined || text === '') return undefined;
    try {
      return JSON.parse(text);
    } catch {
      return invalid(name);
    }
  }

  /** `name.1`, `name.2`, ... up to the first that is missing. */
  list(name: string): string[] {
    const found: string[] = [];
    for (let value = this.optionalText(`${name}.1`); value !== undefined; ) {
      found.push(value);
      if (found.length > LIST_MAX) invalid(name);
      value = this.optionalText(`${name}.${found.length + 1}`);
    }
    return found;
  }

  #fieldsOf(name: string): [string, unknown][] {
    const start = `${name}.`;
    return [...this.parameters]
      .filter(([each]) => each.startsWith(start))
      .map(([each, value]) => [each.slice(start.length), value]);
  }

  #jsonPairs(name: string): [string, unknown][] {
    const json = this.optionalJson(name);
    if (json === undefined || json === null) return [];
    return typeof json === 'object' && !Array.isArray(json) ? Object.entries(json) : invalid(name);
  }
}
