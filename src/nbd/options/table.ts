/**
 * The options that the handshake speaks: number and row. Whatever has no row is `unsupported`.
 */

import { NBD_OPT_ABORT, NBD_OPT_EXPORT_NAME, NBD_OPT_GO, NBD_OPT_INFO, NBD_OPT_LIST } from '../constants.js';
import { abort } from './abort.js';
import { exportName } from './export-name.js';
import { go, info } from './go.js';
import { list } from './list.js';
import type { Option } from './option.js';
import { unsupported } from './unsupported.js';

export const OPTIONS: ReadonlyMap<number, Option> = new Map([
  [NBD_OPT_EXPORT_NAME, exportName],
  [NBD_OPT_ABORT, abort],
  [NBD_OPT_LIST, list],
  [NBD_OPT_INFO, info],
  [NBD_OPT_GO, go],
]);

export const optionOf = (option: number): Option => OPTIONS.get(option) ?? unsupported;
