import t from 'tap';
import { checkFits } from '#sealdisk/luks2/fits.js';
import { OFFSET_BYTES, sampleHeader } from './sample.js';

for (const sectorSize of [512, 4096] as const) {
  const header = sampleHeader({ sectorSize });

  t.test(`tells the size of the segment with sectors of ${sectorSize}`, async (t) => {
    t.equal(checkFits(header, BigInt(OFFSET_BYTES + sectorSize)), BigInt(sectorSize));
    t.equal(checkFits(header, BigInt(OFFSET_BYTES) + 2n ** 50n), 2n ** 50n);
  });

  t.test(`refuses a file that ends before one sector of ${sectorSize}`, async (t) => {
    for (const sizeBytes of [0, OFFSET_BYTES - 1, OFFSET_BYTES, OFFSET_BYTES + sectorSize - 1]) {
      t.throws(() => checkFits(header, BigInt(sizeBytes)), {
        code: 'LUKS2_FITS',
        facts: {
          what: 'file size',
          found: BigInt(sizeBytes),
          expected: `at least ${OFFSET_BYTES + sectorSize}`,
        },
      });
    }
  });

  t.test(`refuses a file that ends inside a sector of ${sectorSize}`, async (t) => {
    t.throws(() => checkFits(header, BigInt(OFFSET_BYTES + 3 * sectorSize - 256)), {
      code: 'LUKS2_FITS',
      facts: { what: 'segment size', expected: `a multiple of ${sectorSize}` },
    });
  });
}
