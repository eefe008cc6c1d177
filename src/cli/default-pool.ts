/** Where the pool is when nobody says: a leaf, for what starts fast. */
export const DEFAULT_POOL = '/var/lib/sealdisk';
