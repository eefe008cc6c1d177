/** NBD URIs of exports (NetworkBlockDevice/nbd, doc/uri.md). */

import type { ListenAddress } from '../../nbd/server.js';

/** `secure` where clients may use TLS. `address` is what the listener that was `asked` for says of itself: a path, or HOST:PORT. */
export function uriOf(asked: ListenAddress, address: string, exportName: string, secure: boolean): string {
  const scheme = secure ? 'nbds' : 'nbd';
  const name = encodeURIComponent(exportName);
  const isPath = 'path' in ('fd' in asked ? asked.bound : asked);
  if (isPath)
    return `${scheme}+unix:///${name}?socket=${address.split('/').map(encodeURIComponent).join('/')}`;
  return `${scheme}://${address}/${name}`;
}
