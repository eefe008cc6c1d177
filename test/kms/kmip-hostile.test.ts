/** What a KMIP server may send that is none, or means harm: each ends in the right failure, in time, and no process with it. */

import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import type { KeyProvider } from '#sealdisk/kms/provider.js';
import {
  bytes,
  enumeration,
  integer,
  OPERATION,
  type Operation,
  one,
  question,
  REPLY_MAX_BYTES,
  readReply,
  request,
  structure,
  TAG,
  text,
} from '#sealdisk/kms/providers/kmip/message.js';
import { decode, encode, encodedBytes, type Item } from '#sealdisk/kms/providers/kmip/ttlv.js';
import { openProvider } from '#sealdisk/kms/registry.js';
import { Random } from '../fuzz/random.js';
import { GnutlsCa } from '../interop/tls-rig.js';
import { rejectsWith } from './contract.js';
import { envOf } from './pykmip.js';

const PATIENT = { timeoutMs: 20_000 };
const HASTY = { timeoutMs: 150 };
const SEED = Number(process.env.SEED ?? Date.now() >>> 0);
const CONTEXT = { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01' };
const RUNS = Number(process.env.RUNS ?? 8000);

const written = (item: Item): Buffer => {
  const message = Buffer.alloc(encodedBytes(item));
  encode(item, message);
  return message;
};

const header = structure(
  TAG.responseHeader,
  structure(TAG.protocolVersion, integer(TAG.major, 1), integer(TAG.minor, 4)),
  { tag: 0x420092, type: 'dateTime', value: 1_795_883_438n },
  integer(TAG.batchCount, 1),
);

/** Stands for the mark of the question, until `Impostor` puts that in. */
const MARK = Buffer.from('the mark');

const respond = (...result: Item[]): Buffer =>
  written(structure(TAG.responseMessage, header, structure(TAG.batchItem, ...result)));

const succeed = (operation: Operation, ...payload: Item[]): Buffer =>
  respond(
    enumeration(TAG.operation, operation),
    bytes(TAG.uniqueBatchItemId, MARK),
    enumeration(TAG.resultStatus, 0),
    structure(TAG.responsePayload, ...payload),
  );

const refuse = (reason: number): Buffer =>
  respond(enumeration(TAG.resultStatus, 1), enumeration(TAG.resultReason, reason), text(0x42007d, 'no'));

const attribute = (name: string, value: number): Item =>
  structure(TAG.attribute, text(TAG.attributeName, name), enumeration(TAG.attributeValue, value));

const UID = text(TAG.uniqueIdentifier, '7');
const described = (state: number, uid = UID): Buffer =>
  succeed(
    OPERATION.getAttributes,
    uid,
    attribute('State', state),
    attribute('Object Type', 2),
    attribute('Cryptographic Algorithm', 3),
  );
const ACTIVE = described(2);

/** A request that came, and what can be said to it. */
interface Asked {
  readonly socket: TLSSocket;
  readonly operation: number;
  /** The message as the answer to this request: with its mark. */
  mark(message: Buffer): Buffer;
}

type Manner = (asked: Asked) => void;

class Impostor {
  manner: Manner = () => {};
  connections = 0;
  readonly #sockets = new Set<TLSSocket>();

  private constructor(
    private readonly server: Server,
    private readonly env: NodeJS.ProcessEnv,
  ) {
    server.on('secureConnection', (socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
      // sealdisk's requests are each one write, with the operation as the first item behind the header.
      socket.on('data', (data: Buffer) => this.manner(askedBy(socket, data)));
    });
  }

  static async start(t: Test): Promise<Impostor> {
    const dir = mkdtempSync(join(tmpdir(), 'sealdisk-kmip-'));
    const ca = new GnutlsCa(join(dir, 'ca'));
    const folder = ca.folder('server', 'server');
    const files = {
      cert: readFileSync(join(folder, 'server-cert.pem')),
      key: readFileSync(join(folder, 'server-key.pem')),
    };
    const server = createServer({ ...files, ca: ca.pem(), requestCert: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const impostor = new Impostor(server, envOf(ca.folder('client', 'client')));
    t.teardown(async () => {
      for (const socket of impostor.#sockets) socket.destroy();
      server.close();
      await once(server, 'close');
      rmSync(dir, { recursive: true });
    });
    return impostor;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async provider(t: Test, authority = `127.0.0.1:${this.port}`): Promise<KeyProvider> {
    const provider = await openProvider(`kmip://${authority}/7`, { poolDir: '/', env: this.env });
    t.teardown(() => provider.close());
    return provider;
  }
}

function askedBy(socket: TLSSocket, message: Buffer): Asked {
  const decoded = decode(message);
  const parts = decoded.kind === 'item' && decoded.item.type === 'structure' ? decoded.item.value : [];
  const item = one(parts, TAG.batchItem, 'structure') ?? [];
  const mark = one(item, TAG.uniqueBatchItemId, 'bytes') ?? MARK;
  return {
    socket,
    operation: one(item, TAG.operation, 'enumeration') ?? 0,
    mark: (answer) => {
      const copy = Buffer.from(answer);
      const at = copy.indexOf(MARK);
      if (at >= 0) mark.copy(copy, at);
      return copy;
    },
  };
}

const say =
  (...messages: Buffer[]): Manner =>
  ({ socket, mark }) =>
    void socket.write(Buffer.concat(messages.map(mark)));

/** Says what `reply` makes of the operation that is asked for. */
const serve =
  (reply: (operation: number) => Buffer): Manner =>
  ({ socket, operation, mark }) =>
    void socket.write(mark(reply(operation)));

/** The answers of a server with the active key 7, but for the operation `but`. */
const serverBut = (but: Operation, reply: Buffer): Manner =>
  serve((operation) => {
    if (operation === but) return reply;
    return operation === OPERATION.encrypt ? sealed(64) : ACTIVE;
  });

const sealed = (size: number, tag = 16): Buffer =>
  succeed(
    OPERATION.encrypt,
    UID,
    bytes(TAG.data, Buffer.alloc(size, 1)),
    bytes(TAG.authenticationTag, Buffer.alloc(tag, 2)),
  );

const opened = (size: number, uid = UID): Buffer =>
  succeed(OPERATION.decrypt, uid, bytes(TAG.data, Buffer.alloc(size, 3)));

const nested = (depth: number): Item =>
  depth === 0 ? UID : structure(TAG.responsePayload, nested(depth - 1));

const many = Array.from({ length: 300 }, () => integer(TAG.batchCount, 1));

const DESCRIBE: [string, Manner, string][] = [
  ['an end at once', ({ socket }) => void socket.destroy(), 'KMS_CONNECTION'],
  ['half a reply', ({ socket }) => void socket.end(ACTIVE.subarray(0, 100)), 'KMS_CONNECTION'],
  ['HTTP', say(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')), 'KMS_BAD_REPLY'],
  ['a head that promises 4 GiB', say(Buffer.from('42007b01ffffffff', 'hex')), 'KMS_BAD_REPLY'],
  ['a reply as long as it likes', ({ socket }) => flood(socket), 'KMS_BAD_REPLY'],
  ['the answer to another question', ({ socket }) => void socket.write(ACTIVE), 'KMS_BAD_REPLY'],
  ['two replies', say(ACTIVE, ACTIVE), 'KMS_BAD_REPLY'],
  ['an answer to something else', say(opened(64)), 'KMS_BAD_REPLY'],
  ['another key', say(described(2, text(TAG.uniqueIdentifier, '8'))), 'KMS_BAD_REPLY'],
  ['an identifier of another type', say(described(2, integer(TAG.uniqueIdentifier, 7))), 'KMS_BAD_REPLY'],
  ['a state that is none', say(described(9)), 'KMS_BAD_REPLY'],
  ['no results', say(written(structure(TAG.responseMessage, header))), 'KMS_BAD_REPLY'],
  ['a request', say(Buffer.from(request(question(OPERATION.decrypt), [UID]))), 'KMS_BAD_REPLY'],
  ['a failure without a reason', say(respond(enumeration(TAG.resultStatus, 1))), 'KMS_BAD_REPLY'],
  ['a promise to answer later', say(respond(enumeration(TAG.resultStatus, 2))), 'KMS_BAD_REPLY'],
  ['deep nesting', say(succeed(OPERATION.getAttributes, nested(500))), 'KMS_BAD_REPLY'],
  ['many items', say(succeed(OPERATION.getAttributes, UID, ...many)), 'KMS_BAD_REPLY'],
  ['a key that is destroyed', say(described(5)), 'KMS_KEY_NOT_FOUND'],
  ['no such item', say(refuse(0x01)), 'KMS_KEY_NOT_FOUND'],
  ['who are you', say(refuse(0x03)), 'KMS_ACCESS_DENIED'],
  ['no key material', say(refuse(0x13)), 'KMS_KEY_PENDING_IMPORT'],
  ['slow down', say(refuse(0x3a)), 'KMS_THROTTLED'],
  ['a failure of its own', say(refuse(0x100)), 'KMS_SERVER_ERROR'],
  ['a reason that nobody knows', say(refuse(0x7fff_ffff)), 'KMS_SERVER_ERROR'],
];

function flood(socket: TLSSocket): void {
  const part = Buffer.alloc(REPLY_MAX_BYTES);
  part.writeUInt32BE(0x42007b01);
  part.writeUInt32BE(REPLY_MAX_BYTES - 8, 4);
  socket.write(part);
  socket.write(part);
}

t.test('what a server may send ends in the right failure', async (t) => {
  const server = await Impostor.start(t);
  const provider = await server.provider(t);
  for (const [title, manner, code] of DESCRIBE) {
    server.manner = manner;
    await rejectsWith(t, provider.describeKey(undefined, PATIENT), code, title);
  }
  server.manner = say(ACTIVE);
  t.equal(
    (await provider.describeKey(undefined, PATIENT)).state,
    'enabled',
    'and it works after all of them',
  );
});

t.test('a name or a server that is none cannot be reached', async (t) => {
  const server = await Impostor.start(t);
  const plain = createTcpServer((socket) => void socket.end('220 smtp ready\r\n')).listen(0, '127.0.0.1');
  t.teardown(() => plain.close());
  await once(plain, 'listening');
  const { port } = plain.address() as AddressInfo;
  const codes: [string, string[]][] = [
    [`127.0.0.1:${port}`, ['KMS_CONNECTION']],
    // A resolver that is away itself may take longer than we do.
    ['kms.invalid', ['KMS_CONNECTION', 'KMS_TIMEOUT']],
  ];
  for (const [authority, expected] of codes) {
    const provider = await server.provider(t, authority);
    const failure = await provider.describeKey(undefined, { timeoutMs: 2000 }).catch((error) => error);
    t.ok(expected.includes(failure.code), `${authority}: ${failure.code}`);
  }
});

t.test('a wrapping or a key of a wrong shape is no answer', async (t) => {
  const server = await Impostor.start(t);
  const provider = await server.provider(t);
  server.manner = serverBut(OPERATION.encrypt, sealed(64));
  const { wrapped } = await provider.generateDataKey(64, CONTEXT, PATIENT);
  for (const [size, tag] of [
    [63, 16],
    [64, 12],
    [0, 16],
  ] as const) {
    server.manner = serverBut(OPERATION.encrypt, sealed(size, tag));
    await rejectsWith(t, provider.generateDataKey(64, CONTEXT, PATIENT), 'KMS_BAD_REPLY', `${size}, ${tag}`);
  }
  const decrypt = (reply: Buffer) => {
    server.manner = serverBut(OPERATION.decrypt, reply);
    return provider.unwrap(wrapped, CONTEXT, PATIENT);
  };
  for (const size of [0, 63, 65, 4096])
    await rejectsWith(t, decrypt(opened(size)), 'KMS_BAD_REPLY', `${size}`);
  await rejectsWith(t, decrypt(opened(64, text(TAG.uniqueIdentifier, '8'))), 'KMS_BAD_REPLY', 'another key');
  await rejectsWith(t, decrypt(refuse(0x0a)), 'KMS_INVALID_CIPHERTEXT');
  await rejectsWith(t, decrypt(refuse(0x0c)), 'KMS_ACCESS_DENIED', 'its key is active, and yet');
  server.manner = serve((operation) => (operation === OPERATION.getAttributes ? ACTIVE : refuse(0x100)));
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, PATIENT), 'KMS_SERVER_ERROR', 'it opens nothing');
  t.equal((await decrypt(opened(64))).length, 64);
});

t.test('a key that was revoked opens nothing, even where the server would', async (t) => {
  const server = await Impostor.start(t);
  const provider = await server.provider(t);
  server.manner = serverBut(OPERATION.encrypt, sealed(64));
  const { wrapped } = await provider.generateDataKey(64, CONTEXT, PATIENT);
  server.manner = serve((operation) => (operation === OPERATION.decrypt ? opened(64) : described(3)));
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, PATIENT), 'KMS_KEY_DISABLED');
});

t.test('a server that is silent or dribbles is given up at the deadline, its answer too', async (t) => {
  const server = await Impostor.start(t);
  const provider = await server.provider(t);
  let late: Asked | undefined;
  server.manner = (asked) => {
    late = asked;
  };
  await rejectsWith(t, provider.describeKey(undefined, HASTY), 'KMS_TIMEOUT');
  server.manner = ({ socket, mark }) => {
    late?.socket.write(ACTIVE);
    socket.write(mark(described(3)));
  };
  t.equal((await provider.describeKey(undefined, PATIENT)).state, 'disabled', 'the answer to this one');
  server.manner = ({ socket }) => {
    socket.write(ACTIVE.subarray(0, 8));
    const timer = setInterval(() => socket.write(Buffer.alloc(1)), 20);
    socket.on('close', () => clearInterval(timer));
  };
  await rejectsWith(t, provider.describeKey(undefined, HASTY), 'KMS_TIMEOUT');
});

t.test('one connection is kept, and another opened when its server ends it or speaks unasked', async (t) => {
  const server = await Impostor.start(t);
  const provider = await server.provider(t);
  const ask = () => provider.describeKey(undefined, PATIENT);
  let last: TLSSocket | undefined;
  server.manner = ({ socket, mark }) => {
    last = socket;
    // Byte by byte, and yet whole.
    for (const byte of mark(ACTIVE)) socket.write(Buffer.from([byte]));
  };
  await ask();
  await Promise.all([ask(), ask(), ask()]);
  t.equal(server.connections, 1);
  last?.destroy();
  await ask();
  t.equal(server.connections, 2);
  last?.write(described(3));
  await once(last as TLSSocket, 'close');
  t.equal((await ask()).state, 'enabled', 'what it said unasked is no answer');
  t.equal(server.connections, 3);
});

t.test(`damaged replies are read or refused, never more (SEED=${SEED})`, async (t) => {
  const random = new Random(SEED);
  const replies = [ACTIVE, opened(64), sealed(64), refuse(1), written(nested(7))];
  const kinds = new Map<string, number>();
  for (let run = 0; run < RUNS; run += 1) {
    const damaged = damage(Buffer.from(random.pick(replies)), random);
    const reply = readReply(damaged, { operation: random.pick(Object.values(OPERATION)), mark: MARK });
    kinds.set(reply.kind, (kinds.get(reply.kind) ?? 0) + 1);
    const decoded = decode(damaged);
    if (decoded.kind === 'item' && !written(decoded.item).equals(damaged)) {
      t.fail(`run ${run}: more than one spelling`);
    }
  }
  t.comment(JSON.stringify([...kinds]));
  t.ok((kinds.get('done') ?? 0) > 0 && (kinds.get('bad') ?? 0) > RUNS / 2);
});

/** Some bytes changed, and now and then a part cut out, doubled or put in. */
function damage(message: Buffer, random: Random): Buffer {
  for (let n = random.below(4); n > 0; n -= 1) message[random.below(message.length)] = random.next();
  if (random.chance(0.7)) return message;
  const [from, to] = [random.below(message.length), random.below(message.length)].sort((a, b) => a - b);
  const part = message.subarray(from, to);
  return random.chance(0.5)
    ? Buffer.concat([message.subarray(0, from), message.subarray(to)])
    : Buffer.concat([message.subarray(0, to), part, message.subarray(to)]);
}
