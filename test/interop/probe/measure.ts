/** All rows of the comparison, asked of one kind of server; and the table that they make. */

import { commands } from './rows/commands.js';
import { transmissionFlags } from './rows/flags.js';
import { handshake } from './rows/handshake.js';
import { options } from './rows/options.js';
import { extended, structured } from './rows/structured.js';
import { tls } from './rows/tls.js';
import { type Kind, type Scope, targets } from './servers.js';
import { cell, type Group, MIB } from './target.js';

export const GROUPS: readonly Group[] = [
  handshake,
  ...options,
  transmissionFlags,
  ...commands,
  structured,
  extended,
  tls,
];

/** The cells of one column, in the order of the rows; one after the other, so that a server's death has one cause. */
export async function measure(scope: Scope, kind: Kind): Promise<string[]> {
  const target = targets(scope, kind);
  const cells: string[] = [];
  for (const row of GROUPS.flatMap((group) => group.rows)) {
    const asked = cell(row, target(cells.length * MIB));
    cells.push(
      await asked.catch((error) => {
        throw new Error(`${kind.name}, ${row.subject}: ${error.message}`, { cause: error });
      }),
    );
  }
  return cells;
}
