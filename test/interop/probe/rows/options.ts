/** Rows about options that choose or tell of an export. */

import { ask, CMD, goData, INFO, OPT, optionBytes, REP, tell } from '../client.js';
import { PROOF } from '../proofs.js';
import {
  DESCRIPTION,
  demand,
  EXPORT,
  type Group,
  type Row,
  refusal,
  SIZE_BYTES,
  type Target,
} from '../target.js';
import { be } from '../wire.js';
import { exportName, refused } from './handshake.js';

async function informed(target: Target, type: number): Promise<Buffer> {
  const peer = await target.greeted();
  const { information } = await tell(peer, OPT.INFO, EXPORT, [type]);
  return information.get(type) ?? Buffer.alloc(0);
}

const sizesOf = (data: Buffer): string =>
  data.length === 12 ? [0, 4, 8].map((at) => sizeText(data.readUInt32BE(at))).join(', ') : 'none';

function sizeText(bytes: number): string {
  if (bytes >= 1 << 20 && bytes % (1 << 20) === 0) return `${bytes / (1 << 20)} MiB`;
  return bytes >= 1024 && bytes % 1024 === 0 ? `${bytes / 1024} KiB` : String(bytes);
}

const naming: Row[] = [
  {
    subject: '`NBD_OPT_EXPORT_NAME` (1)',
    rule: 'size, flags, then transmission',
    proof: PROOF.exportName,
    ask: async (target) => {
      const { told } = await exportName(await target.greeted(), EXPORT, false);
      demand(told.sizeBytes === SIZE_BYTES && (told.flags & 1) === 1, 'another size or no flags');
      return undefined;
    },
  },
  {
    subject: 'EXPORT_NAME of the empty name',
    rule: 'the default export, if there is one',
    proof: PROOF.emptyName,
    ask: async (target) => {
      await exportName(await target.greeted(), '', false);
      return undefined;
    },
  },
  {
    subject: 'EXPORT_NAME of a name that is not there',
    rule: 'MUST close',
    proof: PROOF.noExport,
    must: /^closed$/,
    ask: async (target) => {
      await exportName(await target.greeted(), 'nobody', false);
      return undefined;
    },
  },
  {
    subject: 'EXPORT_NAME of 4097 bytes',
    rule: 'a string MUST be 4096 at most',
    proof: PROOF.longName,
    must: /^closed$/,
    ask: async (target) => {
      await exportName(await target.greeted(), 'x'.repeat(4097), false);
      return undefined;
    },
  },
  {
    subject: '`NBD_OPT_ABORT` (2)',
    rule: 'MUST be acknowledged; then the end',
    proof: PROOF.abort,
    ask: async (target) => {
      const peer = await target.greeted();
      await ask(peer, OPT.ABORT);
      await peer.rest();
      return undefined;
    },
  },
  {
    subject: 'ABORT with data',
    rule: 'data SHOULD be ignored',
    proof: PROOF.abort,
    ask: async (target) => {
      await ask(await target.greeted(), OPT.ABORT, Buffer.from('bye'));
      return undefined;
    },
  },
  {
    subject: '`NBD_OPT_LIST` (3)',
    rule: '`NBD_REP_SERVER` for each export',
    proof: PROOF.list,
    ask: async (target) => {
      const listed = await ask(await target.greeted(), OPT.LIST);
      demand(
        listed.every(({ type }) => type === REP.SERVER),
        'another reply',
      );
      const names = listed.map(({ data }) => data.subarray(4, 4 + data.readUInt32BE()).toString());
      demand(names.includes(EXPORT), `it lists ${names.join(', ') || 'nothing'}`);
      return undefined;
    },
  },
  {
    subject: 'LIST tells descriptions',
    rule: 'MAY follow the name',
    proof: PROOF.list,
    ask: async (target) => {
      const [listed] = await ask(await target.greeted(), OPT.LIST);
      const text = listed?.data.subarray(4 + listed.data.readUInt32BE()).toString();
      return text === DESCRIPTION ? 'supported' : 'not told';
    },
  },
  {
    subject: 'LIST with data',
    rule: 'SHOULD be `NBD_REP_ERR_INVALID`',
    proof: PROOF.listData,
    ask: async (target) => refused(await target.greeted(), OPT.LIST, Buffer.from('all')),
  },
  {
    subject: '`NBD_OPT_PEEK_EXPORT` (4)',
    rule: 'withdrawn',
    proof: PROOF.unknownOption,
    ask: async (target) => refused(await target.greeted(), OPT.PEEK_EXPORT, Buffer.alloc(0)),
  },
];

/** Options whose data is a name and a list, each time with one thing wrong. */
const malformed = (option: number, name: string): Row[] =>
  [
    {
      subject: `${name} with a name longer than its data`,
      rule: 'SHOULD be `NBD_REP_ERR_INVALID`, and the handshake goes on',
      data: Buffer.concat([be(32, 100), Buffer.from(EXPORT), be(16, 0)]),
    },
    {
      subject: `${name} with bytes behind its data`,
      rule: 'as above',
      data: Buffer.concat([goData(EXPORT), Buffer.of(1)]),
    },
    { subject: `${name} without data`, rule: 'as above', data: Buffer.alloc(0) },
    {
      subject: `${name} of a name that is not there`,
      rule: 'MUST be `NBD_REP_ERR_UNKNOWN`',
      data: goData('nobody'),
      must: /^refused with ERR_UNKNOWN$/,
    },
  ].map(({ data, ...row }) => ({
    ...row,
    proof: PROOF.malformed,
    ask: async (target: Target) => refused(await target.greeted(), option, data),
  }));

const information: Row[] = [
  {
    subject: '`NBD_OPT_INFO` (6)',
    rule: 'tells, and the handshake goes on',
    proof: PROOF.infoGo,
    ask: async (target) => {
      const peer = await target.greeted();
      const { sizeBytes } = await tell(peer, OPT.INFO, EXPORT);
      demand(sizeBytes === SIZE_BYTES, `a size of ${sizeBytes}`);
      await ask(peer, OPT.LIST);
      return undefined;
    },
  },
  {
    subject: '`NBD_OPT_GO` (7)',
    rule: 'tells, then transmission',
    proof: PROOF.go,
    ask: async (target) => {
      const session = await target.session();
      demand(session.told.sizeBytes === SIZE_BYTES, `a size of ${session.told.sizeBytes}`);
      await session.lives();
      return undefined;
    },
  },
  {
    subject: 'GO after INFO',
    rule: 'MUST tell the same',
    proof: PROOF.infoGo,
    ask: async (target) => {
      const peer = await target.greeted();
      const first = await tell(peer, OPT.INFO, EXPORT, [INFO.BLOCK_SIZE]);
      const second = await tell(peer, OPT.GO, EXPORT, [INFO.BLOCK_SIZE]);
      const text = ({ information }: typeof first) =>
        [...information]
          .map(([type, data]) => `${type} ${data.toString('hex')}`)
          .sort()
          .join();
      demand(text(first) === text(second), `a size of ${first.sizeBytes}, then of ${second.sizeBytes}`);
      return undefined;
    },
  },
  {
    subject: 'GO of the empty name',
    rule: 'the default export, if there is one',
    proof: PROOF.emptyName,
    ask: async (target) => {
      const { sizeBytes } = await tell(await target.greeted(), OPT.GO, '');
      demand(sizeBytes === SIZE_BYTES, `a size of ${sizeBytes}`);
      return undefined;
    },
  },
  {
    subject: 'GO of an unknown export, then of a known one',
    rule: 'an error does not end the handshake',
    proof: PROOF.malformed,
    ask: async (target) => {
      const peer = await target.greeted();
      await refusal(ask(peer, OPT.GO, goData('nobody')));
      await (await target.transmit(peer, 'simple')).lives();
      return undefined;
    },
  },
  ...malformed(OPT.INFO, 'INFO'),
  ...malformed(OPT.GO, 'GO'),
  {
    subject: '`NBD_INFO_EXPORT` (0)',
    rule: 'MUST be told',
    proof: PROOF.info,
    ask: async (target) => {
      await tell(await target.greeted(), OPT.INFO, EXPORT);
      return undefined;
    },
  },
  {
    subject: '`NBD_INFO_NAME` (1)',
    rule: 'MAY be left out',
    proof: PROOF.info,
    ask: async (target) =>
      (await informed(target, INFO.NAME)).toString() === EXPORT ? 'supported' : 'not told',
  },
  {
    subject: '`NBD_INFO_DESCRIPTION` (2)',
    rule: 'MAY be left out',
    proof: PROOF.info,
    ask: async (target) =>
      (await informed(target, INFO.DESCRIPTION)).toString() === DESCRIPTION ? 'supported' : 'not told',
  },
  {
    subject: '`NBD_INFO_BLOCK_SIZE` (3)',
    rule: 'minimum, preferred, maximum',
    proof: PROOF.info,
    ask: async (target) => {
      const sizes = sizesOf(await informed(target, INFO.BLOCK_SIZE));
      return sizes === 'none' ? 'not told' : `supported: ${sizes}`;
    },
  },
  {
    subject: 'an unknown information type',
    rule: 'MUST be ignored',
    proof: PROOF.info,
    ask: async (target) => {
      const { information } = await tell(await target.greeted(), OPT.INFO, EXPORT, [999]);
      demand(!information.has(999), 'it is answered');
      return undefined;
    },
  },
  {
    subject: 'GO without `NBD_INFO_BLOCK_SIZE`',
    rule: '`NBD_REP_ERR_BLOCK_SIZE_REQD` SHOULD NOT be sent with default sizes',
    proof: PROOF.go,
    ask: async (target) => {
      const session = await target.session();
      await session.ask({ type: CMD.READ, offset: 511, length: 1 });
      return undefined;
    },
  },
];

const structured = (option: number, name: string, proof: Row['proof']): Row[] => [
  {
    subject: `\`NBD_OPT_${name}\` (${option})`,
    rule: 'acknowledged',
    proof,
    ask: async (target) => {
      await ask(await target.greeted(), option);
      return undefined;
    },
  },
  {
    subject: `${name} with data`,
    rule: 'SHOULD be `NBD_REP_ERR_INVALID`',
    proof,
    ask: async (target) => refused(await target.greeted(), option, Buffer.from('x')),
  },
];

const styles: Row[] = [
  ...structured(OPT.STRUCTURED_REPLY, 'STRUCTURED_REPLY', PROOF.structuredReply),
  ...structured(OPT.EXTENDED_HEADERS, 'EXTENDED_HEADERS', PROOF.extendedHeaders),
  {
    subject: 'STRUCTURED_REPLY after EXTENDED_HEADERS',
    rule: '`NBD_REP_ERR_EXT_HEADER_REQD`',
    proof: PROOF.extendedHeaders,
    ask: async (target) => {
      const peer = await target.greeted();
      if ((await refusal(ask(peer, OPT.EXTENDED_HEADERS))) !== 'supported') return 'not offered';
      return refusal(ask(peer, OPT.STRUCTURED_REPLY));
    },
  },
  {
    subject: 'EXPORT_NAME after EXTENDED_HEADERS',
    rule: 'the client MUST NOT',
    proof: PROOF.extendedHeaders,
    ask: async (target) => {
      const peer = await target.greeted();
      if ((await refusal(ask(peer, OPT.EXTENDED_HEADERS))) !== 'supported') return 'not offered';
      peer.send(optionBytes(OPT.EXPORT_NAME, Buffer.from(EXPORT)));
      await peer.take(10);
      return undefined;
    },
  },
];

export const options: Group[] = [
  { title: 'Choosing an export', rows: naming },
  { title: 'Information', rows: information },
  { title: 'Styles of reply', rows: styles },
];
