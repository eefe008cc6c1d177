/**
 * A SoftHSM token of a test's own: made by softhsm2-util, and its keys by another process, as an administrator would.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const MODULE_PATH = '/usr/lib/softhsm/libsofthsm2.so';
const PIN = '4711-pin';

export type Attributes = Readonly<Record<string, string | number | boolean>>;

export class SoftHsm {
  readonly pinFile: string;
  /** The folder that is the token. */
  readonly token: string;
  #admin: ChildProcess | undefined;
  #answers: AsyncIterator<string> | undefined;

  /** A token with this label in `dir`; the process's SOFTHSM2_CONF names it from now on. */
  constructor(
    readonly dir: string,
    readonly label: string,
  ) {
    const tokens = join(dir, 'tokens');
    this.pinFile = join(dir, 'pin');
    const conf = join(dir, 'softhsm2.conf');
    mkdirSync(tokens);
    writeFileSync(conf, `directories.tokendir = ${tokens}\nlog.level = ERROR\n`);
    writeFileSync(this.pinFile, `${PIN}\n`, { mode: 0o600 });
    process.env.SOFTHSM2_CONF = conf;
    const words = ['--init-token', '--free', '--label', label, '--pin', PIN, '--so-pin', '87654321'];
    execFileSync('softhsm2-util', words, { stdio: 'pipe' });
    this.token = join(tokens, readdirSync(tokens)[0] as string);
  }

  /** Settings of a machine that has this token. */
  get env(): NodeJS.ProcessEnv {
    return { SEALDISK_PKCS11_MODULE: MODULE_PATH, SEALDISK_PKCS11_PIN_FILE: this.pinFile };
  }

  /** Makes a key: AES of 256 bits, unless `attributes` say otherwise. */
  make(label: string, id: string, attributes: Attributes = {}): Promise<void> {
    return this.#order({ verb: 'make', label, id, attributes });
  }

  /** An AES key with these bytes. */
  import(label: string, id: string, key: Buffer): void {
    const file = join(this.dir, 'imported');
    writeFileSync(file, key);
    const words = [
      '--import',
      file,
      '--aes',
      '--token',
      this.label,
      '--label',
      label,
      '--id',
      id,
      '--pin',
      PIN,
    ];
    execFileSync('softhsm2-util', words, { stdio: 'pipe' });
  }

  /** Changes attributes of the key with this id. */
  change(id: string, attributes: Attributes): Promise<void> {
    return this.#order({ verb: 'change', id, attributes });
  }

  destroy(id: string): Promise<void> {
    return this.#order({ verb: 'destroy', id });
  }

  stop(): void {
    this.#admin?.kill('SIGKILL');
  }

  async #order(order: object): Promise<void> {
    const admin = this.#start();
    admin.stdin?.write(`${JSON.stringify(order)}\n`);
    const { value } = (await this.#answers?.next()) ?? {};
    if (value !== 'done') throw new Error(`softhsm: ${value}`);
  }

  #start(): ChildProcess {
    if (this.#admin) return this.#admin;
    const main = fileURLToPath(new URL('softhsm-admin.js', import.meta.url));
    const admin = spawn(process.execPath, [main, MODULE_PATH, this.label, PIN], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#answers = createInterface({ input: admin.stdout })[Symbol.asyncIterator]();
    this.#admin = admin;
    return admin;
  }
}
