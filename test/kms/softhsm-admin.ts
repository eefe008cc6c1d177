/** `softhsm-admin.js MODULE TOKEN PIN`: an administrator of the token, by orders of one JSON line each. */

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import type * as Pkcs11 from 'pkcs11js';

const pkcs11 = createRequire(import.meta.url)('pkcs11js') as typeof Pkcs11;
const constants = pkcs11 as unknown as Record<string, number>;
const [, , modulePath = '', tokenLabel = '', pin = ''] = process.argv;

const module = new pkcs11.PKCS11();
module.load(modulePath);
module.C_Initialize();
const slot = module
  .C_GetSlotList(true)
  .find((each) => module.C_GetTokenInfo(each).label.trim() === tokenLabel);
const session = module.C_OpenSession(slot as Buffer, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION);
module.C_Login(session, pkcs11.CKU_USER, pin);

type Given = Record<string, string | number | boolean>;

/** `{ CKA_LABEL: 'x' }` as a template; a CKA_ID is hex, and a string that begins with CK names a constant. */
const template = (given: Given): Pkcs11.Template =>
  Object.entries(given).map(([name, value]) => ({
    type: constants[name] as number,
    value:
      name === 'CKA_ID'
        ? Buffer.from(value as string, 'hex')
        : typeof value === 'string' && value.startsWith('CK')
          ? (constants[value] as number)
          : value,
  }));

function found(id: string): Buffer {
  module.C_FindObjectsInit(session, template({ CKA_ID: id }));
  const [object] = module.C_FindObjects(session, 1);
  module.C_FindObjectsFinal(session);
  return object as Buffer;
}

function make({ label, id, attributes }: { label: string; id: string; attributes: Given }): void {
  const { mechanism = 'CKM_AES_KEY_GEN', CKA_VALUE_LEN = 32, ...others } = attributes;
  const all = { CKA_TOKEN: true, CKA_PRIVATE: true, CKA_LABEL: label, CKA_ID: id };
  const uses = { CKA_ENCRYPT: true, CKA_DECRYPT: true, CKA_SENSITIVE: true, CKA_EXTRACTABLE: false };
  if (mechanism === 'data') {
    module.C_CreateObject(session, template({ CKA_CLASS: 'CKO_DATA', CKA_TOKEN: true, CKA_LABEL: label }));
    return;
  }
  const length: Given = mechanism === 'CKM_AES_KEY_GEN' ? { CKA_VALUE_LEN } : {};
  const key = template({ ...all, ...uses, ...length, ...others });
  module.C_GenerateKey(session, { mechanism: constants[mechanism as string] as number }, key);
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  try {
    if (order.verb === 'make') make(order);
    if (order.verb === 'change')
      module.C_SetAttributeValue(session, found(order.id), template(order.attributes));
    if (order.verb === 'destroy') module.C_DestroyObject(session, found(order.id));
    process.stdout.write('done\n');
  } catch (error) {
    process.stdout.write(`${(error as Error).message.split('\n')[0]}\n`);
  }
}
