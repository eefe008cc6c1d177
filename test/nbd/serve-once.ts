/** A server in a process of its own, for strace: serves the socket of its argument until one transmission has ended. */

import { startServer } from '#sealdisk/nbd/server.js';
import { zeroTransmission } from './rig.js';
import { disk } from './wire.js';

const server = await startServer({
  listen: { path: process.argv[2] ?? '' },
  exports: () => [disk],
  transmit: zeroTransmission,
  onEvent: (event) => {
    if (event.kind === 'ended') void server.close();
  },
});
process.stdout.write('ready\n');
