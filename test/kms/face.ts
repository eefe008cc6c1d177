/** The network face in this process, over a pool of its own, and an access key for it. */

import { join } from 'node:path';
import { pino } from 'pino';
import type { Test } from 'tap';
import { AccessKeys, type NewAccessKey, type Rule } from '#sealdisk/kms/local/access-keys.js';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { type KmsServeOptions, type ServingKms, serveKms } from '#sealdisk/kms/server/serve.js';
import { tempPool } from './pool.js';

export interface FaceRig {
  readonly pool: string;
  readonly dir: string;
  readonly kms: LocalKms;
  readonly keys: AccessKeys;
  readonly serving: ServingKms;
  readonly accessKey: NewAccessKey;
  /** Another one, with these rights. */
  allowed(...allow: Rule[]): Promise<NewAccessKey>;
}

/** Stopped when `t` ends. */
export async function startFace(t: Test, over: Partial<KmsServeOptions> = {}): Promise<FaceRig> {
  const pool = await tempPool(t);
  const dir = join(pool, 'kms');
  const keys = new AccessKeys(dir);
  const accessKey = await keys.create({ name: 'test' });
  const listen = { host: '127.0.0.1', port: 0 };
  const serving = await serveKms({ dir, listen, ...over }, pino({ level: 'silent' }));
  t.teardown(() => serving.close());
  const allowed = (...allow: Rule[]) => keys.create({ allow });
  return { pool, dir, kms: LocalKms.open(dir), keys, serving, accessKey, allowed };
}

/** What the SDKs of AWS take. */
export const credentialsOf = ({ info, accessKeySecret, securityToken }: NewAccessKey) => ({
  accessKeyId: info.accessKeyId,
  secretAccessKey: accessKeySecret,
  ...(securityToken !== null && { sessionToken: securityToken }),
});

/** The same as the environment that every SDK of AWS reads. */
export const environmentOf = ({ info, accessKeySecret, securityToken }: NewAccessKey): NodeJS.ProcessEnv => ({
  AWS_ACCESS_KEY_ID: info.accessKeyId,
  AWS_SECRET_ACCESS_KEY: accessKeySecret,
  ...(securityToken !== null && { AWS_SESSION_TOKEN: securityToken }),
});
