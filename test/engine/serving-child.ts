/**
 * A process that serves a disk, for tests that look into its memory. Its parent alone knows the key: the bytes come from
 * a file straight into the buffer that the engine overwrites. Messages in: live, hang. Messages out: the gate's state.
 */

import { closeSync, openSync, readSync } from 'node:fs';
import { engine } from '#sealdisk/engine/engine.js';
import { connect, diskFile } from './rig.js';

const [dir = '', keyPath = ''] = process.argv.slice(2);
const disk = engine().openDisk(diskFile(dir));
const { client } = connect(disk);

function readKey() {
  const bytes = Buffer.allocUnsafeSlow(64);
  const fd = openSync(keyPath, 'r');
  readSync(fd, bytes, 0, 64, 0);
  closeSync(fd);
  return engine().takeDataKey(bytes);
}

async function act(message: unknown): Promise<void> {
  if (message === 'live') {
    const key = readKey();
    disk.goLive(key);
    key.wipe();
    for (let i = 0; i < 50; i++) {
      await client.write(i * 5000, Buffer.alloc(3000, i));
      await client.read(i * 5000, 100_000);
    }
  } else {
    await disk.hang();
  }
  process.send?.(disk.gate);
}

process.on('message', (message) => void act(message));
