/**
 * Entry of the thread that holds one PKCS#11 module: it does what it is asked, one thing at a time, and may be blocked by
 * the module for as long as that likes.
 */

import { createRequire } from 'node:module';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import type * as Pkcs11 from 'pkcs11js';
import { catalogued } from '../../../errors.js';
import { TokenModule } from './token.js';
import type { Answer, KeyWork, ThreadData, Work } from './work.js';

const { modulePath, mailbox } = workerData as ThreadData;
const port = parentPort as MessagePort;
const pkcs11 = createRequire(import.meta.url)('pkcs11js') as typeof Pkcs11;
const module = new TokenModule(pkcs11, modulePath, Buffer.from(mailbox));

function answer(work: KeyWork): Answer {
  try {
    return { done: module.do(work) };
  } catch (error) {
    return { failure: catalogued(error).toJSON() };
  }
}

port.on('message', (work: Work) => {
  if (work.verb !== 'end') return port.postMessage(answer(work));
  module.end();
  port.close();
});
