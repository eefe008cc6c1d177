/**
 * The policies that ship. Each forbids, and allows nothing: what it does not name stays as it was.
 *
 * They ask for what has to be so, not for its contrary: a disk of which nothing is known is denied, too. Snapshots and
 * images of what exists are not theirs, for by those a plain disk becomes an encrypted one.
 */

/** What makes a disk, or brings one into service. */
const USES = ['ecs:CreateDisk', 'ecs:AttachDisk', 'ecs:ResetDisk', 'ecs:CopySnapshot', 'ecs:CopyImage'];

const denyUnless = (sid: string, key: string) => ({
  Version: '1',
  Statement: [
    {
      Sid: sid,
      Effect: 'Deny',
      Action: USES,
      Resource: '*',
      Condition: { StringNotEquals: { [key]: 'true' } },
    },
  ],
});

const READY: Readonly<Record<string, object>> = {
  'encrypted-only': denyUnless('OnlyEncryptedDisks', 'ecs:IsDiskEncrypted'),
  'byok-only': denyUnless('OnlyDisksUnderOwnKeys', 'ecs:IsDiskByokEncrypted'),
};

export const READY_NAMES = Object.keys(READY);

/** The text of the ready policy; undefined where none has this name. */
export const readyPolicy = (name: string): string | undefined =>
  Object.hasOwn(READY, name) ? `${JSON.stringify(READY[name], null, 2)}\n` : undefined;
