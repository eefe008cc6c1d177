#!/usr/bin/env node
// Makes one file of each program, dist/bin/*.cjs, of what the compiler has written to dist: to find, read and link some
// ninety modules takes Node longer than all else that a start does. CommonJS, for the loader of ES modules is slow to start.
// Packages with an addon stay where they are, and what only a terminal needs.
import { chmodSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

// sodium-native looks for its addon by a package that takes twice as long as the addon itself. Its place is found as
// that of all other addons; `require` is the bundle's here, beside whose folder the packages are.
const addonOfSodium = {
  name: 'sodium-native',
  setup: ({ onLoad }) =>
    onLoad({ filter: /\/sodium-native\/binding\.js$/ }, () => ({
      contents: `
        const home = require('node:path').dirname(require.resolve('sodium-native/package.json'));
        module.exports = require('node-gyp-build')(home);`,
    })),
};

// What only one key provider needs, and its user installs.
const OPTIONAL = ['@aws-sdk/client-kms', '@alicloud/credentials', 'pkcs11js'];

await build({
  entryPoints: {
    sealdisk: 'dist/cli/main.js',
    'supervisor-main': 'dist/attach/supervisor-main.js',
    'server-main': 'dist/attach/server-main.js',
    'for-caller': 'dist/cli/for-caller.js',
    'pkcs11-main': 'dist/kms/providers/pkcs11/process-main.js',
  },
  outdir: 'dist/bin',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  minifyWhitespace: true,
  external: ['sodium-native/package.json', 'fs-ext', 'node-gyp-build', 'pino-pretty', ...OPTIONAL],
  plugins: [addonOfSodium],
  define: { 'import.meta.url': 'moduleUrl' },
  banner: { js: "const moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
  logLevel: 'warning',
});
chmodSync('dist/bin/sealdisk.cjs', 0o755);
