/**
 * For each thing that a row can say: the test that shows it of sealdisk. A file under the project's root, and the
 * beginning of a test's title in it; comparison.test.ts checks that it is there.
 */

export type Proof = readonly [file: string, title: string];

const HANDSHAKE = 'test/nbd/handshake.test.ts';
const OPTIONS = 'test/nbd/options.test.ts';
const SERVER = 'test/nbd/server.test.ts';
const RULES = 'test/interop/nbd-rules.test.ts';
const REQUEST = 'native/test/engine_request.cc';
const SERVE = 'native/test/engine_serve.cc';
const PEERS = 'native/test/engine_peers.cc';
const STRUCTURED = 'native/test/engine_structured.cc';
const CONTEXTS = 'test/nbd/meta-context.test.ts';
const STARTTLS = 'test/nbd/starttls.test.ts';

/** Where no narrower test is: the row itself, asked of sealdisk by the test. */
const MEASURED: Proof = ['test/interop/comparison.test.ts', 'sealdisk does what docs/protocol.md says of it'];

export const PROOF = {
  greeting: [HANDSHAKE, 'the greeting is NBDMAGIC, IHAVEOPT'],
  noZeroes: [OPTIONS, 'EXPORT_NAME leaves the zeroes out for NBD_FLAG_C_NO_ZEROES'],
  zeroes: [OPTIONS, 'EXPORT_NAME answers size, flags and 124 zeroes'],
  notFixed: [OPTIONS, 'EXPORT_NAME serves a client without fixed newstyle'],
  notFixedOptions: [HANDSHAKE, 'without fixed newstyle every option but EXPORT_NAME ends the session'],
  walk: [HANDSHAKE, 'in phase '],
  garbage: [SERVER, 'garbage ends its own connection'],
  singleBytes: [HANDSHAKE, 'bytes one by one give what the whole gives'],
  unknownOption: [OPTIONS, 'every other option is NBD_REP_ERR_UNSUP'],
  longOption: [OPTIONS, 'data of 1 MiB is still skipped, one byte more ends the session'],
  manyOptions: [HANDSHAKE, 'one option over the limit ends the session'],
  vanish: [SERVER, 'a client that vanishes after each byte of a handshake'],

  exportName: [OPTIONS, 'EXPORT_NAME answers size, flags'],
  emptyName: [OPTIONS, 'INFO of the empty name is the first export'],
  noExport: [OPTIONS, 'EXPORT_NAME of an export that does not exist'],
  longName: [OPTIONS, 'EXPORT_NAME longer than a name can be'],
  abort: [OPTIONS, 'ABORT is acknowledged'],
  list: [OPTIONS, 'LIST tells each export with its description'],
  listData: [OPTIONS, 'LIST with data is NBD_REP_ERR_INVALID'],
  info: [OPTIONS, 'INFO tells name, description and block sizes'],
  infoGo: [OPTIONS, 'INFO answers what GO answers'],
  go: [OPTIONS, 'GO answers NBD_INFO_EXPORT and ACK'],
  malformed: [OPTIONS, 'GO that is malformed is NBD_REP_ERR_INVALID'],
  structuredReply: ['test/nbd/negotiated.test.ts', 'a client that asks for '],
  extendedHeaders: ['test/nbd/negotiated.test.ts', 'a client that asks for '],
  metaContext: [CONTEXTS, 'of '],

  flags: ['test/interop/nbd-copy.test.ts', 'nbdinfo tells the truth about a disk'],
  readOnlyFlag: [OPTIONS, 'GO says that the export is read-only'],

  rules: [RULES, 'FUA, flush, trim and zeroes do what they say, at any alignment'],
  beyond: [RULES, 'what goes beyond the end is refused'],
  readOnly: [RULES, 'a read-only disk refuses every write with EPERM'],
  manyCommands: [RULES, 'many commands in flight'],
  multiConn: [RULES, 'a flush on one connection covers the writes of another'],
  disc: [PEERS, 'DISC ends the connection after what came before it is answered'],
  flushRule: [REQUEST, 'refuses a flush with an offset or a length'],
  trim: [SERVE, 'flush and trim succeed'],
  cache: MEASURED,
  resize: MEASURED,
  unknownCommand: [REQUEST, 'refuses commands that it did not announce with EINVAL'],
  commandFlags: [REQUEST, 'knows FUA everywhere'],
  fastZero: [
    STRUCTURED,
    'zeros fast where a hole can be made, and says ENOTSUP where it would have to write',
  ],
  overflow: [REQUEST, 'refuses what ends beyond the disk'],
  skipped: [SERVE, "a refused write's payload is skipped"],
  lengthZero: [REQUEST, 'refuses a length of zero'],
  alignment: [SERVE, 'every alignment of a write leaves the bytes around it alone'],
  large: [SERVE, 'one request of 64 MiB is served'],
  tooLarge: [REQUEST, 'serves 64 MiB in one request, and not one byte more'],
  hugeTrim: MEASURED,
  magic: [PEERS, 'a wrong magic ends the connection, and no other'],
  cookie: [SERVE, 'a thousand requests at once are all answered, each once'],

  structured: [STRUCTURED, 'answers a read with one chunk of data'],
  status: [STRUCTURED, 'tells the allocation of the file'],
  extended: [STRUCTURED, 'takes lengths of more than 32 bits in an extended request'],
  tls: [STARTTLS, 'STARTTLS is acknowledged in the clear'],
} as const satisfies Record<string, Proof>;
