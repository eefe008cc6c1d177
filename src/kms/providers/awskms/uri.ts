/**
 * How a key of AWS KMS is named: `awskms:///alias/NAME?region=REGION`, `awskms:///KEY-ID?region=REGION`, or by the ARN of
 * either, which needs no region. `endpoint` is an origin to ask instead of AWS's own, `profile` one of the AWS
 * configuration's.
 */

import { originOf, parameters, percentDecoded, refuseUri, splitQuery, splitScheme } from '../../uri.js';

export interface AwsKmsUri {
  /** What AWS takes as KeyId: alias, key id or ARN. */
  readonly key: string;
  /** The key's own id, where that is what names it. */
  readonly keyId: string | undefined;
  readonly region: string;
  readonly endpoint: string | undefined;
  readonly profile: string | undefined;
  readonly canonical: string;
}

const PARAMETERS = ['region', 'endpoint', 'profile'] as const;
/** It becomes a part of a host name. */
const REGION = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const PROFILE = /^[\w.@/+-]{1,128}$/;
const ALIAS = /^alias\/[A-Za-z0-9/_-]{1,250}$/;
const KEY_ID = /^(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;
const ARN = /^arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:(?:key\/(.+)|(alias\/.+))$/;

/** Fails with KEY_URI_SYNTAX. */
export function parseAwsKms(text: string): AwsKmsUri {
  const { path, query } = splitQuery(splitScheme(text)?.rest ?? '');
  const key = path.startsWith('///') ? percentDecoded(text, path.slice(3), 'the key') : '';
  const [, arnRegion, arnKeyId, arnAlias] = ARN.exec(key) ?? [];
  const named = arnKeyId ?? arnAlias ?? key;
  if (!ALIAS.test(named) && !KEY_ID.test(named)) {
    refuseUri(text, 'it is awskms:///alias/NAME?region=REGION, or a key id or ARN in place of the alias');
  }
  const { region = arnRegion, endpoint, profile } = parameters(text, query, PARAMETERS);
  if (region === undefined) return refuseUri(text, 'it names no region');
  if (!REGION.test(region)) refuseUri(text, 'region is no name of a region');
  if (arnRegion !== undefined && region !== arnRegion) refuseUri(text, 'region is not that of the ARN');
  if (profile !== undefined && !PROFILE.test(profile)) refuseUri(text, 'profile is no name of a profile');
  const origin = endpoint === undefined ? undefined : originOf(endpoint);
  if (endpoint !== undefined && origin === undefined) {
    refuseUri(text, 'endpoint is not https://HOST[:PORT] (plain http only on loopback)');
  }
  const rest = [origin && `&endpoint=${origin}`, profile && `&profile=${encodeURIComponent(profile)}`];
  return {
    key,
    keyId: KEY_ID.test(named) ? named : undefined,
    region,
    endpoint: origin,
    profile,
    canonical: `awskms:///${key}?region=${region}${rest.filter(Boolean).join('')}`,
  };
}
