/** sealdisk serve: words that contradict each other, each refused in one line, with nothing begun. */

import { writeFileSync } from 'node:fs';
import t from 'tap';
import { names, rig } from './rig.js';

t.setTimeout(170_000);

const CERTIFICATE = ['--tls-cert', 'c', '--tls-key', 'k'];

const REFUSED: [string[], RegExp][] = [
  [['--tls', 'maybe'], /--tls/],
  [['--tls', 'on'], /--tls on needs --tls-cert and --tls-key, or --tls-psk/],
  [['--tls', 'off', ...CERTIFICATE], /--tls-cert without TLS/],
  [['--tls-cert', 'c'], /go together/],
  [['--tls-key', 'k', '--tls-psk', 'p'], /go together/],
  [['--tls-psk', 'p', '--tls-client-ca', 'a'], /--tls-client-ca needs --tls-cert/],
  [['--tls-min', '1.3'], /--tls-min without TLS/],
  [['--tls-min', '1.1', ...CERTIFICATE], /--tls-min/],
  [['--allow-client', '=ada'], /--allow-client needs TLS/],
  [['--allow-client', '=ada', ...CERTIFICATE], /--allow-client needs TLS that knows its clients/],
  [['--discard', '--read-only'], /--discard writes/],
  [['--max-connections', '4097'], /from 1 to 4096/],
  [['--idle-timeout', '0'], /not a duration/],
  [['--drain-timeout', 'soon'], /not a duration/],
];

t.test('words that contradict each other are refused in one line', async (t) => {
  const { dir, sealdisk, at } = rig(t);
  for (const [words, said] of REFUSED) {
    const ran = await sealdisk('serve', at('d'), '--socket', at('s'), ...words);
    t.match(ran, { code: 2, out: '', err: said }, words.join(' '));
    t.match(ran.err, /^sealdisk: [^\n]+\n$/);
  }
  t.same(names(dir), []);
});

t.test('access for an export that is not there, or for nobody, is refused', async (t) => {
  const { disk, sealdisk, at } = rig(t);
  const path = await disk('data');
  writeFileSync(at('p'), 'alice:00112233445566778899aabbccddeeff\n');
  const refused = async (allow: string, said: RegExp) => {
    const words = [
      '--socket',
      at('s'),
      '--export-name',
      'a=b',
      '--tls-psk',
      at('p'),
      '--allow-client',
      allow,
    ];
    t.match(await sealdisk('serve', path, ...words), { code: 2, out: '', err: said }, allow);
  };
  await refused('a=alice', /no export of that name, there is "a=b"/);
  await refused('a=b=', /no name of a client/);
});
