/**
 * A JSON reader for text that a stranger may have written: headers of disks, policies.
 *
 * Stricter than JSON.parse where the difference can hurt: a key may stand once in an object, `__proto__` is no key,
 * a whole number must be exact in a double (it is written back later), and depth and the count of values are bounded, so
 * that the memory a text can cost is bounded too. Objects have no prototype. It is a leaf: who reads says how it fails.
 * Source: RFC 8259; depth as json-c, which is what cryptsetup reads with.
 */

export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject;
export type JsonObject = { [key: string]: JsonValue };

/** json-c refuses what is deeper. */
export const JSON_DEPTH_MAX = 32;
/** The largest header that cryptsetup writes (32 keyslots, tokens and digests) has some 1500 values. */
export const JSON_VALUES_MAX = 32_768;

const SHOWN_MAX = 60;

/** `value` as an error message may show it: one line of ASCII, bounded. */
export function show(value: JsonValue | undefined): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'string') return `"${printable(value)}"`;
  if (Array.isArray(value)) return 'an array';
  return isObject(value) ? 'an object' : String(value);
}

/** As `show`, but text without its quotes, for messages that bring their own. */
export function printable(value: JsonValue | undefined): string {
  if (typeof value !== 'string') return show(value);
  const escaped = JSON.stringify(value.slice(0, SHOWN_MAX))
    .slice(1, -1)
    .replace(/[^ -~]/g, escapeUnit);
  const whole = value.length <= SHOWN_MAX && escaped.length <= SHOWN_MAX;
  return whole ? escaped : `${escaped.slice(0, SHOWN_MAX)}…`;
}

const escapeUnit = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;

export const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Throws: why the text is no JSON, and at which character that is seen. */
export type Refuse = (why: string, at: number, cause?: unknown) => never;

/** Where things stand in the text: of each object and array, the first character of each key and of each value. */
export class Places {
  readonly #places = new Map<object, Map<string | number, Place>>();

  put(container: JsonObject | JsonValue[], name: string | number, place: Place): void {
    const places = this.#places.get(container) ?? new Map<string | number, Place>();
    this.#places.set(container, places.set(name, place));
  }

  of(container: JsonObject | JsonValue[], name: string | number): Place | undefined {
    return this.#places.get(container)?.get(name);
  }
}

export interface Place {
  readonly keyAt: number;
  readonly valueAt: number;
}

/** The one value that `text` is, whole; `places`, when given, learns where its parts stand. */
export function readJson(text: string, refuse: Refuse, places?: Places): JsonValue {
  return new Reader(text, refuse, places).whole();
}

class Reader {
  private at = 0;
  private values = 0;

  constructor(
    private readonly text: string,
    private readonly refused: Refuse,
    private readonly places: Places | undefined,
  ) {}

  whole(): JsonValue {
    const value = this.value(0);
    if (this.peek() !== '') this.refuse('text after the end');
    return value;
  }

  private value(depth: number): JsonValue {
    if (depth > JSON_DEPTH_MAX) this.refuse(`deeper than ${JSON_DEPTH_MAX}`);
    if (++this.values > JSON_VALUES_MAX) this.refuse(`more than ${JSON_VALUES_MAX} values`);
    switch (this.peek()) {
      case '{':
        return this.object(depth);
      case '[':
        return this.array(depth);
      case '"':
        return this.string();
      default:
        return this.scalar();
    }
  }

  private object(depth: number): JsonObject {
    const object: JsonObject = Object.create(null);
    this.at++;
    if (this.skip('}')) return object;
    do {
      if (this.peek() !== '"') this.refuse('a key is expected');
      const keyAt = this.at;
      const key = this.string();
      if (key === '__proto__') this.refuse('the key "__proto__"');
      if (key in object) this.refuse(`the key ${show(key)} stands twice`);
      if (!this.skip(':')) this.refuse('":" is expected');
      this.peek();
      this.places?.put(object, key, { keyAt, valueAt: this.at });
      object[key] = this.value(depth + 1);
    } while (this.skip(','));
    if (!this.skip('}')) this.refuse('"," or "}" is expected');
    return object;
  }

  private array(depth: number): JsonValue[] {
    const array: JsonValue[] = [];
    this.at++;
    if (this.skip(']')) return array;
    do {
      this.peek();
      this.places?.put(array, array.length, { keyAt: this.at, valueAt: this.at });
      array.push(this.value(depth + 1));
    } while (this.skip(','));
    if (!this.skip(']')) this.refuse('"," or "]" is expected');
    return array;
  }

  private string(): string {
    const start = this.at++;
    for (;;) {
      const char = this.text[this.at++];
      if (char === undefined) this.refuse('a string does not end');
      if (char === '"') break;
      if (char === '\\') this.at++;
    }
    return this.builtIn(start) as string;
  }

  private scalar(): JsonValue {
    const start = this.at;
    while (/[-+.0-9A-Za-z]/.test(this.text[this.at] ?? '')) this.at++;
    if (this.at === start) this.refuse('a value is expected');
    const value = this.builtIn(start) as JsonValue;
    if (typeof value !== 'number') return value;
    const exact = Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value);
    if (!exact) this.refuse('a number that a double does not hold');
    return value;
  }

  /** Strings, numbers and literals are the platform's: only their extent is decided here. */
  private builtIn(start: number): unknown {
    try {
      return JSON.parse(this.text.slice(start, this.at));
    } catch (error) {
      this.at = start;
      return this.refuse('a malformed value', error);
    }
  }

  /** The next character that is not white space, '' at the end. */
  private peek(): string {
    for (;;) {
      const char = this.text[this.at];
      if (char !== ' ' && char !== '\n' && char !== '\t' && char !== '\r') return char ?? '';
      this.at++;
    }
  }

  private skip(char: string): boolean {
    if (this.peek() !== char) return false;
    this.at++;
    return true;
  }

  private refuse(why: string, cause?: unknown): never {
    return this.refused(why, this.at, cause);
  }
}
