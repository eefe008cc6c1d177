/** Aliases: made, pointed elsewhere, taken away, listed. Who may do so is asked on the key, and on both when one moves. */

import {
  type AliyunCall,
  type AliyunOperation,
  aliasArn,
  aliasOf,
  DONE,
  keyOf,
  partFields,
  partOf,
} from '../call.js';
import { refuse } from '../errors.js';

const CreateAlias: AliyunOperation = async (call) => {
  const alias = aliasOf(call);
  await call.kms.createAlias(alias, await targetOf(call), call.options);
  return DONE;
};

const UpdateAlias: AliyunOperation = async (call) => {
  const alias = aliasOf(call);
  const target = await targetOf(call);
  await call.caller.mayUse('UpdateAlias', alias);
  await call.kms.updateAlias(alias, target, call.options);
  return DONE;
};

const DeleteAlias: AliyunOperation = async (call) => {
  const alias = aliasOf(call);
  await call.caller.mayUse('DeleteAlias', alias);
  await call.kms.deleteAlias(alias, call.options);
  return DONE;
};

/** A target is a key, never an alias. */
function targetOf(call: AliyunCall): Promise<string> {
  if (/(^|:)alias\//.test(call.input.text('KeyId', 512))) {
    refuse(400, 'Unsupported.Alias', 'Alias is not valid for this api.');
  }
  return keyOf(call);
}

const ListAliases: AliyunOperation = async (call) => {
  await call.caller.mayDo('ListAliases');
  return listed(call, undefined);
};

const ListAliasesByKeyId: AliyunOperation = async (call) => listed(call, await keyOf(call));

async function listed(call: AliyunCall, ref: string | undefined) {
  const part = partOf(call);
  const page = { skip: part.skip, limit: part.size, ...(ref !== undefined && { ref }) };
  const { aliases, total } = await call.kms.listAliases(page, call.options);
  const Alias = aliases.map(({ alias, keyId }) => ({
    KeyId: keyId,
    AliasName: alias,
    AliasArn: aliasArn(call, alias),
  }));
  return { fields: { Aliases: { Alias }, ...partFields(part, total) } };
}

export const aliasOperations = { CreateAlias, UpdateAlias, DeleteAlias, ListAliases, ListAliasesByKeyId };
