/** A numbered record: what the writer of the tests writes, and the reader expects. */

export const RECORD_BYTES = 4096;

export const record = (n: number): Buffer => Buffer.alloc(RECORD_BYTES, `record ${n}, `);
