/** The certificate files of the network face, read at the start and at SIGHUP. A file that is no good says which and why. */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { TlsOptions } from 'node:tls';
import { errnoOf, fail } from '../../errors.js';

export interface TlsFiles {
  /** PEM: the server's own certificate first, then those that lead to its CA. */
  readonly certPath: string;
  readonly keyPath: string;
  /** PEM: who must have signed the certificates of clients; left out when they need none. */
  readonly clientCaPath?: string;
}

export interface FaceTls {
  readonly options: TlsOptions;
  /** Overwrites the private key, once the server has it. */
  wipe(): void;
}

/** Fails with TLS_CERTIFICATE, TLS_PRIVATE_KEY, TLS_CLIENT_CA or DISK_IO. */
export async function readTls({ certPath, keyPath, clientCaPath }: TlsFiles): Promise<FaceTls> {
  const [cert, ca] = [await contentOf(certPath), clientCaPath && (await contentOf(clientCaPath))];
  const key = await contentOf(keyPath);
  check(cert, key, { certPath, keyPath });
  if (ca && !ca.includes('BEGIN CERTIFICATE')) {
    fail('TLS_CLIENT_CA', { found: `none in ${clientCaPath}`, expected: 'certificates in PEM' });
  }
  const asked = ca ? { ca, requestCert: true, rejectUnauthorized: true } : {};
  return { options: { cert, key, minVersion: 'TLSv1.2', ...asked }, wipe: () => void key.fill(0) };
}

function check(cert: Buffer, key: Buffer, { certPath, keyPath }: TlsFiles): void {
  const certificate = tried(() => new X509Certificate(cert));
  if (!certificate) fail('TLS_CERTIFICATE', { found: `none in ${certPath}`, expected: 'PEM' });
  const privateKey = tried(() => createPrivateKey(key));
  if (!privateKey) fail('TLS_PRIVATE_KEY', { found: `none in ${keyPath}`, expected: 'PEM' });
  if (certificate.checkPrivateKey(privateKey)) return;
  fail('TLS_PRIVATE_KEY', { found: `another one in ${keyPath}`, expected: `that of ${certPath}` });
}

function tried<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

const contentOf = (path: string): Promise<Buffer> =>
  readFile(path).catch((error) => fail('DISK_IO', { path, errno: errnoOf(error) }, error));
