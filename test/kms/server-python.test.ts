import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { awsOperations } from '#sealdisk/kms/server/aws/protocol.js';
import { run } from '../cli/rig.js';
import { environmentOf, startFace } from './face.js';

/** Newer than the clients that Debian 12 has. */
const NEWER = ['RotateKeyOnDemand', 'ListKeyRotations'];

async function ranBy(t: Test, script: string): Promise<string[]> {
  const face = await startFace(t, { region: 'eu-central-1' });
  const path = fileURLToPath(new URL(`../../test/kms/${script}`, import.meta.url));
  const words = [path, face.serving.origin, 'eu-central-1'];
  const nothing = { AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null' };
  const env = { ...process.env, ...nothing, ...environmentOf(face.accessKey), PYTHONDONTWRITEBYTECODE: '1' };
  const { code, out, err } = await run('/usr/bin/python3', words, env);
  t.equal(code, 0, err);
  return [...new Set(out.trim().split('\n'))];
}

const known = (ran: string[]): string[] =>
  awsOperations().filter((operation) => ran.includes(operation) || !NEWER.includes(operation));

t.test('boto3 runs every operation', async (t) => {
  const ran = await ranBy(t, 'boto3-client.py');
  t.same(ran.sort(), known(ran).sort());
});

t.test('awscli runs every operation', async (t) => {
  const words = await ranBy(t, 'awscli-client.py');
  const ran = words.map((word) => word.replace(/(^|-)([a-z])/g, (_, __, letter) => letter.toUpperCase()));
  t.same(ran.sort(), known(ran).sort());
});
