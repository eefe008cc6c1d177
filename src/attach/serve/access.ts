/** Who may see and open which export: names of TLS clients, as --allow-client says them. */

import { fail } from '../../errors.js';

/**
 * Names by export, of texts like `EXPORT=NAME`; an export without any is open to all clients. The longest export name that
 * fits is meant, for both may hold a '='. USAGE when none fits, or no name follows.
 */
export function clientNamesOf(
  allowed: readonly string[],
  exportNames: readonly string[],
): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>();
  for (const text of allowed) {
    const fitting = exportNames.filter((name) => text.startsWith(`${name}=`));
    const found = fitting.sort((a, b) => b.length - a.length)[0];
    if (found === undefined) {
      const there = exportNames.map((name) => `"${name}"`).join(', ');
      fail('USAGE', { what: `--allow-client ${text}: no export of that name, there is ${there}` });
    }
    const client = text.slice(found.length + 1);
    if (client === '') fail('USAGE', { what: `--allow-client ${text}: no name of a client` });
    names.set(found, [...(names.get(found) ?? []), client]);
  }
  return names;
}
