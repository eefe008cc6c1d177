#!/usr/bin/env node
// How many attach-time decrypts a second `sealdisk kms serve` answers, and how fast: kms-face.mjs [SECONDS [CONNECTIONS]].
// A pool of its own, one key, one access key, as many connections as asked for, each with the next request as soon as the
// last is answered; every request is signed anew (SigV4) and every reply is checked. Client and server share the machine.
import { execFileSync, spawn } from 'node:child_process';
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const [seconds = 5, connections = 64] = process.argv.slice(2).map(Number);
const main = fileURLToPath(new URL('../../dist/bin/sealdisk.cjs', import.meta.url));
const pool = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'sealdisk-face-'));
const env = { ...process.env, SEALDISK_POOL: pool };
const json = (...words) => JSON.parse(execFileSync(process.execPath, [main, ...words, '--json'], { env }));

const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const hmac = (key, text) => createHmac('sha256', key).update(text).digest();
const REGION = 'us-east-1';

function signer({ accessKeyId, accessKeySecret }, host) {
  let day = '';
  let key;
  return (target, body) => {
    const amzDate = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
    const scope = `${amzDate.slice(0, 8)}/${REGION}/kms/aws4_request`;
    if (day !== scope) {
      key = [amzDate.slice(0, 8), REGION, 'kms', 'aws4_request'].reduce(hmac, `AWS4${accessKeySecret}`);
      day = scope;
    }
    const headers = {
      'amz-sdk-invocation-id': randomUUID(),
      'content-type': 'application/x-amz-json-1.1',
      host,
      'x-amz-date': amzDate,
      'x-amz-target': `TrentService.${target}`,
    };
    const names = Object.keys(headers).join(';');
    const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`);
    const canonical = `POST\n/\n\n${lines.join('')}\n${names}\n${sha256(body)}`;
    const signature = hmac(key, `AWS4-HMAC-SHA256\n${amzDate}\n${scope}\n${sha256(canonical)}`).toString(
      'hex',
    );
    const credential = `Credential=${accessKeyId}/${scope}`;
    headers.authorization = `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${names}, Signature=${signature}`;
    return headers;
  };
}

const accessKey = json('kms', 'access-key', 'create');
json('key', 'create', '--alias', 'bench');
const words = [
  'kms',
  'serve',
  '--listen',
  '127.0.0.1:0',
  '--rate-limit',
  '1000000',
  '--log-level',
  'error',
  '--json',
];
const server = spawn(process.execPath, [...(process.env.NODE_ARGS?.split(' ') ?? []), main, ...words], {
  env,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const [line] = await once(createInterface(server.stdout), 'line');
const { host, port } = new URL(JSON.parse(line).endpoint);
const agent = new Agent({ keepAlive: true, maxSockets: connections, maxFreeSockets: connections });
const sign = signer(accessKey, host);

function post(target, fields) {
  const body = JSON.stringify(fields);
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, agent, method: 'POST', headers: sign(target, body) };
    const sent = request(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => {
        text += part;
      });
      response.on('end', () =>
        response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(text)),
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const EncryptionContext = { 'sealdisk:disk': randomUUID() };
const made = await post('GenerateDataKey', { KeyId: 'alias/bench', NumberOfBytes: 64, EncryptionContext });
const decrypt = { CiphertextBlob: made.CiphertextBlob, EncryptionContext };

/** Processor time of the server so far; a clock tick of Linux is 10 ms. */
function serverCpuMs() {
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

async function load(forMs) {
  const times = [];
  const cpuAtMs = serverCpuMs();
  const begunMs = performance.now();
  const endMs = begunMs + forMs;
  const worker = async () => {
    while (performance.now() < endMs) {
      const atMs = performance.now();
      const { Plaintext } = await post('Decrypt', decrypt);
      if (Plaintext !== made.Plaintext) throw new Error('another plaintext');
      times.push(performance.now() - atMs);
    }
  };
  await Promise.all(Array.from({ length: connections }, worker));
  times.sort((a, b) => a - b);
  const at = (share) => Number(times[Math.floor((times.length - 1) * share)].toFixed(2));
  const perSecond = Math.round(times.length / ((performance.now() - begunMs) / 1000));
  const cpuUs = Math.round(((serverCpuMs() - cpuAtMs) * 1000) / times.length);
  return { connections, perSecond, cpuUsEach: cpuUs, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

try {
  await load(1500); // warm
  process.stdout.write(`${JSON.stringify(await load(seconds * 1000))}\n`);
} finally {
  agent.destroy();
  server.kill();
  await once(server, 'exit');
  rmSync(pool, { recursive: true, force: true });
}
