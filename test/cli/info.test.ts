/** sealdisk info: a damaged disk, and files that are no disk, each with its own code. Nothing is changed by looking. */

import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import t from 'tap';
import { rig, run } from './rig.js';

t.setTimeout(110_000);

function overwrite(path: string, atBytes: number, bytes: string): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, atBytes);
  closeSync(fd);
}

t.test('a bad copy of the header is told of, and serve mends it', async (t) => {
  const { at, disk, serve, json, sealdisk } = rig(t);
  const path = await disk('bar');
  const whole = readFileSync(path).subarray(0, 32_768);
  for (const [copy, atBytes] of [
    ['primary', 6000],
    ['secondary', 16_384 + 6000],
  ] as const) {
    overwrite(path, atBytes, 'x');
    t.match(await json('info', path), { headerCopies: `${copy} is bad`, uuid: /^[0-9a-f-]{36}$/ });
    t.match(await sealdisk('info', path), { code: 0, out: new RegExp(`header: +${copy} is bad`) });
    const reading = await serve(path, '--socket', at('s'), '--read-only');
    await reading.stop();
    t.match(await json('info', path), { headerCopies: `${copy} is bad` }, 'not by a read-only one');
    const server = await serve(path, '--socket', at('s'));
    t.match(await server.event('header_copy_bad'), { copy, mended: true });
    await server.stop();
    t.match(await json('info', path), { headerCopies: 'good' });
  }
  const other = copy(whole, 'primary').equals(copy(readFileSync(path), 'primary'));
  t.notOk(other, 'a mended copy has a salt of its own');
});

const copy = (bytes: Buffer, which: 'primary' | 'secondary') =>
  which === 'primary' ? bytes.subarray(0, 16_384) : bytes.subarray(16_384, 32_768);

t.test('what is no disk, or no whole one, is refused by its code', async (t) => {
  const { at, disk, sealdisk } = rig(t);
  writeFileSync(at('text'), 'not a disk\n'.repeat(1000));
  writeFileSync(at('empty'), '');
  const formatted = ['--type', 'luks2', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
  writeFileSync(at('foreign'), '');
  truncateSync(at('foreign'), 32 << 20);
  writeFileSync(at('word'), 'word');
  const key512 = ['--cipher', 'aes-xts-plain64', '--key-size', '512'];
  const format = ['-q', 'luksFormat', ...formatted, ...key512, at('foreign'), at('word')];
  t.match(await run('cryptsetup', format), { code: 0 });
  const cut = await disk('cut');
  truncateSync(cut, 20_000);
  const short = await disk('short');
  truncateSync(short, 16 << 20);
  const both = await disk('both');
  overwrite(both, 6000, 'x');
  overwrite(both, 22_384, 'x');
  const refusals: [string, number, string][] = [
    ['text', 4, 'LUKS2_NOT_LUKS'],
    ['empty', 4, 'LUKS2_NOT_LUKS'],
    ['foreign', 4, 'LUKS2_TOKEN_MISSING'],
    ['cut', 4, 'LUKS2_FITS'],
    ['short', 4, 'LUKS2_FITS'],
    ['both', 4, 'LUKS2_CHECKSUM'],
    ['none', 3, 'DISK_NOT_FOUND'],
  ];
  for (const [name, code, said] of refusals) {
    const ran = await sealdisk('info', at(name), '--json');
    t.match(ran, { code, out: '', err: new RegExp(`^sealdisk: [^\n]*\\[${said}\\]\n$`) }, name);
    const served = await sealdisk('serve', at(name), '--socket', at('s'));
    t.match(served, { code, out: '', err: new RegExp(`\\[${said}\\]\n$`) }, `serve ${name}`);
  }
  t.match(await sealdisk('info', at('')), { code: 9, err: /\[DISK_IO\]\n$/ }, 'a folder is no disk');
  mkdirSync(at('folder'));
  const served = await sealdisk('serve', at('folder'), '--socket', at('s'));
  t.match(served, { code: 3, err: /\[DISK_NOT_FOUND\]\n$/ }, 'a folder without a disk serves nothing');
  t.match(await sealdisk('info', '/dev/nbd999'), { code: 3, err: /ATTACH_NOT_ATTACHED/ });
});
