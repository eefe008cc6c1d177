/** What one client of the network face may take, and for how long. */

/** Far more than the largest honest request: 6 KiB of plaintext in base64, and contexts of 8 KiB. */
export const BODY_MAX_BYTES = 64 * 1024;
export const HEADERS_MAX_BYTES = 16 * 1024;
export const HEADERS_TIMEOUT_MS = 10_000;
/** From its first byte to its last. */
export const REQUEST_TIMEOUT_MS = 20_000;
/** How long LocalKms may take; what takes longer is answered as the cloud answers its own delays. */
export const CALL_TIMEOUT_MS = 10_000;
/** A connection without a request is kept so long: longer than the SDKs keep theirs between two checks of a key. */
export const IDLE_TIMEOUT_MS = 60_000;
/** A client that reads no reply is borne so long. */
export const STALL_TIMEOUT_MS = 65_000;
export const CONNECTIONS_MAX = 8192;
/** Connections that wait to be taken in: as many as come when all disks of a house are attached at once. */
export const BACKLOG = 4096;
/** Calls a second of one access key, when --rate-limit does not say. */
export const RATE_DEFAULT = 5000;
/** How often what is over by the clock is swept off the disk. */
export const SWEEP_EVERY_MS = 60_000;
/** At the end, how long requests may take that were begun before. */
export const DRAIN_TIMEOUT_MS = 15_000;
