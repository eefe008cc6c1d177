/**
 * The suite that every key provider passes: the contract of src/kms/provider.ts as tests. A provider's own test file
 * calls it with a rig, then adds its quirks.
 */

import type { Test } from 'tap';
import type { SealdiskError } from '#sealdisk/errors.js';
import { canRewrap, canWatch, canWrap, type KeyProvider, type WrappedKey } from '#sealdisk/kms/provider.js';
import { until } from './pool.js';

/** A provider over a KMS of its own, with one enabled key, and a hand on that KMS. */
export interface Rig {
  readonly provider: KeyProvider;
  /** A second provider of the same key, as another process would have. */
  readonly other: KeyProvider;
  /** Left out where the KMS has no such state. */
  disable?(): Promise<unknown>;
  enable?(): Promise<unknown>;
  /** Left out where the KMS has no such state. */
  scheduleDeletion?(): Promise<unknown>;
  cancelDeletion?(): Promise<unknown>;
  /** Makes the KMS silent until the returned function is called; left out where nothing can. */
  stall?(): Promise<() => Promise<void>>;
  /** True where the KMS tells another context from an altered ciphertext. */
  readonly tellsContext: boolean;
  /** True where each call starts a process: fewer bytes are altered then. */
  readonly costly?: boolean;
  stop(): Promise<void>;
}

const SOON = { timeoutMs: 10_000 };
const CONTEXT = { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b01' };
const CONTRACT_GROUPS = ['revoked', 'unreachable', 'wrong'];

export function providerContract(t: Test, startRig: (t: Test) => Promise<Rig>): void {
  const withRig = (title: string, body: (t: Test, rig: Rig) => Promise<void>): void => {
    t.test(title, async (t) => {
      const rig = await startRig(t);
      t.teardown(() => rig.stop());
      await body(t, rig);
    });
  };

  withRig('unwraps what it generated', async (t, { provider, other }) => {
    for (const sizeBytes of [1, 32, 64]) {
      const { plaintext, wrapped } = await provider.generateDataKey(sizeBytes, CONTEXT, SOON);
      t.equal(plaintext.length, sizeBytes);
      t.ok(plaintext.equals(await provider.unwrap(wrapped, CONTEXT, SOON)));
      t.ok(plaintext.equals(await other.unwrap(wrapped, CONTEXT, SOON)), 'also for another process');
      t.equal(Buffer.from(wrapped.ciphertext).includes(plaintext) && sizeBytes > 1, false);
    }
  });

  withRig('never gives out the same data key or ciphertext twice', async (t, { provider }) => {
    const a = await provider.generateDataKey(64, CONTEXT, SOON);
    const b = await provider.generateDataKey(64, CONTEXT, SOON);
    t.notOk(a.plaintext.equals(b.plaintext));
    t.notOk(Buffer.from(a.wrapped.ciphertext).equals(b.wrapped.ciphertext));
  });

  withRig('gives out plaintext in secure memory only', async (t, { provider }) => {
    const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
    for (const secret of [plaintext, await provider.unwrap(wrapped, CONTEXT, SOON)]) {
      t.equal((secret as { secure?: boolean }).secure, true);
      t.equal(secret.buffer.byteLength, secret.length, 'memory of its own, no slice of a pool');
    }
  });

  withRig('names the key by the same immutable id everywhere', async (t, { provider, other }) => {
    const { wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
    t.equal((await provider.describeKey(undefined, SOON)).keyId, wrapped.keyId);
    t.equal((await other.describeKey(wrapped.keyId, SOON)).keyId, wrapped.keyId);
    t.equal(provider.keyUri, other.keyUri);
  });

  withRig('refuses every other encryption context', async (t, rig) => {
    const { wrapped } = await rig.provider.generateDataKey(64, CONTEXT, SOON);
    const code = rig.tellsContext ? 'KMS_WRONG_CONTEXT' : 'KMS_INVALID_CIPHERTEXT';
    const others = [
      {},
      { 'sealdisk:disk': '6f9a8b5e-0c3e-4a52-9c50-3b1f0d3f9b02' },
      { 'sealdisk:disk ': CONTEXT['sealdisk:disk'] },
      { ...CONTEXT, more: '' },
    ];
    for (const context of others) {
      await rejectsWith(t, rig.provider.unwrap(wrapped, context, SOON), code);
    }
  });

  withRig('ignores the order of the pairs of a context', async (t, { provider }) => {
    const { plaintext, wrapped } = await provider.generateDataKey(32, { a: '1', b: '2' }, SOON);
    t.ok(plaintext.equals(await provider.unwrap(wrapped, { b: '2', a: '1' }, SOON)));
  });

  withRig(
    'refuses a ciphertext with any byte altered, cut short, or that is none',
    async (t, { provider, costly }) => {
      const { wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
      const whole = Buffer.from(wrapped.ciphertext);
      const step = Math.max(1, Math.floor(whole.length / (costly ? 8 : 40)));
      for (let at = 0; at < whole.length; at += step) {
        const altered = Buffer.from(whole);
        altered[at] = (altered[at] as number) ^ 0x01;
        await rejectsInvalid(t, provider, { ...wrapped, ciphertext: altered }, `byte ${at}`);
      }
      for (const ciphertext of [
        whole.subarray(0, -1),
        whole.subarray(0, 8),
        Buffer.alloc(0),
        Buffer.alloc(200, 7),
      ]) {
        await rejectsInvalid(t, provider, { ...wrapped, ciphertext }, `${ciphertext.length} bytes`);
      }
    },
  );

  withRig('refuses a disabled key, says its state, and serves it again when enabled', async (t, rig) => {
    if (!rig.disable || !rig.enable) return void t.pass('its KMS has no such state');
    const { provider, other } = rig;
    const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
    await rig.disable();
    for (const each of [provider, other]) {
      t.equal((await each.describeKey(wrapped.keyId, SOON)).state, 'disabled');
      await rejectsWith(t, each.unwrap(wrapped, CONTEXT, SOON), 'KMS_KEY_DISABLED');
      await rejectsWith(t, each.generateDataKey(64, CONTEXT, SOON), 'KMS_KEY_DISABLED');
    }
    await rig.enable();
    t.equal((await other.describeKey(wrapped.keyId, SOON)).state, 'enabled');
    t.ok(plaintext.equals(await other.unwrap(wrapped, CONTEXT, SOON)));
  });

  withRig('refuses a key pending deletion, and serves it again when that was cancelled', async (t, rig) => {
    if (!rig.scheduleDeletion || !rig.cancelDeletion) return void t.pass('its KMS has no such state');
    const { provider } = rig;
    const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
    await rig.scheduleDeletion();
    t.equal((await provider.describeKey(wrapped.keyId, SOON)).state, 'pendingDeletion');
    await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, SOON), 'KMS_KEY_PENDING_DELETION');
    await rejectsWith(t, provider.generateDataKey(64, CONTEXT, SOON), 'KMS_KEY_PENDING_DELETION');
    await rig.cancelDeletion();
    await rig.enable?.();
    t.ok(plaintext.equals(await provider.unwrap(wrapped, CONTEXT, SOON)));
  });

  withRig('ends each call at its deadline with KMS_TIMEOUT', async (t, rig) => {
    const { provider } = rig;
    const { wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
    const goOn = await rig.stall?.();
    const timeoutMs = goOn ? 100 : 0;
    const begunMs = performance.now();
    await rejectsWith(t, provider.generateDataKey(64, CONTEXT, { timeoutMs }), 'KMS_TIMEOUT');
    await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, { timeoutMs }), 'KMS_TIMEOUT');
    await rejectsWith(t, provider.describeKey(wrapped.keyId, { timeoutMs }), 'KMS_TIMEOUT');
    t.ok(performance.now() - begunMs < 5000, 'in time');
    await goOn?.();
    t.equal((await provider.unwrap(wrapped, CONTEXT, SOON)).length, 64, 'and works after it');
  });

  withRig('says of a key id that its KMS does not have that it does not exist', async (t, { provider }) => {
    await provider.generateDataKey(64, CONTEXT, SOON);
    const unknown = '00000000-0000-4000-8000-000000000000';
    await rejectsWith(t, provider.describeKey(unknown, SOON), 'KMS_KEY_NOT_FOUND');
  });

  withRig('tells its watchers of a change, until they close', async (t, rig) => {
    const { provider } = rig;
    if (!canWatch(provider)) return void t.pass('its KMS cannot');
    const { keyId } = await provider.describeKey(undefined, SOON);
    let changes = 0;
    const watched = provider.watch(keyId, () => {
      changes += 1;
    });
    await (rig.disable ?? rig.scheduleDeletion)?.();
    await until('a change is told', () => changes > 0);
    watched.close();
    watched.close();
  });

  withRig('rewraps without changing what is wrapped', async (t, { provider }) => {
    if (!canRewrap(provider)) return void t.pass('its KMS cannot');
    const { plaintext, wrapped } = await provider.generateDataKey(64, CONTEXT, SOON);
    const again = await provider.rewrap(wrapped, CONTEXT, SOON);
    t.notOk(Buffer.from(again.ciphertext).equals(wrapped.ciphertext));
    t.ok(plaintext.equals(await provider.unwrap(again, CONTEXT, SOON)));
  });

  withRig('wraps what is brought to it as it wraps what it makes', async (t, rig) => {
    const { provider, other } = rig;
    if (!canWrap(provider)) return void t.pass('its KMS cannot');
    const { plaintext } = await provider.generateDataKey(64, CONTEXT, SOON);
    const wrapped = await provider.wrap(plaintext, CONTEXT, SOON);
    t.ok(plaintext.equals(await other.unwrap(wrapped, CONTEXT, SOON)), 'and leaves the plaintext alone');
    const code = rig.tellsContext ? 'KMS_WRONG_CONTEXT' : 'KMS_INVALID_CIPHERTEXT';
    await rejectsWith(t, other.unwrap(wrapped, {}, SOON), code);
  });

  withRig('closes twice', async (_t, { provider }) => {
    await provider.close();
    await provider.close();
  });
}

/** Fails with `code`, which is of a group that the contract knows. */
export async function rejectsWith(t: Test, work: Promise<unknown>, code: string, what = code): Promise<void> {
  const failure = await work.then(
    () => undefined,
    (error: unknown) => error as SealdiskError,
  );
  t.equal(failure?.code, code, what);
  t.ok(failure && CONTRACT_GROUPS.includes(failure.group), `${code} is of the contract`);
}

async function rejectsInvalid(
  t: Test,
  provider: KeyProvider,
  wrapped: WrappedKey,
  what: string,
): Promise<void> {
  await rejectsWith(t, provider.unwrap(wrapped, CONTEXT, SOON), 'KMS_INVALID_CIPHERTEXT', what);
}
