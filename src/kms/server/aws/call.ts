/** One call of AWS's protocol as its operations see it: what was asked, who asks, how keys are named, what is answered. */

import type { LocalCallOptions, LocalKms } from '../../local/local-kms.js';
import { isAlias } from '../../local/ref.js';
import type { SecretBytes } from '../../provider.js';
import type { Caller } from '../caller.js';
import { refuse } from './errors.js';
import type { Input } from './input.js';
import type { Names } from './names.js';

export interface AwsCall {
  readonly operation: string;
  readonly input: Input;
  /** The body that `input` was parsed from, its plaintext taken out. */
  readonly plaintext: SecretBytes | undefined;
  readonly names: Names;
  readonly caller: Caller;
  readonly kms: LocalKms;
  /** For every call of `kms`. */
  readonly options: LocalCallOptions;
}

/** What is answered: nothing at all, members, or members and a `Plaintext`, which is freed when it has been written. */
export type AwsOutput =
  | undefined
  | { readonly fields: Readonly<Record<string, unknown>>; readonly plaintext?: SecretBytes };

export type AwsOperation = (call: AwsCall) => Promise<AwsOutput>;

/** The key that the member `KeyId` (or `name`) names, once it is allowed: a key id or an alias. */
export function keyOf(call: AwsCall, name = 'KeyId'): Promise<string> {
  return call.caller.mayUse(call.operation, call.names.refOf(call.input.text(name, 2048)));
}

/** The member `AliasName`, well-formed and nobody's reserve. */
export function aliasOf({ input }: AwsCall): string {
  const alias = input.text('AliasName', 256);
  const reserved = alias.startsWith('alias/aws/') || alias.startsWith('alias/acs/');
  if (isAlias(alias) && !reserved) return alias;
  return refuse(
    'InvalidAliasNameException',
    'An alias is alias/ and letters, digits, / _ -; alias/aws/ is reserved',
  );
}

/** The place to go on from: `Marker` of a request; the pages of each operation have their own. */
export function markerOf({ operation, input }: AwsCall): string | undefined {
  const marker = input.optionalText('Marker', 1024);
  if (marker === undefined) return undefined;
  const [owner, after] = Buffer.from(marker, 'base64url').toString('utf8').split('\n');
  return owner === operation && after ? after : refuse('InvalidMarkerException', 'The marker is not valid');
}

/** The members that end a page; `next` is where the one after it begins. */
export function pageEnd({ operation }: AwsCall, next: string | undefined): Record<string, unknown> {
  if (next === undefined) return { Truncated: false };
  return { Truncated: true, NextMarker: Buffer.from(`${operation}\n${next}`).toString('base64url') };
}

export const epochSeconds = (iso: string): number => Date.parse(iso) / 1000;
