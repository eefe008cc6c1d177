/** libsodium, by require(): `import` of a CommonJS package compiles a lexer first, which takes longer than the package. */

import { createRequire } from 'node:module';
import type sodium from 'sodium-native';

export default createRequire(import.meta.url)('sodium-native') as typeof sodium;
