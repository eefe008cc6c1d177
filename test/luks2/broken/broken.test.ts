/** Every flaw in both copies: refused, by its own code, in one bounded line, with nothing written. */

import t from 'tap';
import { SealdiskError } from '#sealdisk/errors.js';
import { readHeader } from '#sealdisk/luks2/copies.js';
import type { Luks2Header } from '#sealdisk/luks2/header.js';
import { tokenOf } from '#sealdisk/luks2/token.js';
import { BINARY_FLAWS, JSON_TEXT_FLAWS } from './binary.js';
import { type Flaw, imageWith } from './flaw.js';
import { DIGEST_FLAWS, LAYOUT_FLAWS, SEGMENT_FLAWS } from './meaning.js';
import { TOKEN_FLAWS } from './token.js';

const GROUPS: Record<string, readonly Flaw[]> = {
  'the binary header': BINARY_FLAWS,
  'the JSON text': JSON_TEXT_FLAWS,
  'the layout': LAYOUT_FLAWS,
  'the segment': SEGMENT_FLAWS,
  'the digest': DIGEST_FLAWS,
  'the token': TOKEN_FLAWS,
};

async function open(
  flaw: Partial<Flaw>,
): Promise<{ header: Luks2Header } | { error: unknown; writes: number }> {
  const file = imageWith(flaw);
  try {
    const { header } = await readHeader(file, 'disk.img');
    tokenOf(header);
    return { header };
  } catch (error) {
    return { error, writes: file.steps.length };
  }
}

t.test('opens the header that all the flaws are made from', async (t) => {
  t.match(await open({}), { header: { seqid: 0n } });
  t.match(await open({ json: () => {} }), { header: { seqid: 0n } }, 'and rewriting its JSON is no flaw');
});

for (const [part, flaws] of Object.entries(GROUPS)) {
  t.test(`flaws of ${part}`, async (t) => {
    for (const flaw of flaws) {
      t.test(`refuses ${flaw.title}`, async (t) => {
        const result = await open(flaw);
        if (!('error' in result)) return t.fail('it was opened');
        if (!(result.error instanceof SealdiskError)) throw result.error;
        t.equal(result.error.code, flaw.code, result.error.message);
        t.equal(result.error.group, 'refused');
        t.match(result.error.message, /^[ -~…]{1,300}$/, 'one printable line');
        t.equal(result.writes, 0);
      });
    }
  });
}
