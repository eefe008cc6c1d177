/** The TLS options of sealdisk serve, and which of them go together. */

import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { TlsOptions } from '../attach/serve/tls.js';
import { fail } from '../errors.js';

export interface TlsWords {
  readonly tls?: 'off' | 'on' | 'require';
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsClientCa?: string;
  readonly tlsPsk?: string;
  readonly tlsMin?: '1.2' | '1.3';
  readonly allowClient: readonly string[];
}

export function tlsOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--tls <mode>',
        'off; on: clients may use it; require: they must (default: require, where a certificate or PSK file is given)',
      ).choices(['off', 'on', 'require']),
    )
    .option('--tls-cert <file>', 'PEM certificate chain of the server')
    .option('--tls-key <file>', 'its PEM private key')
    .option('--tls-client-ca <file>', 'PEM certificates that must have signed those of clients')
    .option('--tls-psk <file>', 'pre-shared keys, as psktool writes them')
    .addOption(
      new Option('--tls-min <version>', 'least version of TLS (default: 1.2)').choices(['1.2', '1.3']),
    )
    .option(
      '--allow-client <export=name>',
      'show the export only to this certificate name or PSK identity; may be given again',
      (text, before: readonly string[]) => [...before, text],
      [],
    );
}

const usage = (what: string): never => fail('USAGE', { what });

/** What the words ask for; undefined without TLS. USAGE when they contradict each other. */
export function tlsOf(words: TlsWords): TlsOptions | undefined {
  const { tlsCert, tlsKey, tlsClientCa, tlsPsk, tlsMin, allowClient } = words;
  const mode = words.tls ?? (tlsCert || tlsKey || tlsPsk ? 'require' : 'off');
  if (allowClient.length > 0 && (mode === 'off' || !(tlsClientCa || tlsPsk))) {
    usage('--allow-client needs TLS that knows its clients: --tls-client-ca or --tls-psk');
  }
  if (mode === 'off') {
    const idle = Object.entries({ tlsCert, tlsKey, tlsClientCa, tlsPsk, tlsMin }).find(([, value]) => value);
    return idle
      ? usage(`${optionOf(idle[0])} without TLS: give a certificate or a PSK file, not --tls off`)
      : undefined;
  }
  if (!tlsCert !== !tlsKey) usage('--tls-cert and --tls-key go together, found one of them');
  if (!tlsCert && !tlsPsk) usage(`--tls ${mode} needs --tls-cert and --tls-key, or --tls-psk`);
  if (tlsClientCa && !tlsCert) usage('--tls-client-ca needs --tls-cert and --tls-key');
  const path = (file: string | undefined) => (file === undefined ? undefined : resolve(file));
  return {
    mode,
    certificatePath: path(tlsCert),
    keyPath: path(tlsKey),
    clientCaPath: path(tlsClientCa),
    pskPath: path(tlsPsk),
    minimum: tlsMin ?? '1.2',
  };
}

const optionOf = (name: string): string =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
