/**
 * Where Vault is and what it is shown, by the settings that its own program reads: VAULT_ADDR, VAULT_NAMESPACE,
 * VAULT_CACERT, VAULT_CLIENT_CERT, VAULT_CLIENT_KEY, VAULT_TOKEN, ~/.vault-token, and more for what only servers need.
 * Of OpenBao's own BAO_* settings each stands before its VAULT_* one.
 */

import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { errnoOf, fail } from '../../../errors.js';
import type { TlsFiles } from '../../http.js';
import { originOf } from '../../uri.js';

/** A token as it is now, or a login that gives one. `where` names the setting, for failures. */
export type VaultCredentials = { readonly where: string } & (
  | { readonly kind: 'token'; readonly read: () => Promise<string> }
  | {
      readonly kind: 'login';
      readonly path: string;
      readonly fields: () => Promise<Readonly<Record<string, string>>>;
    }
);

/** Throws the failure that stands for credentials that are not there. */
export type NoCredentials = (why: string) => never;

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount/token';

const setting = (env: NodeJS.ProcessEnv, name: string): string | undefined =>
  env[`BAO_${name}`] || env[`VAULT_${name}`] || undefined;

/** Origin of this machine's Vault; undefined when none is set. Fails with KMS_SETTING. */
export function vaultOrigin(env: NodeJS.ProcessEnv): string | undefined {
  const text = setting(env, 'ADDR');
  if (text === undefined) return undefined;
  const found = 'no address of a server, or plain http to another machine';
  return (
    originOf(text) ?? fail('KMS_SETTING', { setting: 'VAULT_ADDR', found, expected: 'https://HOST[:PORT]' })
  );
}

export const vaultNamespace = (env: NodeJS.ProcessEnv): string =>
  (setting(env, 'NAMESPACE') ?? '').replace(/^\/+|\/+$/g, '');

/** What the connection to Vault takes from files. Fails with KMS_SETTING. */
export async function vaultTls(env: NodeJS.ProcessEnv): Promise<TlsFiles> {
  const [ca, cert, key] = await Promise.all(
    ['CACERT', 'CLIENT_CERT', 'CLIENT_KEY'].map((name) => pem(env, name)),
  );
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

async function pem(env: NodeJS.ProcessEnv, name: string): Promise<Buffer | undefined> {
  const path = setting(env, name);
  if (path === undefined) return undefined;
  return readFile(path).catch((error) =>
    fail('KMS_SETTING', { setting: `VAULT_${name}`, found: errnoOf(error), expected: 'a PEM file' }),
  );
}

/** The first that is set: token, token file, AppRole, Kubernetes, the token that `vault login` left. */
export function vaultCredentials(env: NodeJS.ProcessEnv, none: NoCredentials): VaultCredentials {
  const token = setting(env, 'TOKEN');
  if (token !== undefined) return { kind: 'token', where: 'VAULT_TOKEN', read: async () => token };
  const file = setting(env, 'TOKEN_FILE');
  if (file !== undefined) return tokenFile('VAULT_TOKEN_FILE', file, none);
  return appRole(env, none) ?? kubernetes(env, none) ?? homeToken(env, none);
}

const tokenFile = (where: string, path: string, none: NoCredentials): VaultCredentials => ({
  kind: 'token',
  where,
  read: () => secretFile(where, path, none),
});

function homeToken(env: NodeJS.ProcessEnv, none: NoCredentials): VaultCredentials {
  return tokenFile('~/.vault-token', join(env.HOME || homedir(), '.vault-token'), none);
}

function appRole(env: NodeJS.ProcessEnv, none: NoCredentials): VaultCredentials | undefined {
  const roleId = setting(env, 'ROLE_ID');
  if (roleId === undefined) return undefined;
  const [given, file] = [setting(env, 'SECRET_ID'), setting(env, 'SECRET_ID_FILE')];
  const secretId = async (): Promise<string> =>
    given ?? (file === undefined ? '' : secretFile('VAULT_SECRET_ID_FILE', file, none));
  return {
    kind: 'login',
    where: 'AppRole',
    path: `auth/${setting(env, 'APPROLE_MOUNT') ?? 'approle'}/login`,
    fields: async () => ({ role_id: roleId, secret_id: await secretId() }),
  };
}

function kubernetes(env: NodeJS.ProcessEnv, none: NoCredentials): VaultCredentials | undefined {
  const role = setting(env, 'KUBERNETES_ROLE');
  if (role === undefined) return undefined;
  const file = setting(env, 'KUBERNETES_TOKEN_FILE') ?? SERVICE_ACCOUNT;
  return {
    kind: 'login',
    where: 'Kubernetes',
    path: `auth/${setting(env, 'KUBERNETES_MOUNT') ?? 'kubernetes'}/login`,
    fields: async () => ({ role, jwt: await secretFile('VAULT_KUBERNETES_TOKEN_FILE', file, none) }),
  };
}

async function secretFile(where: string, path: string, none: NoCredentials): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error) => none(`${where}: ${errnoOf(error)}`));
  const secret = text.trim();
  if (secret === '' || /[^\x21-\x7e]/.test(secret)) none(`${where} does not hold one line of text`);
  return secret;
}
