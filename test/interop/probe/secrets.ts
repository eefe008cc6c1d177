/** Certificates and a shared key for one measurement, made with openssl in a folder under the names that GnuTLS servers look for. */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Secrets } from './target.js';

const IDENTITY = 'alice';

export function makeSecrets(dir: string): Secrets {
  mkdirSync(dir, { recursive: true });
  const at = (name: string) => join(dir, name);
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  // The system's configuration would make an authority of every certificate.
  writeFileSync(at('openssl.cnf'), '[req]\ndistinguished_name=name\n[name]\n');
  const key = [
    '-config',
    'openssl.cnf',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
  ];
  openssl(
    'req',
    '-x509',
    ...key,
    '-subj',
    '/CN=authority',
    '-addext',
    'basicConstraints=critical,CA:TRUE',
    '-keyout',
    'ca-key.pem',
    '-out',
    'ca-cert.pem',
  );
  for (const [name, use, subject] of [
    ['server', 'serverAuth', 'localhost'],
    ['client', 'clientAuth', IDENTITY],
  ] as const) {
    const names = [
      `subjectAltName=DNS:${subject}`,
      `extendedKeyUsage=${use}`,
      'basicConstraints=CA:FALSE',
    ].flatMap((one) => ['-addext', one]);
    const files = ['-keyout', `${name}-key.pem`, '-out', `${name}-cert.pem`];
    openssl(
      'req',
      '-x509',
      '-CA',
      'ca-cert.pem',
      '-CAkey',
      'ca-key.pem',
      ...key,
      '-subj',
      `/CN=${subject}`,
      ...names,
      ...files,
    );
  }
  const psk = randomBytes(32);
  writeFileSync(at('keys.psk'), `${IDENTITY}:${psk.toString('hex')}\n`, { mode: 0o600 });
  return {
    dir,
    ca: readFileSync(at('ca-cert.pem')),
    client: { cert: readFileSync(at('client-cert.pem')), key: readFileSync(at('client-key.pem')) },
    psk: { identity: IDENTITY, psk },
  };
}
