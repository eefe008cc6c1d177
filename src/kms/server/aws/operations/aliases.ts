/** Aliases: made, pointed elsewhere, taken away, listed. Who may do so is asked on the key, and on both when one moves. */

import { type AwsCall, type AwsOperation, aliasOf, keyOf, markerOf, pageEnd } from '../call.js';
import { refuse } from '../errors.js';

const CreateAlias: AwsOperation = async (call) => {
  const alias = aliasOf(call);
  await call.kms.createAlias(alias, await targetOf(call), call.options);
  return undefined;
};

const UpdateAlias: AwsOperation = async (call) => {
  const alias = aliasOf(call);
  const target = await targetOf(call);
  await call.caller.mayUse('UpdateAlias', alias);
  await call.kms.updateAlias(alias, target, call.options);
  return undefined;
};

const DeleteAlias: AwsOperation = async (call) => {
  const alias = aliasOf(call);
  await call.caller.mayUse('DeleteAlias', alias);
  await call.kms.deleteAlias(alias, call.options);
  return undefined;
};

/** A target is a key, never an alias. */
function targetOf(call: AwsCall): Promise<string> {
  const ref = call.names.refOf(call.input.text('TargetKeyId', 2048));
  if (ref.startsWith('alias/')) refuse('ValidationException', 'Aliases must refer to keys, not to aliases');
  return keyOf(call, 'TargetKeyId');
}

const ListAliases: AwsOperation = async (call) => {
  const { input, caller, kms, names, options } = call;
  const ref = input.has('KeyId') ? await keyOf(call) : undefined;
  if (ref === undefined) await caller.mayDo('ListAliases');
  const after = markerOf(call);
  const limit = input.optionalInteger('Limit', 1, 1000) ?? 50;
  const page = await kms.listAliases({ ...(after && { after }), ...(ref && { ref }), limit }, options);
  const Aliases = page.aliases.map(({ alias, keyId }) => ({
    AliasName: alias,
    AliasArn: names.aliasArn(alias),
    TargetKeyId: keyId,
  }));
  return { fields: { Aliases, ...pageEnd(call, page.next) } };
};

export const aliasOperations = { CreateAlias, UpdateAlias, DeleteAlias, ListAliases };
