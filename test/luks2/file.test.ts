import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readHeader, writeHeader } from '#sealdisk/luks2/copies.js';
import { fileOf, orDiskIo } from '#sealdisk/luks2/file.js';
import { sampleHeader } from './sample.js';

t.test('writes where it is told, and reads no more than there is', async (t) => {
  const path = join(t.testdir(), 'file');
  const fd = openSync(path, 'wx+');
  t.teardown(() => closeSync(fd));
  const file = fileOf(fd);
  await file.write(3, Buffer.from('abc'));
  await file.sync();
  t.equal(readFileSync(path, 'latin1'), '\0\0\0abc');
  t.equal((await file.read(2, 100)).toString('latin1'), '\0abc');
  t.equal((await file.read(6, 100)).length, 0);
});

t.test('keeps the errno of a failure', async (t) => {
  const path = join(t.testdir({ file: '' }), 'file');
  const fd = openSync(path, 'r');
  t.teardown(() => closeSync(fd));
  const failed = orDiskIo(path, fileOf(fd).write(0, Buffer.from('x')));
  await t.rejects(failed, { code: 'DISK_IO', facts: { path, errno: 'EBADF' } });
});

t.test('carries a header through a real file', async (t) => {
  const path = join(t.testdir(), 'disk.img');
  const fd = openSync(path, 'wx+');
  t.teardown(() => closeSync(fd));
  const written = await writeHeader(fd, path, sampleHeader());
  t.match(await readHeader(fd, path), { header: written, repair: 'none' });
  t.match(
    await readHeader(openReadOnly(t, path), path),
    { header: { seqid: 1n } },
    'and a descriptor for reading',
  );
});

function openReadOnly(t: { teardown(fn: () => void): void }, path: string): number {
  const fd = openSync(path, 'r');
  t.teardown(() => closeSync(fd));
  return fd;
}
