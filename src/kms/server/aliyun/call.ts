/** One call of Alibaba Cloud's protocol as its operations see it: what was asked, who asks, how keys are named. */

import type { LocalCallOptions, LocalKms } from '../../local/local-kms.js';
import { isAlias, isKeyId } from '../../local/ref.js';
import type { SecretBytes } from '../../provider.js';
import type { Caller } from '../caller.js';
import { invalid, refuse } from './errors.js';
import type { Input } from './input.js';

export interface AliyunCall {
  readonly operation: string;
  readonly input: Input;
  /** Of Encrypt alone. */
  readonly plaintext: SecretBytes | undefined;
  readonly region: string;
  readonly caller: Caller;
  readonly kms: LocalKms;
  /** For every call of `kms`. */
  readonly options: LocalCallOptions;
}

/** What is answered beside RequestId; `plaintext` is freed when it has been written. */
export interface AliyunOutput {
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly plaintext?: SecretBytes;
}

export type AliyunOperation = (call: AliyunCall) => Promise<AliyunOutput>;

export const DONE: AliyunOutput = {};

/** There is one. */
export const ACCOUNT = '0000000000000000';
const ARN = /^acs:kms:[a-z0-9-]*:\d*:(key\/|alias\/)(.+)$/;
const NAME_MAX_CHARS = 512;
const PAGE = { size: 10, sizeMax: 100, numberMax: 1_000_000 };

export const keyArn = ({ region }: AliyunCall, keyId: string): string =>
  `acs:kms:${region}:${ACCOUNT}:key/${keyId}`;
export const aliasArn = ({ region }: AliyunCall, alias: string): string =>
  `acs:kms:${region}:${ACCOUNT}:${alias}`;

/** Key id or alias of what a caller calls a key: either, or the ARN of either. */
export function refOf(text: string): string {
  const [, kind, rest = ''] = ARN.exec(text) ?? [];
  const name = kind === undefined ? text : kind === 'key/' ? rest : kind + rest;
  if (isAlias(name) || isKeyId(name.toLowerCase()))
    return name.startsWith('alias/') ? name : name.toLowerCase();
  return name.startsWith('alias/')
    ? refuse(404, 'Forbidden.AliasNotFound', 'The specified Alias is not found.')
    : refuse(404, 'Forbidden.KeyNotFound', 'The specified Key is not found.');
}

/** The key that the parameter `name` names, once it is allowed: a key id or an alias. */
export const keyOf = ({ input, caller, operation }: AliyunCall, name = 'KeyId'): Promise<string> =>
  caller.mayUse(operation, refOf(input.text(name, NAME_MAX_CHARS)));

/** The parameter `AliasName`, well-formed and nobody's reserve. */
export function aliasOf({ input }: AliyunCall): string {
  const alias = input.text('AliasName', NAME_MAX_CHARS);
  return isAlias(alias) && !alias.startsWith('alias/acs/') ? alias : invalid('AliasName');
}

/** Which part of a long list is asked for. */
export interface Part {
  readonly number: number;
  readonly size: number;
  readonly skip: number;
}

export function partOf({ input }: AliyunCall): Part {
  const number = input.optionalInteger('PageNumber', 1, PAGE.numberMax) ?? 1;
  const size = input.optionalInteger('PageSize', 1, PAGE.sizeMax) ?? PAGE.size;
  return { number, size, skip: (number - 1) * size };
}

export const partFields = ({ number, size }: Part, total: number) => ({
  PageNumber: number,
  PageSize: size,
  TotalCount: total,
});

/** As Alibaba writes a time: whole seconds of UTC. */
export const timeOf = (iso: string): string => `${new Date(iso).toISOString().slice(0, 19)}Z`;
