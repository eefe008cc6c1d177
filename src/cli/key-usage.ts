/** sealdisk key usage, and the question that whatever takes a key away asks first. */

import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type KeyUsage, type KeyUse, usageOf } from '../attach/key-usage.js';
import { failureOf } from '../errors.js';
import { canonicalKeyUri, openProvider } from '../kms/registry.js';
import { KINDS } from '../luks2/label.js';
import { absolute } from '../pool/resolve.js';
import { action, type CommonOptions, common, environmentOf } from './context.js';
import { confirm, printJson, printLine, printNote, printTable } from './output.js';
import { formatSize } from './units.js';

const KMS_TIMEOUT_MS = 10_000;

type Options = CommonOptions & { readonly scan: readonly string[] };

export function registerUsage(group: Command): void {
  const command = group
    .command('usage')
    .description('the disks, snapshots and images that depend on a key, in the pool and in service')
    .argument('<uri>', 'a key of any scheme')
    .option('--scan <folder>', 'look here, too; may be repeated', (dir, all: string[]) => [...all, dir], []);
  common(command, 'sealdisk key usage alias/bar').action(
    action(async (uri: string, options: Options) => {
      const usage = await usageOfKey(uri, options, options.scan);
      if (options.json) return printJson(usage);
      tellUnreadable(usage);
      if (usage.uses.length === 0) return void printLine(`nothing depends on ${canonicalKeyUri(uri)}`);
      printTable(
        ['PATH', 'KIND', 'ID', 'NAME', 'SIZE', 'KEY VERSION', 'IN SERVICE'],
        usage.uses.map((use) => [
          ...[use.path, use.kind, use.id, use.name, formatSize(BigInt(use.sizeBytes))],
          ...[use.keyVersion, serviceOf(use)],
        ]),
      );
      printNote(`without the key nobody can read ${lossOf(usage.uses)}`);
    }),
  );
}

/**
 * Shows what depends on the key and asks whether `command` is meant; asks nothing when nothing depends on it. `does` is
 * what the command does, as in "Disable". Fails with NOT_CONFIRMED.
 */
export async function confirmLoss(
  command: string,
  does: string,
  uri: string,
  options: CommonOptions & { readonly yes?: boolean },
): Promise<void> {
  const usage = await usageOfKey(uri, options, []);
  tellUnreadable(usage);
  for (const use of usage.uses) {
    const how = use.service ? 'in service' : 'depends on it';
    const loss = use.service
      ? ` (${serviceOf(use)}), on key loss: ${use.service.onKeyLoss}`
      : ` (${use.kind})`;
    printNote(`${how}: ${use.path}${loss}`);
  }
  if (usage.uses.length === 0) return;
  printNote(`without the key nobody can read ${lossOf(usage.uses)}`);
  await confirm(command, `${does} ${uri}?`, options.yes ?? false);
}

/** "2 disks and 1 snapshot, 30 GiB". */
export function lossOf(uses: readonly KeyUse[]): string {
  const counted = KINDS.map((kind) => [uses.filter((use) => use.kind === kind).length, kind] as const);
  const words = counted
    .filter(([count]) => count > 0)
    .map(([n, kind]) => `${n} ${kind}${n === 1 ? '' : 's'}`);
  const bytes = uses.reduce((sum, { sizeBytes }) => sum + BigInt(sizeBytes), 0n);
  return `${new Intl.ListFormat('en').format(words)}, ${formatSize(bytes)}`;
}

async function usageOfKey(uri: string, options: CommonOptions, scan: readonly string[]): Promise<KeyUsage> {
  const keyUri = canonicalKeyUri(uri);
  const folders = [resolve(options.pool), ...scan.map(absolute)];
  return usageOf({ keyUri, keyId: await keyIdOf(keyUri, options) }, folders);
}

/** The key's own id; undefined when its KMS does not tell, for what names the key by this URI is found anyway. */
async function keyIdOf(keyUri: string, options: CommonOptions): Promise<string | undefined> {
  let keyId: string | undefined;
  const failure = await failureOf(async () => {
    const provider = await openProvider(keyUri, { ...environmentOf(options), namedByOwner: true });
    try {
      ({ keyId } = await provider.describeKey(undefined, { timeoutMs: KMS_TIMEOUT_MS }));
    } finally {
      await provider.close();
    }
  });
  if (failure) printNote(`only what names the key as ${keyUri} is found: ${failure.message}`);
  return keyId;
}

const serviceOf = ({ service }: KeyUse): string => service?.device ?? service?.address ?? '';

function tellUnreadable({ unreadable }: KeyUsage): void {
  for (const { path, why } of unreadable) printNote(`may depend on it: ${path} cannot be read: ${why}`);
}
