/**
 * NBD_OPT_GO and NBD_OPT_INFO: the same request and the same replies; after a GO that succeeds transmission begins.
 *
 * NBD_INFO_EXPORT is always told, the others where they are asked for, each once however often it is asked for. Block
 * sizes are never demanded (NBD_REP_ERR_BLOCK_SIZE_REQD), because the engine serves any alignment.
 */

import { readText, readU16, readU32, shown } from '../bytes.js';
import {
  NBD_INFO_EXPORT,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
} from '../constants.js';
import type { Export } from '../exports.js';
import { GO_KEPT_MAX_BYTES, STRING_MAX_BYTES } from '../limits.js';
import { ack, infoReply } from '../replies.js';
import { findExport, negotiatedFor, type Session } from '../session.js';
import { type Answer, haggle, type Option, refuse, transmit } from './option.js';

type Request =
  | { kind: 'good'; name: string; infoTypes: readonly number[] }
  | { kind: 'bad'; replyType: number; why: string };

/** Length of the name, name, number of information requests, the requests; nothing after them. */
function parse(data: Uint8Array): Request {
  const bad = (why: string): Request => ({ kind: 'bad', replyType: NBD_REP_ERR_INVALID, why });
  if (data.length < 6) return bad(`${data.length} bytes of data, at least 6 are needed`);
  const nameBytes = readU32(data, 0);
  if (nameBytes > data.length - 6) return bad(`a name of ${nameBytes} bytes does not fit the data`);
  if (nameBytes > STRING_MAX_BYTES) {
    const why = `a name of ${nameBytes} bytes is longer than ${STRING_MAX_BYTES}`;
    return { kind: 'bad', replyType: NBD_REP_ERR_TOO_BIG, why };
  }
  const name = readText(data.subarray(4, 4 + nameBytes));
  if (name === undefined) return bad('the name is not UTF-8 without NUL');
  const count = readU16(data, 4 + nameBytes);
  const listAt = 4 + nameBytes + 2;
  if (data.length - listAt !== 2 * count) {
    return bad(`${count} information requests do not fill ${data.length - listAt} bytes`);
  }
  const infoTypes = Array.from({ length: count }, (_, i) => readU16(data, listAt + 2 * i));
  return { kind: 'good', name, infoTypes };
}

function repliesFor(option: number, one: Export, infoTypes: readonly number[]): Uint8Array[] {
  const asked = [...new Set([NBD_INFO_EXPORT, ...infoTypes])];
  const infos = asked.map((type) => infoReply(option, type, one)).filter((reply) => reply !== undefined);
  return [...infos, ack(option)];
}

function answer(session: Session, option: number, data: Uint8Array, thenTransmit: boolean): Answer {
  const request = parse(data);
  if (request.kind === 'bad') return refuse(session, option, request.replyType, request.why);
  const found = findExport(session, request.name);
  if (found === 'TLS required') return refuse(session, option, NBD_REP_ERR_TLS_REQD, 'begin TLS first');
  if (found === 'unknown') {
    return refuse(session, option, NBD_REP_ERR_UNKNOWN, `no export ${shown(request.name)}`);
  }
  const { transmissionFlags } = negotiatedFor(session, found);
  const output = repliesFor(option, { ...found, transmissionFlags }, request.infoTypes);
  return thenTransmit ? transmit(session, found, output) : haggle(session, ...output);
}

const shared = {
  keptMaxBytes: GO_KEPT_MAX_BYTES,
  answerLonger: (session: Session, option: number) =>
    refuse(session, option, NBD_REP_ERR_TOO_BIG, `data longer than ${GO_KEPT_MAX_BYTES} bytes`),
};

export const go: Option = {
  ...shared,
  name: 'NBD_OPT_GO',
  answer: (session, option, data) => answer(session, option, data, true),
};

export const info: Option = {
  ...shared,
  name: 'NBD_OPT_INFO',
  answer: (session, option, data) => answer(session, option, data, false),
};
