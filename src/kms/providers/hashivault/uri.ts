/**
 * How a key of Vault's or OpenBao's transit engine is named: `hashivault://KEY[?addr=URL&mount=PATH&namespace=PATH]`.
 * Without `addr` it is in the Vault of this machine, VAULT_ADDR.
 */

import { originOf, parameters, refuseUri, splitQuery, splitScheme } from '../../uri.js';

export interface VaultUri {
  readonly key: string;
  /** Path of the transit engine, without slashes at its ends. */
  readonly mount: string;
  /** Likewise; empty for none. */
  readonly namespace: string;
  /** Origin of the server, or undefined for VAULT_ADDR. */
  readonly addr: string | undefined;
  readonly canonical: string;
}

const PARAMETERS = ['addr', 'mount', 'namespace'] as const;
const DEFAULT_MOUNT = 'transit';
/** Vault's own rule for a name in a path. */
const NAME = /^\w([\w.-]{0,200}\w)?$/;
const PATH = /^\w[\w.-]*(\/\w[\w.-]*)*$/;

/** Fails with KEY_URI_SYNTAX. */
export function parseVault(text: string): VaultUri {
  const { path, query } = splitQuery(splitScheme(text)?.rest ?? '');
  const { addr, mount = DEFAULT_MOUNT, namespace = '' } = parameters(text, query, PARAMETERS);
  const key = path.startsWith('//') ? path.slice(2) : '';
  if (!NAME.test(key)) refuseUri(text, 'it is hashivault://KEY, a name of letters, digits, _ - .');
  if (!isPath(mount)) refuseUri(text, 'mount is no path of letters, digits, _ - . and /');
  if (namespace !== '' && !isPath(namespace)) refuseUri(text, 'namespace is no path');
  const origin = addr === undefined ? undefined : originOf(addr);
  if (addr !== undefined && origin === undefined) {
    refuseUri(text, 'addr is not https://HOST[:PORT] (plain http only on loopback)');
  }
  const named = {
    ...(origin !== undefined && { addr: origin }),
    ...(mount !== DEFAULT_MOUNT && { mount }),
    ...(namespace !== '' && { namespace }),
  };
  const pairs = Object.entries(named).map(([name, value]) => `${name}=${value}`);
  const canonical = `hashivault://${key}${pairs.length > 0 ? '?' : ''}${pairs.join('&')}`;
  return { key, mount, namespace, addr: origin, canonical };
}

const isPath = (text: string): boolean => PATH.test(text) && text.length <= 200;
