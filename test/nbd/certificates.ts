/** A CA, a server and clients of it, made by openssl(1), in folders as libnbd wants them (tls-certificates=FOLDER). */

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificates {
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
  /** Folder of a client with a certificate of this CN, or with none. */
  clientDir(commonName?: string): string;
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
const openssl = (...args: string[]): Buffer => execFileSync('openssl', args, { stdio: 'pipe' });

/** In `dir`; a second call in another folder makes a CA that the first knows nothing of. */
export function makeCertificates(dir: string): Certificates {
  const at = (name: string): string => join(dir, name);
  openssl(
    'req',
    '-x509',
    ...KEY,
    '-subj',
    '/CN=test CA',
    '-keyout',
    at('ca-key.pem'),
    '-out',
    at('ca-cert.pem'),
  );
  const issue = (folder: string, role: string, commonName: string): void => {
    const [key, request, certificate] = ['key', 'request', 'cert'].map((what) =>
      join(folder, `${role}-${what}.pem`),
    );
    openssl('req', ...KEY, '-subj', `/CN=${commonName}`, '-keyout', key ?? '', '-out', request ?? '');
    writeFileSync(at('extensions'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
    const signed = [
      '-CA',
      at('ca-cert.pem'),
      '-CAkey',
      at('ca-key.pem'),
      '-CAcreateserial',
      '-extfile',
      at('extensions'),
    ];
    openssl('x509', '-req', '-in', request ?? '', ...signed, '-out', certificate ?? '');
  };
  issue(dir, 'server', 'localhost');
  return {
    ca: readFileSync(at('ca-cert.pem')),
    certificate: readFileSync(at('server-cert.pem')),
    privateKey: readFileSync(at('server-key.pem')),
    clientDir: (commonName) => {
      const folder = at(`client-${commonName ?? 'without'}`);
      mkdirSync(folder);
      copyFileSync(at('ca-cert.pem'), join(folder, 'ca-cert.pem'));
      if (commonName !== undefined) issue(folder, 'client', commonName);
      return folder;
    },
  };
}
