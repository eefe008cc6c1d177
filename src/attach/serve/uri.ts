/** NBD URIs of exports (NetworkBlockDevice/nbd, doc/uri.md). */

import type { ListenAddress } from '../../nbd/server.js';

/** `address` is what the listener that was `asked` for says of itself: a path, or HOST:PORT. */
export function uriOf(asked: ListenAddress, address: string, exportName: string): string {
  const name = encodeURIComponent(exportName);
  const isPath = 'path' in ('fd' in asked ? asked.bound : asked);
  if (isPath) return `nbd+unix:///${name}?socket=${address.split('/').map(encodeURIComponent).join('/')}`;
  return `nbd://${address}/${name}`;
}
