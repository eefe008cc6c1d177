/** sealdisk list: the disks of the pool, and what is in service on this machine. */

import { resolve } from 'node:path';
import type { Command } from 'commander';
import { inventory, type Listed } from '../attach/inventory.js';
import type { ObjectKind } from '../luks2/label.js';
import { action, type CommonOptions, common } from './context.js';
import { printJson, printNote, printTable } from './output.js';
import { formatSize } from './units.js';

export function register(program: Command): void {
  const command = program
    .command('list')
    .description('the disks of the pool, and those that are attached or served from elsewhere');
  common(command, 'sealdisk list --json').action(
    action(async (options: CommonOptions) => printObjects('disk', options)),
  );
}

/** Prints the objects of one kind, and of the disks those in service that lie elsewhere. */
export async function printObjects(kind: ObjectKind, options: CommonOptions): Promise<void> {
  const { listed, unreadable } = await inventory(resolve(options.pool));
  for (const { path, why } of unreadable) printNote(`${path} cannot be read: ${why}`);
  const found = listed.filter((one) => one.kind === kind);
  if (options.json) return printJson(found);
  const more = kind === 'disk' ? SERVICE : ORIGIN;
  printTable(
    ['NAME', 'ID', 'SIZE', 'KEY', ...more.heads],
    found.map((one) => [
      one.name || one.path,
      one.id ?? '-',
      formatSize(BigInt(one.sizeBytes)),
      one.encrypted ? (one.keyUri ?? '') : 'none, it is plain',
      ...more.cells(one),
    ]),
  );
}

interface Columns {
  readonly heads: string[];
  cells(one: Listed): string[];
}

const SERVICE: Columns = {
  heads: ['DEVICE', 'GATE', 'PATH'],
  cells: (one) => [one.device ?? one.address ?? '-', one.gate ?? '-', one.path],
};

const ORIGIN: Columns = {
  heads: ['SOURCE', 'CREATED', 'PATH'],
  cells: (one) => [one.source || '-', one.createdAt ?? '', one.path],
};
