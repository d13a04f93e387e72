// Runs the built program with the words given, and keeps what V8 has compiled of it.
import { writeFileSync } from 'node:fs';
import { CODE_CACHE, startProgram } from '../dist/cli/start.js';

const script = startProgram();
process.on('exit', () => writeFileSync(CODE_CACHE, script.createCachedData()));
