/** Clients that nobody here wrote: libnbd (nbdinfo, nbdsh), qemu-img, nbd-client. */

import t from 'tap';
import { nbdsh, run, startRig } from './rig.js';
import { disk } from './wire.js';

t.test('nbdinfo shows size, flags, description and block sizes', async (t) => {
  const { uri } = await startRig(t);
  const { code, out, err } = await run('nbdinfo', '--no-content', '--json', uri);
  t.equal(code, 0, err);
  const { protocol, exports } = JSON.parse(out);
  t.equal(protocol, 'newstyle-fixed');
  t.match(exports[0], {
    'export-name': 'disk',
    description: 'a disk',
    'export-size': Number(disk.sizeBytes),
    is_read_only: false,
    can_fua: true,
    can_flush: true,
    can_trim: true,
    can_zero: true,
    can_fast_zero: true,
    can_multi_conn: true,
    can_cache: false,
    can_df: false,
    block_size_minimum: 1,
    block_size_preferred: 4096,
    block_size_maximum: 32 << 20,
  });
});

t.test('nbdinfo connects, asks the size in the transmission phase, and disconnects', async (t) => {
  const rig = await startRig(t);
  t.match(await run('nbdinfo', '--size', rig.uri), { code: 0, out: `${disk.sizeBytes}\n` });
  t.match(await rig.event('ended'), { error: undefined });
  t.match(await rig.event('transmitting'), { peer: 'unix', negotiated: { exportName: 'disk' } });
});

t.test('nbdinfo --list shows every export, also one with a name beyond ASCII', async (t) => {
  const { uri } = await startRig(t);
  const { code, out, err } = await run('nbdinfo', '--list', '--json', uri);
  t.equal(code, 0, err);
  const { exports } = JSON.parse(out);
  t.same(
    exports.map((one: Record<string, unknown>) => [one['export-name'], one.is_read_only]),
    [
      ['disk', false],
      ['çopy', true],
    ],
  );
});

t.test('qemu-img info opens the export by URI and by name', async (t) => {
  const { path } = await startRig(t);
  for (const name of [
    `nbd:unix:${path}`,
    `nbd:unix:${path}:exportname=disk`,
    `nbd+unix:///disk?socket=${path}`,
  ]) {
    const { code, out, err } = await run('qemu-img', 'info', '--output=json', '-f', 'raw', name);
    t.equal(code, 0, err);
    t.equal(JSON.parse(out)['virtual-size'], Number(disk.sizeBytes));
  }
});

t.test('qemu-img says why an export is not there', async (t) => {
  const { path } = await startRig(t);
  const { code, err } = await run('qemu-img', 'info', '-f', 'raw', `nbd+unix:///nobody?socket=${path}`);
  t.equal(code, 1);
  t.match(err, 'no export "nobody"');
});

t.test('nbd-client lists the exports over TCP', async (t) => {
  const { server } = await startRig(t, { listen: { host: '127.0.0.1', port: 0 } });
  const [host, port] = server.address.split(':');
  const { code, out, err } = await run('nbd-client', '-l', host ?? '', port ?? '');
  t.equal(code, 0, err);
  t.match(out, /^disk\b/m);
});

t.test('libnbd haggles: list, info, an unknown export, info again, abort', async (t) => {
  const rig = await startRig(t);
  const { code, out, err } = await nbdsh(
    'h.set_opt_mode(True)',
    'h.set_full_info(True)',
    `h.connect_uri("${rig.uri}")`,
    'h.opt_list(lambda name, description: print("listed", name, description))',
    'h.set_export_name("çopy")',
    'h.opt_info()',
    'print("size", h.get_size(), h.is_read_only())',
    'h.set_export_name("nobody")',
    'try:\n  h.opt_go()\nexcept nbd.Error as e:\n  print("go", e.errno)',
    'h.set_export_name("disk")',
    'h.opt_info()',
    'print("canonical", h.get_canonical_export_name(), h.get_export_description())',
    'h.opt_abort()',
  );
  t.equal(code, 0, err);
  t.match(out, 'listed disk a disk\nlisted çopy \n');
  t.match(out, `size ${disk.sizeBytes} True\n`);
  t.match(out, 'go ENOENT\n');
  t.match(out, 'canonical disk a disk\n');
  t.same(await rig.event('closed'), { kind: 'closed', peer: 'unix' });
});

t.test('libnbd without GO falls back on EXPORT_NAME, with and without zeroes, and reads', async (t) => {
  const rig = await startRig(t);
  for (const flags of ['0', 'nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE', 'nbd.HANDSHAKE_FLAG_MASK']) {
    const { code, out, err } = await nbdsh(
      `h.set_handshake_flags(${flags})`,
      'h.set_request_structured_replies(False)',
      `h.connect_uri("${rig.uri}")`,
      'print(h.get_size(), h.pread(512, 4096) == bytearray(512))',
      'h.shutdown()',
    );
    t.equal(code, 0, err);
    t.equal(out, `${disk.sizeBytes} True\n`, flags);
  }
});

t.test('libnbd reads and writes through the descriptor that was handed over', async (t) => {
  const rig = await startRig(t);
  const { code, out, err } = await nbdsh(
    `h.connect_uri("${rig.uri}")`,
    'h.pwrite(b"x" * 100000, 0)',
    'print(len(h.pread(1 << 20, 0)), h.get_structured_replies_negotiated(), h.get_tls_negotiated())',
    'h.flush()',
    'h.shutdown()',
  );
  t.equal(code, 0, err);
  t.equal(out, `${1 << 20} False False\n`);
  await rig.event('ended');
});

t.test(
  'libnbd negotiates structured replies and contexts, reads with DF and asks for block status',
  async (t) => {
    const rig = await startRig(t, { replies: 'structured' });
    const { code, out, err } = await nbdsh(
      'h.add_meta_context("base:allocation")',
      'h.add_meta_context("sealdisk:key-state")',
      'h.add_meta_context("qemu:dirty-bitmap:x")',
      `h.connect_uri("${rig.uri}")`,
      'print(h.get_structured_replies_negotiated(), h.can_df(), h.can_cache())',
      'print([h.can_meta_context(c) for c in ("base:allocation", "sealdisk:key-state", "qemu:dirty-bitmap:x")])',
      'h.pread_structured(512, 4096, lambda data, offset, status, error: print(len(data), offset), nbd.CMD_FLAG_DF)',
      'h.block_status(65536, 0, lambda context, offset, extents, error: print(context, offset, extents))',
      'h.shutdown()',
    );
    t.equal(code, 0, err);
    t.equal(
      out,
      'True True False\n[True, True, False]\n512 4096\n' +
        'base:allocation 0 [65536, 0]\nsealdisk:key-state 0 [65536, 0]\n',
    );
    await rig.event('ended');
  },
);

t.test('libnbd that asks for no structured replies gets none, no DF and no contexts', async (t) => {
  const rig = await startRig(t, { replies: 'structured' });
  const { code, out, err } = await nbdsh(
    'h.set_request_structured_replies(False)',
    'h.add_meta_context("base:allocation")',
    `h.connect_uri("${rig.uri}")`,
    'print(h.get_structured_replies_negotiated(), h.can_df(), h.can_meta_context("base:allocation"))',
    'print(h.pread(512, 0) == bytearray(512))',
    'h.shutdown()',
  );
  t.equal(code, 0, err);
  t.equal(out, 'False False False\nTrue\n');
});

t.test('libnbd lists contexts by wildcard, and all of them when it asks for none', async (t) => {
  const { uri } = await startRig(t, { replies: 'structured' });
  const list = (...queries: string[]): string[] => [
    'h.clear_meta_contexts()',
    ...queries.map((query) => `h.add_meta_context("${query}")`),
    'h.opt_list_meta_context(lambda name: print(name, end=" "))',
    'print("-")',
  ];
  const { code, out, err } = await nbdsh(
    'h.set_opt_mode(True)',
    `h.connect_uri("${uri}")`,
    ...list(),
    ...list('base:'),
    ...list('sealdisk:'),
    ...list('qemu:', 'base:allocation'),
    'h.opt_abort()',
  );
  t.equal(code, 0, err);
  const [base, ours] = disk.contexts;
  t.equal(out, `${base} ${ours} -\n${base} -\n${ours} -\n${base} -\n`);
});

t.test('nbdinfo shows the contexts that an export offers', async (t) => {
  const { uri } = await startRig(t, { replies: 'structured' });
  const { code, out, err } = await run('nbdinfo', '--no-content', '--json', uri);
  t.equal(code, 0, err);
  const { structured, exports } = JSON.parse(out);
  t.equal(structured, true);
  t.match(exports[0], { contexts: [...disk.contexts], can_df: true });
});

t.test('qemu-img maps an export by base:allocation', async (t) => {
  const { path } = await startRig(t, {
    replies: 'structured',
    exports: () => [{ ...disk, sizeBytes: 1n << 20n }],
  });
  const { code, out, err } = await run(
    'qemu-img',
    'map',
    '--output=json',
    '-f',
    'raw',
    `nbd+unix:///disk?socket=${path}`,
  );
  t.equal(code, 0, err);
  t.match(JSON.parse(out), [{ start: 0, length: 1 << 20, data: true, zero: false }]);
});
