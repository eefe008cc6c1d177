/**
 * Replies to options, byte by byte (proto.md, "Fixed newstyle negotiation" and "Option reply types").
 *
 * Each function returns one whole reply. NBD_OPT_EXPORT_NAME alone is answered without any of them.
 */

import { concat, text, u16, u32, u64 } from './bytes.js';
import {
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_REP_ACK,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  NBD_REPLY_MAGIC,
} from './constants.js';
import type { Export } from './exports.js';

function reply(option: number, type: number, data: Uint8Array): Uint8Array {
  return concat(u64(NBD_REPLY_MAGIC), u32(option), u32(type), u32(data.length), data);
}

export const ack = (option: number): Uint8Array => reply(option, NBD_REP_ACK, new Uint8Array(0));

/** `type` is one of NBD_REP_ERR_*, `message` one line for people. */
export const errorReply = (option: number, type: number, message: string): Uint8Array =>
  reply(option, type, text(message));

/** NBD_REP_SERVER: name, then the description for people. */
export function serverReply(option: number, one: Export): Uint8Array {
  const name = text(one.name);
  return reply(option, NBD_REP_SERVER, concat(u32(name.length), name, text(one.description)));
}

/** NBD_REP_META_CONTEXT; `id` is 0 where none is given (NBD_OPT_LIST_META_CONTEXT). */
export const metaContextReply = (option: number, id: number, name: string): Uint8Array =>
  reply(option, NBD_REP_META_CONTEXT, concat(u32(id), text(name)));

/** NBD_REP_INFO of the information `type` about the export; undefined where there is nothing to say. */
export function infoReply(option: number, type: number, one: Export): Uint8Array | undefined {
  const info = (...payload: Uint8Array[]) => reply(option, NBD_REP_INFO, concat(u16(type), ...payload));
  switch (type) {
    case NBD_INFO_EXPORT:
      return info(u64(one.sizeBytes), u16(one.transmissionFlags));
    case NBD_INFO_NAME:
      return info(text(one.name));
    case NBD_INFO_DESCRIPTION:
      return one.description === '' ? undefined : info(text(one.description));
    case NBD_INFO_BLOCK_SIZE:
      return info(u32(one.minimumBlockSize), u32(one.preferredBlockSize), u32(one.maximumBlockSize));
    default:
      return undefined; // proto.md: the server MUST ignore requests that it does not understand
  }
}
