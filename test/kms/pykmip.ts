/**
 * Debian's PyKMIP server with a folder of a test's own, and an administrator who speaks KMIP to it by PyKMIP's client.
 *
 * KMIP has no way back from Revoke. Here the server's database gets the old state back, as from a backup.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { GnutlsCa } from '../interop/tls-rig.js';

const DEADLINE_MS = 60_000;

export interface NewKey {
  readonly name?: string;
  readonly algorithm?: 'AES' | 'TRIPLE_DES';
  readonly bits?: number;
  readonly active?: boolean;
}

export class PyKmip {
  readonly #children: ChildProcess[] = [];
  #answers: AsyncIterator<string> | undefined;
  #admin: ChildProcess | undefined;
  port = 0;

  private constructor(
    readonly dir: string,
    readonly ca: GnutlsCa,
    private readonly serverFolder: string,
    private readonly clientFolder: string,
  ) {}

  static async start(dir: string): Promise<PyKmip> {
    const ca = new GnutlsCa(join(dir, 'ca'));
    const kmip = new PyKmip(dir, ca, ca.folder('server', 'server'), ca.folder('sealdisk', 'client'));
    kmip.port = await freePort();
    mkdirSync(join(dir, 'policy'));
    kmip.resume();
    kmip.#startAdmin();
    await kmip.#listening();
    return kmip;
  }

  /** Settings of a machine that is a client of this server. */
  get env(): NodeJS.ProcessEnv {
    return envOf(this.clientFolder);
  }

  create(key: NewKey = {}): Promise<string> {
    const { name = null, algorithm = 'AES', bits = 256, active = true } = key;
    return this.#order({ verb: 'create', name, algorithm, bits, active });
  }

  activate = (uid: string) => this.#order({ verb: 'activate', uid });
  revoke = (uid: string) => this.#order({ verb: 'revoke', uid });
  destroy = (uid: string) => this.#order({ verb: 'destroy', uid });
  /** Gives the name of one key to another, as Re-Key does. */
  moveName = (from: string, to: string) => this.#order({ verb: 'moveName', from, to });
  putBack = (uid: string) => this.#order({ verb: 'putBack', uid });

  /** Ends the server at once; `resume` starts it with the same keys. */
  async kill(): Promise<void> {
    const server = this.#children.shift() as ChildProcess;
    await killGroup(server);
  }

  resume(): void {
    const at = (name: string): string => join(this.dir, name);
    const settings = {
      hostname: '127.0.0.1',
      port: this.port,
      certificate_path: join(this.serverFolder, 'server-cert.pem'),
      key_path: join(this.serverFolder, 'server-key.pem'),
      ca_path: join(this.serverFolder, 'ca-cert.pem'),
      auth_suite: 'TLS1.2',
      policy_path: at('policy'),
      enable_tls_client_auth: 'True',
      database_path: at('database'),
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
    writeFileSync(at('server.conf'), `[server]\n${lines.join('\n')}\n`);
    const words = ['-W', 'ignore', '/usr/bin/pykmip-server', '-f', at('server.conf'), '-l', at('log')];
    this.#children.unshift(spawn('/usr/bin/python3', words, { detached: true, stdio: 'ignore' }));
  }

  /** SIGSTOP: whoever asks it waits, until the returned function is called. */
  stall(): () => Promise<void> {
    const group = -(this.#children[0]?.pid as number);
    process.kill(group, 'SIGSTOP');
    return async () => void process.kill(group, 'SIGCONT');
  }

  async stop(): Promise<void> {
    await Promise.all(this.#children.map(killGroup));
  }

  async #listening(): Promise<void> {
    const endMs = performance.now() + DEADLINE_MS;
    while (!(await answers(this.port))) {
      if (performance.now() > endMs) throw new Error('pykmip-server does not listen');
      await new Promise((again) => setTimeout(again, 20));
    }
  }

  #startAdmin(): void {
    const at = (file: string): string => join(this.clientFolder, file);
    const words = [String(this.port), at('client-cert.pem'), at('client-key.pem'), at('ca-cert.pem')];
    const admin = spawn(
      '/usr/bin/python3',
      ['-W', 'ignore', '-c', ADMIN, ...words, join(this.dir, 'database')],
      {
        detached: true,
        stdio: ['pipe', 'pipe', 'ignore'],
      },
    );
    this.#answers = createInterface({ input: admin.stdout })[Symbol.asyncIterator]();
    this.#admin = admin;
    this.#children.push(admin);
  }

  async #order(order: object): Promise<string> {
    this.#admin?.stdin?.write(`${JSON.stringify(order)}\n`);
    const { value } = (await this.#answers?.next()) ?? {};
    const { done, failed } = JSON.parse(value ?? '{"failed":"it ended"}');
    if (failed !== undefined) throw new Error(`pykmip: ${failed}`);
    return done;
  }
}

/** The settings that name the files of a folder of GnutlsCa. */
export const envOf = (folder: string): NodeJS.ProcessEnv => ({
  SEALDISK_KMIP_CA: join(folder, 'ca-cert.pem'),
  SEALDISK_KMIP_CERT: join(folder, 'client-cert.pem'),
  SEALDISK_KMIP_KEY: join(folder, 'client-key.pem'),
});

/** PyKMIP forks a manager and a monitor, which outlive it. */
async function killGroup(child: ChildProcess): Promise<void> {
  const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
  try {
    process.kill(-(child.pid as number), 'SIGKILL');
  } catch {
    // All of them have ended.
  }
  await ended;
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const ADMIN = `
import json, sqlite3, sys
from kmip import enums
from kmip.pie.client import ProxyKmipClient
_, port, cert, key, ca, database = sys.argv
client = ProxyKmipClient(hostname="127.0.0.1", port=int(port), cert=cert, key=key, ca=ca,
                         kmip_version=enums.KMIPVersion.KMIP_1_4)
uses = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
def sql(words, *values):
    base = sqlite3.connect(database)
    with base:
        base.execute(words, values)
    base.close()
def do(o):
    verb = o["verb"]
    if verb == "create":
        algorithm = enums.CryptographicAlgorithm[o["algorithm"]]
        uid = client.create(algorithm, o["bits"], name=o["name"], cryptographic_usage_mask=uses)
        if o["active"]:
            client.activate(uid)
        return uid
    if verb == "activate":
        client.activate(o["uid"])
    if verb == "revoke":
        client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, o["uid"])
    if verb == "destroy":
        client.destroy(o["uid"])
    if verb == "moveName":
        sql("UPDATE managed_object_names SET mo_uid = ? WHERE mo_uid = ?", o["to"], o["from"])
    if verb == "putBack":
        sql("UPDATE crypto_objects SET state = 2 WHERE uid = ?", o["uid"])
    return ""
opened = False
for line in sys.stdin:
    try:
        if not opened:
            client.open()
            opened = True
        print(json.dumps({"done": do(json.loads(line))}), flush=True)
    except Exception as e:
        print(json.dumps({"failed": str(e)}), flush=True)
`;
