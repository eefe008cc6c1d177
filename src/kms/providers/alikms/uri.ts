/**
 * How a key of Alibaba Cloud KMS is named: `alikms:///alias/NAME?region=REGION`, or `alikms:///KEY-ID?region=REGION`.
 * `endpoint` is a HOST[:PORT] to ask instead of the region's public one; `protocol=http` is for loopback alone.
 */

import { originOf, parameters, percentDecoded, refuseUri, splitQuery, splitScheme } from '../../uri.js';

export interface AliKmsUri {
  /** What Alibaba takes as KeyId: alias or key id. */
  readonly key: string;
  /** The key's own id, where that is what names it. */
  readonly keyId: string | undefined;
  readonly region: string;
  /** Where to ask: `https://HOST[:PORT]`. */
  readonly origin: string;
  /** True for the region's own endpoints, which nobody but Alibaba answers. */
  readonly isAlibaba: boolean;
  readonly canonical: string;
}

const PARAMETERS = ['region', 'endpoint', 'protocol'] as const;
/** It becomes a part of a host name. */
const REGION = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const ALIAS = /^alias\/[A-Za-z0-9/_-]{1,255}$/;
const KEY_ID = /^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|key-[0-9a-z]{1,64})$/;

/** Fails with KEY_URI_SYNTAX. */
export function parseAliKms(text: string): AliKmsUri {
  const { path, query } = splitQuery(splitScheme(text)?.rest ?? '');
  const key = path.startsWith('///') ? percentDecoded(text, path.slice(3), 'the key') : '';
  if (!ALIAS.test(key) && !KEY_ID.test(key)) {
    refuseUri(text, 'it is alikms:///alias/NAME?region=REGION, or a key id in place of the alias');
  }
  const { region, endpoint, protocol = 'https' } = parameters(text, query, PARAMETERS);
  if (region === undefined) return refuseUri(text, 'it names no region');
  if (!REGION.test(region)) refuseUri(text, 'region is no name of a region');
  if (protocol !== 'https' && protocol !== 'http') refuseUri(text, 'protocol is https or http');
  const own = `kms.${region}.aliyuncs.com`;
  const origin = endpoint?.includes('/') ? undefined : originOf(`${protocol}://${endpoint ?? own}`);
  if (origin === undefined) {
    return refuseUri(text, 'endpoint is not HOST[:PORT] (protocol=http only on loopback)');
  }
  const host = origin.slice(origin.indexOf('//') + 2);
  const rest = [host !== own && `&endpoint=${host}`, protocol === 'http' && '&protocol=http'];
  return {
    key,
    keyId: KEY_ID.test(key) ? key : undefined,
    region,
    origin,
    isAlibaba: host === own || host === `kms-vpc.${region}.aliyuncs.com`,
    canonical: `alikms:///${key}?region=${region}${rest.filter(Boolean).join('')}`,
  };
}
