/**
 * The suite that every provider passes whose KMS is asked over HTTP: what networks, proxies and impostors do ends in the
 * right code of the closed set, within the call's deadline, and nothing of a reply or a credential is in the error.
 *
 * A provider's own test calls it with a rig that says where its KMS is, and words its KMS's errors.
 */

import { inspect } from 'node:util';
import type { Test } from 'tap';
import type { Code, SealdiskError } from '#sealdisk/errors.js';
import type { KeyProvider, WrappedKey } from '#sealdisk/kms/provider.js';
import {
  type Certificate,
  dribble,
  FaultyServer,
  flood,
  hangUp,
  html,
  type Manner,
  makeAuthority,
  type Reply,
  raw,
  reply,
  SECRET,
  silence,
} from './faulty-server.js';
import { tempPool } from './pool.js';

export interface FailureRig {
  /**
   * A provider whose KMS is at `origin` (`http://127.0.0.1:PORT` or https), with credentials at hand, and with the CA of
   * `caFile`, where there is one, trusted beside or instead of the usual ones.
   */
  open(origin: string, caFile?: string): Promise<KeyProvider>;
  /** A wrapped key as its KMS makes them, of the key that `open` names. */
  readonly wrapped: WrappedKey;
  /** The credentials that `open` uses. */
  readonly secrets: readonly string[];
  /** What its KMS says in failures of its own, to every request: throttled, denied, disabled, expired credentials... */
  readonly replies: readonly (readonly [title: string, reply: Reply, code: Code])[];
  /** Replies to every request that look like its KMS's and hold a wrong thing: no key, a key of a wrong type or size. */
  readonly wrongShapes: readonly (readonly [title: string, body: string])[];
}

const CONTEXT = { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01' };
/** Long enough for what answers, whatever else the machine does. */
const PATIENT_MS = 20_000;
/** For what never answers. */
const HASTY_MS = 250;
const ANY_OF_TIME: readonly Code[] = ['KMS_TIMEOUT', 'KMS_BAD_REPLY'];

const JSON_OK = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';

/** What any server may do, and the codes that say so. */
const MANNERS: readonly (readonly [title: string, Manner, codes: readonly Code[], timeoutMs?: number])[] = [
  ...[500, 502, 503, 504].flatMap(
    (status) =>
      [
        [`an HTML page with ${status}`, html(status), ['KMS_SERVER_ERROR', 'KMS_BAD_REPLY']],
        [`an empty ${status}`, reply({ status, body: '' }), ['KMS_SERVER_ERROR', 'KMS_BAD_REPLY']],
      ] as const,
  ),
  ['an HTML page with 429', html(429), ['KMS_THROTTLED']],
  // A proxy, a login page, a web server without a KMS: nobody decided anything about the key.
  ...[200, 400, 401, 403, 404, 407].map(
    (status) => [`an HTML page with ${status}`, html(status), ['KMS_BAD_REPLY']] as const,
  ),
  ...['', '{', `{"a":"${SECRET}`, 'null', '[]', '{}', `"${SECRET}"`, '17', `{"x":{"${SECRET}":1}}`].flatMap(
    (body) =>
      [200, 404].map(
        (status) =>
          [`${status} and ${body || 'nothing'}`, reply({ status, body }), ['KMS_BAD_REPLY']] as const,
      ),
  ),
  ['a connection that is closed at once', hangUp, ['KMS_CONNECTION']],
  ['a reply that is cut', raw(`${JSON_OK}content-length: 99\r\n\r\n{"a":"${SECRET}`), ['KMS_CONNECTION']],
  ['what is no HTTP', raw(`SSH-2.0-${SECRET}\r\n\r\n`), ['KMS_BAD_REPLY', 'KMS_CONNECTION']],
  ['no answer', silence, ['KMS_TIMEOUT'], HASTY_MS],
  ['a status line that comes byte by byte', dribble('HTTP/1.1 200 '), ['KMS_TIMEOUT'], HASTY_MS],
  ['headers that come byte by byte', dribble('HTTP/1.1 200 OK\r\nx-a: '), ['KMS_TIMEOUT'], HASTY_MS],
  ['a body that comes byte by byte', dribble(`${JSON_OK}\r\n{"a":"${SECRET}`), ANY_OF_TIME, HASTY_MS],
  ['a reply without an end', flood, ANY_OF_TIME, 2 * HASTY_MS],
];

export function failureContract(t: Test, rig: FailureRig): void {
  t.test('what a server can do ends in the right failure', async (t) => {
    const server = await FaultyServer.start(t);
    for (const [title, manner, codes, timeoutMs] of MANNERS) {
      server.manner = manner;
      await expectFailure(t, rig, server.origin, title, codes, timeoutMs);
    }
  });

  t.test('what its KMS says ends in the right failure', async (t) => {
    const server = await FaultyServer.start(t);
    for (const [title, said, code] of rig.replies) {
      server.manner = reply(said);
      await expectFailure(t, rig, server.origin, title, [code]);
    }
    for (const [title, body] of rig.wrongShapes) {
      server.manner = reply({ status: 200, body });
      await expectFailure(t, rig, server.origin, title, ['KMS_BAD_REPLY']);
    }
  });

  t.test('is not sent elsewhere', async (t) => {
    const server = await FaultyServer.start(t);
    const elsewhere = await FaultyServer.start(t);
    elsewhere.manner = reply({ status: 200, body: '{}' });
    for (const status of [301, 302, 303, 307, 308]) {
      const headers = { location: `${elsewhere.origin}/` };
      server.manner = reply({ status, body: '{}', headers });
      await expectFailure(t, rig, server.origin, `${status}`, ['KMS_BAD_REPLY']);
    }
    t.equal(elsewhere.requests, 0, 'nobody came there');
  });

  t.test('a port or a name where nobody is cannot be reached', async (t) => {
    const gone = await FaultyServer.start(t);
    const { origin } = gone;
    await gone.stop();
    await expectFailure(t, rig, origin, 'a port that nobody listens on', ['KMS_CONNECTION']);
    // A resolver that is away itself may take longer than we do.
    const codes: Code[] = ['KMS_CONNECTION', 'KMS_TIMEOUT'];
    await expectFailure(t, rig, 'https://kms.invalid:8200', 'a name that does not exist', codes, 2000);
  });

  t.test('a KMS that does not prove who it is cannot be reached', async (t) => {
    const { caFile, good, expired } = makeAuthority(await tempPool(t));
    const refused = async (title: string, certificate: Certificate, ca?: string): Promise<void> => {
      const server = await FaultyServer.start(t, certificate);
      await expectFailure(t, rig, server.origin, title, ['KMS_CONNECTION'], PATIENT_MS, ca);
      t.equal(server.requests, 0, `${title}: it is told nothing`);
    };
    await refused('a CA that nobody knows', good);
    await refused('a certificate that has expired', expired, caFile);
    const plain = await FaultyServer.start(t);
    const https = plain.origin.replace('http:', 'https:');
    await expectFailure(t, rig, https, 'a server without TLS', ['KMS_CONNECTION'], PATIENT_MS, caFile);
    const trusted = await FaultyServer.start(t, good);
    trusted.manner = html(200);
    const codes: Code[] = ['KMS_BAD_REPLY'];
    await expectFailure(
      t,
      rig,
      trusted.origin,
      'a CA that is trusted, but no KMS',
      codes,
      PATIENT_MS,
      caFile,
    );
  });
}

/** Every call of a provider at `origin` ends in one of `codes`, in time, and tells no secret. */
async function expectFailure(
  t: Test,
  rig: FailureRig,
  origin: string,
  title: string,
  codes: readonly Code[],
  timeoutMs = PATIENT_MS,
  caFile?: string,
): Promise<void> {
  const provider = await rig.open(origin, caFile);
  try {
    const begunMs = performance.now();
    const outcomes = await Promise.allSettled([
      provider.unwrap(rig.wrapped, CONTEXT, { timeoutMs }),
      provider.describeKey(rig.wrapped.keyId, { timeoutMs }),
      provider.generateDataKey(64, CONTEXT, { timeoutMs }),
    ]);
    for (const [i, outcome] of outcomes.entries()) {
      const failure = outcome.status === 'rejected' ? (outcome.reason as SealdiskError) : undefined;
      const what = `${title}: ${['unwrap', 'describeKey', 'generateDataKey'][i]}`;
      t.ok(failure && codes.includes(failure.code), `${what} fails with ${codes}, found ${failure?.code}`);
      const shown = `${inspect(failure, { depth: 20 })}${JSON.stringify(failure)}`;
      for (const secret of [SECRET, ...rig.secrets]) {
        t.notOk(shown.includes(secret), `${what} tells no secret`);
      }
    }
    t.ok(performance.now() - begunMs < timeoutMs + 10_000, `${title}: in time`);
  } finally {
    await provider.close();
  }
}
