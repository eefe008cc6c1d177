/**
 * What a policy is: the language of Alibaba Cloud's RAM, version 1, as far as it speaks of who may do what with disks.
 *
 * A policy is a list of statements, a statement an effect on the actions and resources that it names, under conditions
 * that all have to hold. Of a policy nothing is left that could still be wrong: parse.ts has refused it then.
 * Source: "Policy structure and syntax" and "Conditional operators" of RAM's documentation.
 */

import type { Operator } from './operators.js';

export const VERSION = '1';

/** What sealdisk asks policies about. Names are compared without regard to case. */
export const ACTIONS = [
  'ecs:CreateDisk',
  'ecs:AttachDisk',
  'ecs:DetachDisk',
  'ecs:DeleteDisk',
  'ecs:ResizeDisk',
  'ecs:ResetDisk',
  'ecs:CreateSnapshot',
  'ecs:CopySnapshot',
  'ecs:DeleteSnapshot',
  'ecs:CreateImage',
  'ecs:CopyImage',
  'ecs:ImportImage',
  'ecs:ExportImage',
  'ecs:DeleteImage',
  'ecs:ModifyDiskAttribute',
  'ecs:TagResources',
  'ecs:UntagResources',
] as const;
export type Action = (typeof ACTIONS)[number];

/** Condition keys that sealdisk gives a value; `ecs:tag/KEY` is a tag of the object. */
export const CONDITION_KEYS = [
  'ecs:IsDiskEncrypted',
  'ecs:IsDiskByokEncrypted',
  'ecs:IsSystemDiskEncrypted',
  'ecs:IsSystemDiskByokEncrypted',
  'acs:CurrentTime',
] as const;
export const TAG_KEY_PREFIX = 'ecs:tag/';

/** The spelling by which keys are compared: without regard to case, but for what stands behind a slash (a tag's key). */
export function comparableKey(key: string): string {
  const slash = key.indexOf('/');
  return slash < 0 ? key.toLowerCase() : key.slice(0, slash).toLowerCase() + key.slice(slash);
}

/** A comparable key as people know it. */
export const spelledKey = (comparable: string): string =>
  CONDITION_KEYS.find((key) => comparableKey(key) === comparable) ?? comparable;

export interface Policy {
  readonly statements: readonly Statement[];
}

export interface Statement {
  /** Its Sid; empty when it has none. */
  readonly sid: string;
  readonly effect: 'Allow' | 'Deny';
  readonly actions: Patterns;
  readonly resources: Patterns;
  readonly conditions: readonly Condition[];
}

/** What is named, or, when `except`, all but what is named. */
export interface Patterns {
  readonly except: boolean;
  readonly patterns: readonly string[];
}

/** One key under one operator; it holds when one of the values does (with a negated operator: when none does). */
export interface Condition {
  readonly operator: Operator;
  /** As it is written. */
  readonly key: string;
  readonly values: readonly string[];
}
