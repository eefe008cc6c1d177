import t from 'tap';
import { formatSize, parseDuration, parseDurationOrForever, parseSize } from '#sealdisk/cli/units.js';

t.test('reads sizes as qemu-img and cryptsetup do', async (t) => {
  const sizes: [string, bigint][] = [
    ['4096', 4096n],
    ['512B', 512n],
    ['64M', 64n << 20n],
    ['64m', 64n << 20n],
    ['64MiB', 64n << 20n],
    ['64MB', 64_000_000n],
    ['1.5G', 3n << 29n],
    ['2T', 2n << 40n],
  ];
  for (const [text, bytes] of sizes) t.equal(parseSize(text), bytes, text);
});

t.test('refuses what is no size', async (t) => {
  for (const text of ['', '0', '-1', 'M', '64X', '1.5', '1,5G', '0x10', '1e9', '64 M', '99999P', '512iB']) {
    t.throws(() => parseSize(text), { code: 'SIZE_SYNTAX' }, JSON.stringify(text));
  }
});

t.test('reads durations with their unit', async (t) => {
  t.equal(parseDuration('5s'), 5_000);
  t.equal(parseDuration('1.5s'), 1_500);
  t.equal(parseDuration('250ms'), 250);
  t.equal(parseDuration('2m'), 120_000);
  t.equal(parseDuration('1h'), 3_600_000);
  t.equal(parseDurationOrForever('forever'), null);
  for (const text of ['', '5', '0s', '-1s', '5 s', 'forever', '30d', '1w']) {
    t.throws(() => parseDuration(text), { code: 'DURATION_SYNTAX' }, JSON.stringify(text));
  }
});

t.test('writes sizes for people', async (t) => {
  t.equal(formatSize(512n), '512 B');
  t.equal(formatSize(64n << 20n), '64 MiB');
  t.equal(formatSize(3n << 29n), '1.5 GiB');
});
