/** The policy's question (src/policy), asked of objects as the pool knows them. */

import type { StoredObject } from '../disk/object.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import type { ObjectKind } from '../luks2/label.js';
import { authorize } from '../policy/authorize.js';
import { currentCaller } from '../policy/caller.js';
import type { Action } from '../policy/language.js';
import { subjectOf } from '../policy/subject.js';

/** May the caller do that to the object? POLICY_DENIED. */
export function mayTouch(
  action: Action,
  { label, encrypted }: StoredObject,
  environment: ProviderEnvironment,
): Promise<void> {
  const key = encrypted ? { uri: encrypted.token.keyUri, id: encrypted.token.keyId } : null;
  return authorize(currentCaller(), action, subjectOf(label, key), environment);
}

/** An object that is to be made, as it will be. */
export interface ToBe {
  readonly kind: ObjectKind;
  readonly name: string;
  /** Id of what it is made from, or empty. */
  readonly source: string;
  readonly tags: Readonly<Record<string, string>>;
  /** null: it will be plain. */
  readonly keyUri: string | null;
}

/** May the caller make that? POLICY_DENIED. */
export function mayMake(action: Action, toBe: ToBe, environment: ProviderEnvironment): Promise<void> {
  const { kind, name, source, tags, keyUri } = toBe;
  const labelled = { object: { kind, id: '' }, name, source, tags };
  const key = keyUri === null ? null : { uri: keyUri };
  return authorize(currentCaller(), action, subjectOf(labelled, key), environment);
}
