import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LocalKms } from '#sealdisk/kms/local/local-kms.js';
import { tempPool } from './pool.js';

async function threeKeys(t: Test) {
  const dir = join(await tempPool(t), 'kms');
  const kms = LocalKms.open(dir);
  const ids: string[] = [];
  for (const alias of ['alias/a', 'alias/b', 'alias/c']) ids.push((await kms.createKey({ alias })).keyId);
  return { kms, dir, ids: ids as [string, string, string] };
}

t.test('an alias that moves names the other key, and is shown with it alone', async (t) => {
  const { kms, ids } = await threeKeys(t);
  await kms.updateAlias('alias/a', ids[1]);
  t.equal(await kms.resolve('alias/a'), ids[1]);
  t.same((await kms.describeKey(ids[0])).aliases, []);
  t.same((await kms.describeKey(ids[1])).aliases, ['alias/a', 'alias/b']);
  await kms.updateAlias('alias/a', 'alias/b');
  await kms.updateAlias('alias/a', ids[0]);
  t.same((await kms.describeKey('alias/a')).keyId, ids[0], 'and back');
  await t.rejects(kms.updateAlias('alias/none', ids[0]), { code: 'KMS_ALIAS_NOT_FOUND' });
  await t.rejects(kms.updateAlias('alias/acs/ecs', ids[0]), { code: 'KMS_ALIAS_SYNTAX' });
});

t.test('a deleted alias names nothing, and is free', async (t) => {
  const { kms, ids } = await threeKeys(t);
  await kms.deleteAlias('alias/a');
  await t.rejects(kms.describeKey('alias/a'), { code: 'KMS_KEY_NOT_FOUND' });
  t.same((await kms.describeKey(ids[0])).aliases, []);
  await t.rejects(kms.deleteAlias('alias/a'), { code: 'KMS_ALIAS_NOT_FOUND' });
  await t.rejects(kms.deleteAlias('alias/acs/ecs'), { code: 'KMS_ALIAS_SYNTAX' });
  await kms.createAlias('alias/a', ids[2]);
  t.same((await kms.describeKey(ids[2])).aliases, ['alias/a', 'alias/c']);
});

t.test('no key pending deletion gets a name', async (t) => {
  const { kms, ids } = await threeKeys(t);
  await kms.scheduleDeletion(ids[0], 7);
  await t.rejects(kms.createAlias('alias/new', ids[0]), { code: 'KMS_STATE' });
  await t.rejects(kms.updateAlias('alias/b', ids[0]), { code: 'KMS_STATE' });
});

t.test('lists aliases of all keys or of one, page by page', async (t) => {
  const { kms, ids } = await threeKeys(t);
  await kms.createAlias('alias/a2', ids[0]);
  const all: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = await kms.listAliases({ limit: 1, ...(after === undefined ? {} : { after }) });
    t.equal(page.aliases.length, 1);
    t.equal(page.total, 4);
    all.push(...page.aliases.map(({ alias }) => alias));
    after = page.next;
    if (after === undefined) break;
  }
  t.same(all.sort(), ['alias/a', 'alias/a2', 'alias/b', 'alias/c']);
  t.same((await kms.listAliases({ ref: 'alias/a2' })).aliases, [
    { alias: 'alias/a', keyId: ids[0] },
    { alias: 'alias/a2', keyId: ids[0] },
  ]);
  const first = await kms.listAliases({ ref: ids[0], limit: 1 });
  t.match(first, { aliases: [{ alias: 'alias/a' }], next: 'alias/a', total: 2 });
  t.same((await kms.listAliases({ ref: ids[0], after: 'alias/a' })).aliases, [
    { alias: 'alias/a2', keyId: ids[0] },
  ]);
});

t.test('lists keys page by page, in the order of their ids', async (t) => {
  const { kms, ids } = await threeKeys(t);
  const sorted = [...ids].sort();
  const first = await kms.listKeys({ limit: 2 });
  t.same([first.keys.map(({ keyId }) => keyId), first.next, first.total], [sorted.slice(0, 2), sorted[1], 3]);
  const rest = await kms.listKeys({ after: first.next as string, limit: 2 });
  t.same([rest.keys.map(({ keyId }) => keyId), rest.next], [sorted.slice(2), undefined]);
  t.same((await kms.listKeys({ after: 'ffffffff-0000-4000-8000-000000000000' })).keys.length, 0);
});

t.test('what a killed writer left in a list of names is not shown', async (t) => {
  const { kms, dir, ids } = await threeKeys(t);
  // As one that was killed after it had moved the alias, before it took it from the list of the key before.
  const before = join(dir, 'keys', ids[0]);
  const listed = await readFile(before);
  await kms.updateAlias('alias/a', ids[1]);
  await writeFile(before, listed);
  t.same((await kms.describeKey(ids[0])).aliases, []);
});
