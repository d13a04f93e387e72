import { existsSync, readFileSync } from 'node:fs';
import { createRequire, Module } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';

/**
 * How the command line comes into memory. The build puts it into one file and keeps beside it what V8 made of that file
 * (its code cache), because to read and to compile the source takes longer than `check` takes to answer. A cache of
 * another V8 is refused by V8 itself: then the source is compiled, as if there were none.
 */

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The program: a CommonJS module of ASCII characters. */
const PROGRAM = here('program.js');
export const CODE_CACHE = here('program.cache');

/** Runs the program with the words of `process.argv`. @returns what V8 has compiled of it, for {@link CODE_CACHE} */
export function startProgram(): Script {
  const options = existsSync(CODE_CACHE) ? { cachedData: readFileSync(CODE_CACHE) } : {};
  const script = new Script(Module.wrap(readFileSync(PROGRAM, 'latin1')), { filename: PROGRAM, ...options });
  const module = new Module(PROGRAM);
  const require = createRequire(PROGRAM);
  // Parts that are loaded later require it in turn.
  require.cache[PROGRAM] = module;
  script.runInThisContext()(module.exports, require, module, PROGRAM, here('.'));
  return script;
}
