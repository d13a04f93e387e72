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

/** The bundled program, a CommonJS module; `program.js` is the same in pieces. */
export const PROGRAM = here('program.cjs');
export const CODE_CACHE = here('program.cache');

/** Runs the program with the words of `process.argv`. @returns what V8 has compiled, for a cache; null when nothing is bundled */
export function startProgram(): Script | null {
  if (!existsSync(PROGRAM)) {
    void import('./program.js');
    return null;
  }
  const options = existsSync(CODE_CACHE) ? { cachedData: readFileSync(CODE_CACHE) } : {};
  const script = new Script(Module.wrap(readFileSync(PROGRAM, 'utf8')), { filename: PROGRAM, ...options });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(PROGRAM), module, PROGRAM, here('.'));
  return script;
}
