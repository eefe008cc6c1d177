/**
 * The one error catalogue.
 *
 * Every failure that a user, a peer or a script can meet has a code here, with what it says, what the operator does
 * about it, the exit code of the command that met it and, where an NBD client can meet it, the errno on the wire.
 * It is a leaf: every room may import it, it imports none. docs/errors.md is tested against it. It is long because it is
 * one table.
 */

/** What class of thing went wrong; it decides the exit code and, for keys, the policy (see src/disk/key-lease.ts). */
export type Group =
  | 'usage'
  | 'missing'
  | 'refused'
  | 'revoked'
  | 'unreachable'
  | 'wrong'
  | 'busy'
  | 'system'
  | 'protocol'
  | 'denied'
  | 'internal';

/** Exit code of a command that fails with an error of the group. 0 is success. */
export const EXIT_CODES: Readonly<Record<Group, number>> = {
  internal: 1,
  usage: 2,
  missing: 3,
  refused: 4,
  revoked: 5,
  unreachable: 6,
  wrong: 7,
  busy: 8,
  system: 9,
  protocol: 10,
  denied: 11,
};

export type FactValue = string | number | bigint | boolean;
// biome-ignore lint/suspicious/noExplicitAny: each entry narrows its own facts; see FactsOf.
type AnyFacts = any;

interface Entry {
  readonly group: Group;
  /** The one line, without a full stop; it names what was found and, where there is one, what was expected. */
  readonly says: (facts: AnyFacts) => string;
  /** What the operator does about it, in the imperative, without a full stop. */
  readonly remedy: string;
}

type FoundExpected = { found: FactValue; expected: FactValue };
type Path = { path: string };
type PathErrno = { path: string; errno: string };
type PathFound = { path: string; found: string; expected: string };
type KeyUri = { keyUri: string };

const entry = <F>(group: Group, says: (facts: F) => string, remedy: string) => ({ group, says, remedy });

export const CATALOGUE = {
  // --- what was typed
  USAGE: entry<{ what: string }>('usage', (f) => f.what, 'see --help of the command'),
  SIZE_SYNTAX: entry<{ found: string }>(
    'usage',
    (f) => `"${f.found}" is not a size`,
    'give a number of bytes, or one with K, M, G, T (powers of 1024)',
  ),
  DURATION_SYNTAX: entry<{ found: string }>(
    'usage',
    (f) => `"${f.found}" is not a duration`,
    'give a number with ms, s, m or h, as in 5s, 2m, 1h',
  ),
  NOT_CONFIRMED: entry<{ what: string }>(
    'usage',
    (f) => `${f.what}: not confirmed, nothing was changed`,
    'answer yes, or give --yes',
  ),
  KEY_URI_SYNTAX: entry<{ keyUri: string; why: string }>(
    'usage',
    (f) => `"${f.keyUri}" is not a key URI: ${f.why}`,
    'write it as its scheme asks: local:alias/NAME, awskms:///alias/NAME?region=R and so on (docs/providers.md)',
  ),
  KEY_URI_SCHEME: entry<{ scheme: string; known: string }>(
    'usage',
    (f) => `no key provider for "${f.scheme}:"`,
    'use a scheme that this build has (sealdisk key --help lists them)',
  ),

  // --- files and disks
  DISK_NOT_FOUND: entry<Path>('missing', (f) => `${f.path}: no such disk`, 'check the path'),
  DISK_AMBIGUOUS: entry<{ word: string; paths: string }>(
    'usage',
    (f) => `${f.word} names several objects: ${f.paths}`,
    'name one of them by its id or its path',
  ),
  DISK_EXISTS: entry<Path>(
    'busy',
    (f) => `${f.path} already exists`,
    'choose another name; nothing was changed',
  ),
  DISK_LABEL: entry<{ field: string; found: FactValue; expected: FactValue }>(
    'usage',
    (f) => `the disk's ${f.field} is ${f.found}, expected ${f.expected}`,
    'choose another; nothing was made',
  ),
  DISK_IN_USE: entry<Path>(
    'busy',
    (f) => `${f.path} is held by another process`,
    'detach it, or end the process that holds it',
  ),
  DISK_TOO_SMALL: entry<{ path: string; found: FactValue; expected: FactValue }>(
    'refused',
    (f) => `${f.path} has ${f.found} bytes, its header needs at least ${f.expected}`,
    'restore the file from a copy of full length',
  ),
  DISK_OTHER_KEY: entry<{ path: string; found: string; expected: string }>(
    'refused',
    (f) => `${f.path} is wrapped by key ${f.found}, --key names ${f.expected}`,
    'do not trust this disk unless you know that its key was changed; then name that key',
  ),
  DISK_DERIVE: entry<{ path: string; why: string }>(
    'refused',
    (f) => `nothing is made from ${f.path}: ${f.why}`,
    'see docs/guide.md; nothing was changed',
  ),
  DISK_FREEZE: entry<{ mountPoint: string; why: string }>(
    'refused',
    (f) => `${f.mountPoint} cannot be frozen: ${f.why}`,
    'take the snapshot without --freeze: it is as after a power failure, which every journalling file system bears',
  ),
  DISK_NOT_ENCRYPTED: entry<{ path: string; verdict: string; why: string }>(
    'refused',
    (f) => `${f.path} is ${f.verdict}: ${f.why}`,
    'encrypt it (sealdisk encrypt), or find out who wrote there past sealdisk',
  ),
  DISK_COMPARE: entry<{ older: string; newer: string; why: string }>(
    'refused',
    (f) => `${f.older} and ${f.newer} cannot be compared: ${f.why}`,
    'name two of one chain: a snapshot, and a later one or what was made of it (sealdisk snapshot list)',
  ),
  DISK_PLAIN: entry<{ path: string; what: string }>(
    'refused',
    (f) => `${f.path} is a plain disk: ${f.what}`,
    'encrypt it first: sealdisk encrypt',
  ),
  DISK_ATTACHED: entry<{ path: string; where: string }>(
    'busy',
    (f) => `${f.path} is in service (${f.where})`,
    'detach it first',
  ),
  DISK_RESIZE: entry<{ path: string; why: string }>(
    'refused',
    (f) => `${f.path} is not resized: ${f.why}`,
    'ask for another size; nothing was changed',
  ),
  DISK_RESIZE_BUSY: entry<{ path: string; why: string }>(
    'busy',
    (f) => `${f.path} cannot shrink while it is ${f.why}`,
    'unmount and close it first; nothing was changed',
  ),
  DISK_REWRAP: entry<{ path: string; why: string }>(
    'refused',
    (f) => `${f.path} is not rewrapped: ${f.why}`,
    'see docs/keys.md; nothing was changed',
  ),
  DISK_IO: entry<PathErrno>(
    'system',
    (f) => `${f.path}: ${f.errno}`,
    'check the file, its file system and your rights',
  ),

  // --- bulk work on what a disk holds
  CONVERT_DIFFERS: entry<{ path: string; atBytes: bigint }>(
    'system',
    (f) => `${f.path}: what was written does not read back the same, first at byte ${f.atBytes} of its data`,
    'check the storage and its kernel log; the source is untouched, nothing was made',
  ),
  CONVERT_NOT_PLAIN: entry<{ path: string; found: string }>(
    'refused',
    (f) => `${f.path} is ${f.found}, expected a plain file or block device`,
    'see what it is with sealdisk info; nothing was changed',
  ),
  CONVERT_KEPT: entry<{ path: string; why: string }>(
    'refused',
    (f) => `${f.path} is not deleted: ${f.why}`,
    'see which of the two you need, and delete the other yourself (sealdisk delete)',
  ),
  CONVERT_UNFINISHED: entry<{ path: string; what: string; percent: number }>(
    'refused',
    (f) => `${f.path} is in the middle of ${f.what} (${f.percent} % done)`,
    'run sealdisk encrypt --in-place, or sealdisk rekey, on it again: it goes on where it ended',
  ),
  CONVERT_FOREIGN: entry<{ path: string; why: string }>(
    'refused',
    (f) => `the conversion of ${f.path} is not as sealdisk left it: ${f.why}`,
    'if cryptsetup went on with it, finish it with cryptsetup reencrypt --resume-only; else do not trust this header',
  ),
  CONVERT_REFUSED: entry<{ path: string; why: string }>(
    'refused',
    (f) => `${f.path} is not converted: ${f.why}`,
    'see docs/format.md; nothing was changed',
  ),
  CONVERT_CANCELLED: entry<Path>('refused', (f) => `${f.path}: stopped before it was done`, 'run it again'),

  // --- images
  IMAGE_REFUSED: entry<{ path: string; why: string }>(
    'refused',
    (f) => `${f.path} is not taken: ${f.why}`,
    'see docs/images.md; nothing was made',
  ),
  IMAGE_TOOL: entry<{ path: string; said: string }>(
    'system',
    (f) => `${f.path}: qemu-img ended with "${f.said}"`,
    'see that qemu-img is installed (Debian: qemu-utils) and that there is room; nothing was made',
  ),

  // --- LUKS2 headers
  LUKS2_NOT_LUKS: entry<Path>(
    'refused',
    (f) => `${f.path} is not a LUKS2 volume`,
    'check the path; sealdisk create makes a disk',
  ),
  LUKS2_VERSION: entry<FoundExpected>(
    'refused',
    (f) => `LUKS header version ${f.found}, expected ${f.expected}`,
    'convert the volume with cryptsetup convert --type luks2',
  ),
  LUKS2_HEADER_SIZE: entry<FoundExpected>(
    'refused',
    (f) => `LUKS2 header size ${f.found}, expected ${f.expected}`,
    'restore the header from a backup',
  ),
  LUKS2_HEADER_OFFSET: entry<FoundExpected>(
    'refused',
    (f) => `LUKS2 header copy says offset ${f.found}, but stands at ${f.expected}`,
    'restore the header from a backup',
  ),
  LUKS2_CHECKSUM_ALGORITHM: entry<FoundExpected>(
    'refused',
    (f) => `LUKS2 header checksum algorithm "${f.found}", expected ${f.expected}`,
    'restore the header from a backup',
  ),
  LUKS2_CHECKSUM: entry<{ copies: string }>(
    'refused',
    (f) => `LUKS2 header checksum does not match (${f.copies})`,
    'restore the header from a backup',
  ),
  LUKS2_COPIES: entry<{ what: string }>(
    'refused',
    (f) => `the two copies of the LUKS2 header contradict one another: ${f.what}`,
    'do not trust this disk; restore the header from a backup',
  ),
  LUKS2_ROLLED_BACK: entry<FoundExpected>(
    'refused',
    (f) => `an old LUKS2 header was put back: generation ${f.found}, the other copy has ${f.expected}`,
    'do not trust this disk; restore the header from a backup',
  ),
  LUKS2_JSON: entry<{ why: string }>(
    'refused',
    (f) => `LUKS2 JSON area is not valid: ${f.why}`,
    'restore the header from a backup',
  ),
  LUKS2_FIELD: entry<{ field: string; found: FactValue; expected: FactValue }>(
    'refused',
    (f) => `LUKS2 ${f.field} is ${f.found}, expected ${f.expected}`,
    'restore the header from a backup',
  ),
  LUKS2_CIPHER: entry<FoundExpected>(
    'refused',
    (f) => `LUKS2 cipher "${f.found}", expected ${f.expected}`,
    'open this volume with cryptsetup; sealdisk serves AES-256-XTS only',
  ),
  LUKS2_SECTOR_SIZE: entry<FoundExpected>(
    'refused',
    (f) => `LUKS2 sector size ${f.found}, expected ${f.expected}`,
    'open this volume with cryptsetup',
  ),
  LUKS2_SEGMENTS: entry<FoundExpected>(
    'refused',
    (f) => `LUKS2 header has ${f.found}, expected ${f.expected}`,
    'finish a running cryptsetup reencrypt, or restore the header from a backup',
  ),
  LUKS2_REQUIREMENT: entry<{ found: string }>(
    'refused',
    (f) => `LUKS2 header requires "${f.found}", which sealdisk does not know`,
    'open this volume with the program that wrote it',
  ),
  LUKS2_DIGEST: entry<{ field: string; found: FactValue; expected: FactValue }>(
    'refused',
    (f) => `LUKS2 digest ${f.field} is ${f.found}, expected ${f.expected}`,
    'restore the header from a backup',
  ),
  LUKS2_TOKEN_MISSING: entry<{ uuid: string }>(
    'refused',
    (f) => `LUKS2 volume ${f.uuid} has no sealdisk-kms token`,
    'open it with cryptsetup; sealdisk create makes a disk whose key is in a KMS',
  ),
  LUKS2_TOKEN: entry<{ field: string; found: FactValue; expected: FactValue }>(
    'refused',
    (f) => `sealdisk-kms token: ${f.field} is ${f.found}, expected ${f.expected}`,
    'restore the header from a backup, or use a newer sealdisk',
  ),
  LUKS2_FITS: entry<{ what: string; found: FactValue; expected: FactValue }>(
    'refused',
    (f) => `LUKS2 ${f.what} is ${f.found}, expected ${f.expected}`,
    'restore the header from a backup, or the file to its full length',
  ),
  LUKS2_JSON_FULL: entry<FoundExpected>(
    'refused',
    (f) => `LUKS2 JSON area would need ${f.found} bytes, it has ${f.expected}`,
    'use fewer or shorter tags',
  ),
  LUKS2_ALTERED: entry<{ what: string }>(
    'refused',
    (f) => `the header was altered: ${f.what} does not match the data key`,
    'do not trust this disk; restore the header from a backup',
  ),

  // --- recovery passphrases
  RECOVERY_NONE: entry<Path>(
    'missing',
    (f) => `${f.path} has no such recovery passphrase`,
    'add one while its KMS still opens it (sealdisk recover add)',
  ),
  RECOVERY_PASSPHRASE: entry<Path>(
    'wrong',
    (f) => `no keyslot of ${f.path} opens with this passphrase`,
    'check the passphrase; of a file the first line counts',
  ),
  RECOVERY_KEYSLOT: entry<{ keyslot: string; field: string; found: string; expected: string }>(
    'refused',
    (f) => `keyslot ${f.keyslot}: ${f.field} is ${f.found}, expected ${f.expected}`,
    'do not trust this header unless you made that keyslot; take it away with cryptsetup luksKillSlot',
  ),
  CRYPTSETUP: entry<{ why: string }>(
    'system',
    (f) => `cryptsetup failed: ${f.why}`,
    'install cryptsetup 2.4 or later, or look at what it says',
  ),

  // --- keys: revoked (somebody decided)
  KMS_KEY_DISABLED: entry<KeyUri>(
    'revoked',
    (f) => `key ${f.keyUri} is disabled`,
    'enable it in its KMS (sealdisk key enable, when it is a local: key)',
  ),
  KMS_KEY_PENDING_DELETION: entry<KeyUri>(
    'revoked',
    (f) => `key ${f.keyUri} is pending deletion`,
    'cancel its deletion, then enable it',
  ),
  KMS_KEY_PENDING_IMPORT: entry<KeyUri>(
    'revoked',
    (f) => `key ${f.keyUri} has no key material (pending import)`,
    'import its key material again',
  ),
  KMS_KEY_NOT_FOUND: entry<KeyUri>(
    'revoked',
    (f) => `key ${f.keyUri} does not exist`,
    'check the key, the pool and the account; a deleted key cannot come back',
  ),
  KMS_ACCESS_DENIED: entry<{ keyUri: string; why: string }>(
    'revoked',
    (f) => `access to key ${f.keyUri} is denied: ${f.why}`,
    'grant the right to use the key',
  ),

  // --- keys: unreachable (nobody decided)
  KMS_TIMEOUT: entry<{ keyUri: string; timeoutMs: number }>(
    'unreachable',
    (f) => `the KMS of key ${f.keyUri} did not answer within ${f.timeoutMs} ms`,
    'check the KMS and the network',
  ),
  KMS_CONNECTION: entry<{ keyUri: string; why: string }>(
    'unreachable',
    (f) => `the KMS of key ${f.keyUri} cannot be reached: ${f.why}`,
    'check the KMS and the network',
  ),
  KMS_SERVER_ERROR: entry<{ keyUri: string; why: string }>(
    'unreachable',
    (f) => `the KMS of key ${f.keyUri} failed: ${f.why}`,
    'check the KMS',
  ),
  KMS_THROTTLED: entry<KeyUri>(
    'unreachable',
    (f) => `the KMS of key ${f.keyUri} asks to slow down`,
    'wait, or raise the quota of the KMS',
  ),
  KMS_BAD_REPLY: entry<{ keyUri: string; why: string }>(
    'unreachable',
    (f) => `what answers for key ${f.keyUri} is not its KMS: ${f.why}`,
    'check the endpoint',
  ),
  KMS_CREDENTIALS: entry<{ keyUri: string; why: string }>(
    'unreachable',
    (f) => `there are no credentials for the KMS of key ${f.keyUri}: ${f.why}`,
    'give new credentials as docs/providers.md says for its scheme',
  ),

  // --- keys: wrong (nothing to wait for)
  KMS_INVALID_CIPHERTEXT: entry<KeyUri>(
    'wrong',
    (f) => `the wrapped data key was not made by key ${f.keyUri}, or was altered`,
    'restore the header from a backup',
  ),
  KMS_WRONG_CONTEXT: entry<KeyUri>(
    'wrong',
    (f) => `the wrapped data key belongs to another disk (key ${f.keyUri})`,
    'restore the header of this disk from a backup',
  ),
  KMS_UNSUPPORTED_KEY: entry<{ keyUri: string; found: string; expected: string }>(
    'wrong',
    (f) => `key ${f.keyUri} is ${f.found}, expected ${f.expected}`,
    'use a symmetric key',
  ),

  // --- keys: the provider itself
  KMS_PACKAGE: entry<{ scheme: string; package: string }>(
    'system',
    (f) => `keys of ${f.scheme}: need the package ${f.package}, which is not installed`,
    'npm install it beside sealdisk (with -g where sealdisk was installed so)',
  ),
  KMS_SETTING: entry<{ setting: string; found: string; expected: string }>(
    'usage',
    (f) => `${f.setting} is ${f.found}, expected ${f.expected}`,
    'set it where sealdisk runs, as docs/providers.md says',
  ),
  KMS_NOT_VOUCHED: entry<{ what: string; setting: string }>(
    'refused',
    (f) => `the disk names ${f.what}, for which nobody here vouches (${f.setting} does not)`,
    'do not trust this disk unless you know that it is right; then name its key with --key, or change that setting',
  ),

  // --- the embedded KMS
  KMS_SERVICE_KEY: entry<{ verb: string }>(
    'refused',
    (f) => `the service key alias/acs/ecs cannot be ${f.verb} by hand`,
    'create a key of your own (sealdisk key create) and use that',
  ),
  KMS_ALIAS_TAKEN: entry<{ alias: string; keyId: string }>(
    'busy',
    (f) => `${f.alias} already names key ${f.keyId}`,
    'choose another alias',
  ),
  KMS_ALIAS_SYNTAX: entry<{ found: string }>(
    'usage',
    (f) => `"${f.found}" is not an alias`,
    'use alias/ and then letters, digits, / _ - (1 to 255 characters; alias/acs/ is reserved)',
  ),
  KMS_STATE: entry<{ keyUri: string; state: string; verb: string }>(
    'refused',
    (f) => `key ${f.keyUri} is ${f.state}, it cannot be ${f.verb}`,
    'see its state with sealdisk key show',
  ),
  KMS_ALIAS_NOT_FOUND: entry<{ alias: string }>(
    'missing',
    (f) => `there is no ${f.alias}`,
    'see those that there are with sealdisk key alias list',
  ),
  KMS_KEY_KIND: entry<{ keyUri: string; verb: string; why: string }>(
    'refused',
    (f) => `key ${f.keyUri} cannot be ${f.verb}: ${f.why}`,
    'choose a key of the other kind; what a key is does not change',
  ),
  KMS_PROTECTED: entry<KeyUri>(
    'refused',
    (f) => `key ${f.keyUri} is protected from deletion`,
    'take the protection away first (sealdisk key unprotect)',
  ),
  KMS_IMPORT_TOKEN: entry<KeyUri>(
    'refused',
    (f) => `the import token is not one of key ${f.keyUri}`,
    'ask for new parameters with sealdisk key import-parameters, and wrap the material again',
  ),
  KMS_IMPORT_EXPIRED: entry<{ keyUri: string; expired: string }>(
    'refused',
    (f) => `the import token of key ${f.keyUri} ended at ${f.expired}`,
    'ask for new parameters with sealdisk key import-parameters, and wrap the material again',
  ),
  KMS_IMPORT_MATERIAL: entry<{ keyUri: string; why: string }>(
    'refused',
    (f) => `the material for key ${f.keyUri} is refused: ${f.why}`,
    'bring the 32 bytes that the key had before, wrapped by RSA-OAEP under the public key of this token',
  ),
  ACCESS_KEY_NOT_FOUND: entry<{ accessKeyId: string }>(
    'missing',
    (f) => `there is no access key ${f.accessKeyId}`,
    'see those that there are with sealdisk kms access-key list',
  ),
  KMS_STORE: entry<{ path: string; why: string }>(
    'system',
    (f) => `the embedded KMS at ${f.path} cannot be used: ${f.why}`,
    'check the folder, its rights and its root key file',
  ),
  KMS_STORE_ALTERED: entry<Path>(
    'refused',
    (f) => `${f.path} was altered, or sealed with another root key`,
    'restore the KMS folder from a backup, with its root.key',
  ),

  KMS_ROOT_LOCKED: entry<{ why: string }>(
    'system',
    (f) => `the root key of the embedded KMS cannot be opened: ${f.why}`,
    'give what protects it (see sealdisk kms root show): passphrase file, credential or TPM',
  ),
  KMS_AUDIT: entry<{ path: string; line: number; why: string }>(
    'refused',
    (f) => `${f.path} is not whole: line ${f.line} ${f.why}`,
    'find out who altered the audit log; compare it with a backup',
  ),
  KMS_BACKUP: entry<{ path: string; why: string }>(
    'refused',
    (f) => `${f.path} is no backup that can be restored: ${f.why}`,
    'check the file and its passphrase; nothing was restored',
  ),
  KMS_NOT_EMPTY: entry<Path>(
    'busy',
    (f) => `${f.path} is not empty`,
    'move it away, or name another pool; nothing was restored',
  ),

  // --- its network face
  KMS_LISTEN: entry<{ address: string; errno: string }>(
    'system',
    (f) => `the KMS cannot listen on ${f.address}: ${f.errno}`,
    'choose another address, or end what uses it',
  ),

  // --- NBD
  NBD_PROTOCOL: entry<{ what: string; found: FactValue; expected: FactValue }>(
    'protocol',
    (f) => `NBD peer: ${f.what} is ${f.found}, expected ${f.expected}`,
    'check the client',
  ),
  NBD_HANDSHAKE_TIMEOUT: entry<{ timeoutMs: number }>(
    'protocol',
    (f) => `NBD peer did not finish the handshake within ${f.timeoutMs} ms`,
    'check the client',
  ),
  NBD_ADDRESS: entry<{ address: string; errno: string }>(
    'system',
    (f) => `cannot listen on ${f.address}: ${f.errno}`,
    'choose another address, or end what uses it',
  ),

  // --- TLS
  TLS_CERTIFICATE: entry<FoundExpected>(
    'refused',
    (f) => `TLS certificate: found ${f.found}, expected ${f.expected}`,
    "give a PEM file with the server's own certificate first, then those that lead to its CA",
  ),
  TLS_PRIVATE_KEY: entry<FoundExpected>(
    'refused',
    (f) => `TLS private key: found ${f.found}, expected ${f.expected}`,
    'give the PEM file of the key that the certificate was made for, without a passphrase',
  ),
  TLS_CLIENT_CA: entry<FoundExpected>(
    'refused',
    (f) => `TLS client CA: found ${f.found}, expected ${f.expected}`,
    'give a PEM file with the certificates of the CAs that sign clients',
  ),
  TLS_PSK: entry<FoundExpected>(
    'refused',
    (f) => `TLS pre-shared keys: found ${f.found}, expected ${f.expected}`,
    'make the file with psktool -u NAME -p FILE',
  ),
  TLS_PEER: entry<{ why: string }>(
    'protocol',
    (f) => `TLS client: ${f.why}`,
    "check the client's TLS version, its certificate or pre-shared key, and the CA that it trusts",
  ),

  // --- engine and kernel
  ENGINE_SELF_TEST: entry<{ what: string }>(
    'internal',
    (f) => `the cipher's known-answer test failed (${f.what}); nothing is served`,
    'do not use this machine for encryption; report it',
  ),
  ENGINE_ADDON: entry<{ why: string }>(
    'system',
    (f) => `the native engine cannot be loaded: ${f.why}`,
    'run make build with the Node that runs sealdisk',
  ),
  ENGINE_SYSTEM: entry<{ what: string; errno: string }>(
    'system',
    (f) => `${f.what}: ${f.errno}`,
    'check limits (ulimit -l), rights and the kernel log',
  ),
  KERNEL_NO_NBD: entry<{ why: string }>(
    'system',
    (f) => `the kernel has no nbd driver: ${f.why}`,
    'modprobe nbd, or use sealdisk serve',
  ),
  KERNEL_NETLINK: entry<{ what: string; errno: string }>(
    'system',
    (f) => `nbd ${f.what}: ${f.errno}`,
    'check the kernel log; attach needs root (CAP_SYS_ADMIN)',
  ),

  // --- attachments
  ATTACH_ALREADY: entry<{ path: string; device: string }>(
    'busy',
    (f) => `${f.path} is already attached as ${f.device}`,
    'detach it first',
  ),
  ATTACH_NOT_ROOT: entry<{ what: string }>(
    'system',
    (f) => `${f.what} needs root`,
    'run it with sudo, or use sealdisk serve',
  ),
  ATTACH_NOT_ATTACHED: entry<{ target: string }>(
    'missing',
    (f) => `${f.target} is not attached`,
    'see sealdisk list',
  ),
  ATTACH_DEVICE_BUSY: entry<{ device: string; why: string }>(
    'busy',
    (f) => `${f.device} is ${f.why}`,
    'unmount and close it; --force takes it away and fails what is parked',
  ),
  ATTACH_SERVER_DIED: entry<{ how: string }>(
    'system',
    (f) => `the server process ended before the disk was attached (${f.how})`,
    'attach again; if it ends again, look for its end in the kernel log',
  ),
  ATTACH_TIMEOUT: entry<{ what: string; timeoutMs: number }>(
    'system',
    (f) => `${f.what} took longer than ${f.timeoutMs} ms`,
    'read the log of the attachment and the kernel log',
  ),

  // --- policies
  POLICY_DENIED: entry<{ user: string; action: string; resource: string; why: string; facts: string }>(
    'denied',
    (f) => `${f.user} may not ${f.action} on ${f.resource}: ${f.why} (${f.facts})`,
    'do it as the policy asks (sealdisk policy show NAME), or have root change the policy',
  ),
  POLICY_SYNTAX: entry<{ name: string; line: number; column: number; found: string; expected: string }>(
    'usage',
    (f) => `${f.name}:${f.line}:${f.column}: found ${f.found}, expected ${f.expected}`,
    'correct it there (docs/policy.md has the language); nothing of it counts before',
  ),
  POLICY_NAME: entry<{ found: string }>(
    'usage',
    (f) => `"${f.found}" is not a name of a policy`,
    'use 1 to 64 letters, digits, _ . - and begin with a letter or a digit',
  ),
  POLICY_NOT_FOUND: entry<{ name: string }>(
    'missing',
    (f) => `there is no policy ${f.name}`,
    'see those that there are with sealdisk policy list',
  ),
  POLICY_STORE: entry<PathFound>(
    'denied',
    (f) => `${f.path} is ${f.found}, expected ${f.expected}; all is denied until that is right`,
    'see who changed it; then put it right, or delete the policy and add it again',
  ),

  // --- the daemon
  DAEMON_REFUSED: entry<{ what: string }>(
    'denied',
    (f) => `the daemon does not take ${f.what}`,
    'see docs/policy.md for what it does for its callers, or have root do it',
  ),
  DAEMON_BUSY: entry<{ callers: number }>(
    'busy',
    (f) => `the daemon has ${f.callers} callers already`,
    'try again when some of them are done',
  ),
  DAEMON_CONNECTION: entry<{ path: string; errno: string }>(
    'system',
    (f) => `the daemon at ${f.path} does not answer: ${f.errno}`,
    'see whether sealdisk daemon runs; what was begun may have been done',
  ),
  DAEMON_POOL: entry<PathFound>(
    'refused',
    (f) => `${f.path} is ${f.found}, expected ${f.expected}`,
    'give the pool to root alone (chown root, chmod 700): what others can write there the daemon cannot answer for',
  ),

  // --- ours
  INTERNAL: entry<{ what: string }>('internal', (f) => `unexpected: ${f.what}`, 'report it, with -v'),
} as const satisfies Record<string, Entry>;

export type Code = keyof typeof CATALOGUE;
export type FactsOf<C extends Code> = Parameters<(typeof CATALOGUE)[C]['says']>[0];

/** A failure with a code of the catalogue. `message` is the one line; `facts` never hold a key, token or payload. */
export class SealdiskError<C extends Code = Code> extends Error {
  override readonly name = 'SealdiskError';

  constructor(
    readonly code: C,
    readonly facts: FactsOf<C>,
    cause?: unknown,
  ) {
    super((CATALOGUE[code] as Entry).says(facts), cause === undefined ? undefined : { cause });
  }

  get group(): Group {
    return CATALOGUE[this.code].group;
  }

  get exitCode(): number {
    return EXIT_CODES[this.group];
  }

  get remedy(): string {
    return CATALOGUE[this.code].remedy;
  }

  /** What crosses a process boundary; `fromJSON` makes an equal error of it. */
  toJSON(): { code: C; facts: FactsOf<C> } {
    return { code: this.code, facts: this.facts };
  }

  static fromJSON(json: { code: Code; facts: FactsOf<Code> }): SealdiskError {
    return new SealdiskError(json.code, json.facts);
  }
}

/** Throw the catalogued error. */
export function fail<C extends Code>(code: C, facts: FactsOf<C>, cause?: unknown): never {
  throw new SealdiskError(code, facts, cause);
}

/** True when `error` is catalogued, and, where codes are given, has one of them. */
export function isFailure<C extends Code>(error: unknown, ...codes: C[]): error is SealdiskError<C> {
  return error instanceof SealdiskError && (codes.length === 0 || codes.includes(error.code as C));
}

/** Any error as a catalogued one; what has no code of its own is INTERNAL, with the error as its cause. */
export function catalogued(error: unknown): SealdiskError {
  if (error instanceof SealdiskError) return error;
  return new SealdiskError('INTERNAL', { what: errnoOf(error) }, error);
}

/** The same failure, its line led by what it is about: for a command that does the same to several. */
export function about(subject: string, error: unknown): SealdiskError {
  const failure = catalogued(error);
  if (failure.message.includes(subject)) return failure;
  const led = new SealdiskError(failure.code, failure.facts, failure.cause);
  led.message = `${subject}: ${failure.message}`;
  return led;
}

/** Runs `work`; the catalogued error that it ends in, or undefined. */
export async function failureOf(work: () => Promise<void>): Promise<SealdiskError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return catalogued(error);
  }
}

/** The errno name of a Node system error, or its message: what a catalogue line shows of a cause. */
export function errnoOf(error: unknown): string {
  if (error instanceof Error) return (error as NodeJS.ErrnoException).code ?? error.message;
  return String(error);
}

/** For the end of a `switch` over a closed union. */
export function unreachable(value: never): never {
  throw new SealdiskError('INTERNAL', { what: `no case for ${String(value)}` });
}
