/**
 * The closed list of what the daemon does for its callers, and the reading of a caller's words by it.
 *
 * Kept true: nothing of a caller's line reaches a command as it was written. It is taken apart here by the list, and what
 * runs is put together anew (guest.ts): options as --name=value, everything else behind "--". What the list does not name
 * is refused: an option that names a file, a device to choose, a secret, a provider's program.
 */

import { fail } from '../errors.js';
import { WORDS_MAX } from './limits.js';

/**
 * What a word is: an object of the caller's own, by name, id or device; the name of an object to be made; what an object
 * is called; a tag (key=value), or a change of one (key- too); a key; other text; the options --x that take none.
 */
export type Kind = 'object' | 'new' | 'label' | 'tag' | 'tag-change' | 'key' | 'text' | 'flag';

interface Allowed {
  /** The words behind the command's own; the last one may be repeated where `rest`. */
  readonly args: readonly Kind[];
  readonly rest?: boolean;
  readonly options?: Readonly<Record<string, Kind>>;
  /** What it makes gets the caller's tag. */
  readonly makes?: boolean;
}

const EVERYWHERE: Readonly<Record<string, Kind>> = { json: 'flag', verbose: 'flag', 'log-level': 'text' };

const LEASE: Readonly<Record<string, Kind>> = {
  'on-key-loss': 'text',
  'key-check-interval': 'text',
  'kms-grace': 'text',
  'kms-wait': 'text',
  'read-only': 'flag',
  direct: 'flag',
  discard: 'flag',
  key: 'key',
};

const COPY: Allowed = { args: ['object'], options: { name: 'new', tag: 'tag', key: 'key' }, makes: true };
const DELETE: Allowed = { args: ['object'], options: { 'crypto-erase': 'flag', yes: 'flag' } };
const LIST: Allowed = { args: [] };

const COMMANDS: Readonly<Record<string, Allowed>> = {
  create: {
    args: ['new'],
    options: {
      size: 'text',
      key: 'key',
      from: 'object',
      unencrypted: 'flag',
      'sector-size': 'text',
      name: 'label',
      tag: 'tag',
      discard: 'flag',
    },
    makes: true,
  },
  attach: { args: ['object'], options: { ...LEASE, 'no-standby': 'flag' } },
  detach: { args: ['object'], options: { force: 'flag' } },
  list: LIST,
  info: { args: ['object'] },
  rename: { args: ['object', 'label'] },
  tag: { args: ['object', 'tag-change'], rest: true },
  delete: DELETE,
  resize: { args: ['object'], options: { size: 'text', force: 'flag' } },
  'snapshot create': {
    args: ['object'],
    options: { name: 'new', tag: 'tag', freeze: 'flag' },
    makes: true,
  },
  'snapshot list': LIST,
  'snapshot copy': COPY,
  'snapshot delete': DELETE,
  'snapshot diff': { args: ['object', 'object'] },
  'snapshot restore': { args: ['object', 'object'], options: { yes: 'flag' } },
  'image create': {
    args: ['object'],
    options: { name: 'new', tag: 'tag', freeze: 'flag' },
    makes: true,
  },
  'image list': LIST,
  'image copy': COPY,
  'image delete': DELETE,
  encrypt: {
    args: ['object'],
    options: {
      to: 'new',
      key: 'key',
      'sector-size': 'text',
      name: 'label',
      tag: 'tag',
      discard: 'flag',
    },
    makes: true,
  },
  rekey: { args: ['object'], options: { key: 'key' } },
  verify: { args: ['object'] },
  'policy list': LIST,
  'policy show': { args: ['text'] },
  'policy test': {
    args: ['text'],
    options: {
      kind: 'text',
      name: 'text',
      id: 'text',
      key: 'text',
      unencrypted: 'flag',
      system: 'flag',
      tag: 'text',
    },
  },
};

export interface Word {
  readonly kind: Kind;
  readonly text: string;
}

/** A caller's line, taken apart: every word by what it is. */
export interface Plan {
  /** The command's own words, of the list. */
  readonly command: readonly string[];
  readonly args: readonly Word[];
  readonly options: readonly (Word & { readonly name: string })[];
  /** The --pool that was given; the daemon has one of its own. */
  readonly pool: string | undefined;
  readonly makes: boolean;
}

/** Whether the list has commands that begin with this word. */
export const isForCallers = (word: string): boolean =>
  Object.keys(COMMANDS).some((command) => command.split(' ')[0] === word);

const refuse = (what: string): never => fail('DAEMON_REFUSED', { what });

/** Takes the words of a command line apart. Fails with DAEMON_REFUSED. */
export function planOf(words: readonly string[]): Plan {
  if (words.length > WORDS_MAX) refuse(`${words.length} words, at most ${WORDS_MAX}`);
  const command = commandOf(words);
  const allowed = COMMANDS[command.join(' ')] as Allowed;
  const taken = takeOptions(words.slice(command.length), { ...EVERYWHERE, ...allowed.options });
  return {
    command,
    args: taken.args.map((text, i) => ({ kind: argKind(allowed, i, command), text })),
    options: taken.options.filter(({ name }) => name !== 'pool'),
    pool: taken.options.findLast(({ name }) => name === 'pool')?.text,
    makes: allowed.makes ?? false,
  };
}

function commandOf(words: readonly string[]): readonly string[] {
  const own = [words.slice(0, 1), words.slice(0, 2)];
  const found = own.find((each) => Object.hasOwn(COMMANDS, each.join(' ')));
  return found ?? refuse(`the command ${show(words[0])}`);
}

function argKind({ args, rest }: Allowed, i: number, command: readonly string[]): Kind {
  const kind = args[i] ?? (rest ? args.at(-1) : undefined);
  return kind ?? refuse(`${i + 1} words behind ${command.join(' ')}`);
}

interface Taken {
  readonly args: string[];
  readonly options: (Word & { readonly name: string })[];
}

function takeOptions(words: readonly string[], allowed: Readonly<Record<string, Kind>>): Taken {
  const taken: Taken = { args: [], options: [] };
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (word === '--') {
      taken.args.push(...words.slice(i + 1));
      break;
    }
    if (!word.startsWith('-') || word === '-') {
      taken.args.push(word);
      continue;
    }
    const { name, value } = optionOf(word);
    const kind = name === 'pool' ? 'text' : Object.hasOwn(allowed, name) ? allowed[name] : undefined;
    if (kind === undefined) return refuse(`the option ${show(word.split('=')[0])}`);
    if (kind === 'flag' && value !== undefined) refuse(`a value of --${name}`);
    const text = kind === 'flag' ? '' : (value ?? words[++i] ?? refuse(`--${name} without a value`));
    taken.options.push({ name, kind, text });
  }
  return taken;
}

function optionOf(word: string): { name: string; value?: string } {
  if (word === '-v') return { name: 'verbose' };
  const [, name, value] = /^--([a-z-]+)(?:=(.*))?$/s.exec(word) ?? [];
  if (name === undefined) return refuse(`the option ${show(word)}`);
  return value === undefined ? { name } : { name, value };
}

const show = (word: string | undefined): string =>
  JSON.stringify((word ?? '').slice(0, 40)).replace(/[^ -~]/g, '?');
