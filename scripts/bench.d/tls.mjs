// Certificates for one run: an authority and a server's, as files.

import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './servers.mjs';

const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];

/** Makes them in `dir`, under the names that nbdkit looks for. */
export function tlsFiles(dir) {
  const at = (name) => join(dir, name);
  const [authority, authorityKey, certificate, key] = [
    'ca-cert.pem',
    'ca-key.pem',
    'server-cert.pem',
    'server-key.pem',
  ].map(at);
  run('openssl', [
    'req',
    '-x509',
    ...EC,
    '-subj',
    '/CN=bench authority',
    '-keyout',
    authorityKey,
    '-out',
    authority,
  ]);
  run('openssl', [
    ...[
      'req',
      '-x509',
      ...EC,
      '-subj',
      '/CN=127.0.0.1',
      '-addext',
      'subjectAltName=DNS:127.0.0.1,IP:127.0.0.1',
    ],
    ...['-CA', authority, '-CAkey', authorityKey, '-keyout', key, '-out', certificate],
  ]);
  copyFileSync(authority, at('ca.pem'));
  return { authority, certificate, key, folder: dir };
}
