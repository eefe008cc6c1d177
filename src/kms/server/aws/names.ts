/**
 * How AWS names keys and aliases: ids, `alias/x`, and ARNs of either.
 *
 * There is one account, 000000000000. A face that was given a region has only that one; any other takes the region that a
 * caller signs for as its own, so that clients work whatever they are configured for.
 */

import { isAlias, isKeyId } from '../../local/ref.js';
import { invalid, refuse } from './errors.js';

export const ACCOUNT = '000000000000';

const ARN = /^arn:aws:kms:([a-z0-9-]*):(\d*):(key\/|alias\/)(.+)$/;

export class Names {
  constructor(
    private readonly region: string,
    private readonly strict: boolean,
  ) {}

  keyArn = (keyId: string): string => `arn:aws:kms:${this.region}:${ACCOUNT}:key/${keyId}`;
  aliasArn = (alias: string): string => `arn:aws:kms:${this.region}:${ACCOUNT}:${alias}`;

  /** Key id or alias of what a caller calls a key. Fails with InvalidArnException or NotFoundException. */
  refOf(text: string): string {
    if (text === '' || text.length > 2048) return invalid("Value at 'keyId' has length 1 to 2048");
    const name = text.startsWith('arn:') ? this.#ofArn(text) : text;
    const keyId = name.toLowerCase();
    if (isKeyId(keyId)) return keyId;
    return isAlias(name) ? name : refuse('NotFoundException', `Invalid keyId '${text.slice(0, 256)}'`);
  }

  #ofArn(text: string): string {
    const [, region, account, kind, rest = ''] = ARN.exec(text) ?? [];
    if (kind === undefined || account !== ACCOUNT || (this.strict && region !== this.region)) {
      return refuse('InvalidArnException', `Invalid arn ${text.slice(0, 256)}`);
    }
    return kind === 'key/' ? rest : kind + rest;
  }
}
