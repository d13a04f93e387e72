// Builds the command line, `dist/cli/`: a few CommonJS files, since Node takes longer to find and read hundreds of modules,
// and V8 to compile them, than `check` takes to answer. What V8 compiles is kept in `program.cache` (see `src/cli/start.ts`).
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const CLI = root('dist/cli');

/** Two-byte strings take twice as long to read. All places where such characters stand know these escapes. */
const ascii = (code) => code.replace(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

async function write(sources, output = {}) {
  const input = Object.fromEntries(Object.entries(sources).map(([name, path]) => [name, root(path)]));
  const bundle = await rolldown({ input, platform: 'node', external: ['koffi'] });
  const names = { entryFileNames: '[name].js', chunkFileNames: 'bundle/[name].js' };
  const built = await bundle.generate({ dir: CLI, format: 'cjs', ...names, ...output });
  for (const { fileName, code } of built.output) writeFileSync(`${CLI}/${fileName}`, ascii(code));
  await bundle.close();
}

rmSync(CLI, { recursive: true, force: true });
mkdirSync(`${CLI}/bundle`, { recursive: true });
await write({ main: 'src/cli/main.ts', start: 'src/cli/start.ts' });
await write({ program: 'src/cli/program.ts' });
// A fuzzing campaign starts its threads by URL, from beside the code that starts them.
await write({ 'bundle/worker': 'src/fuzz/worker.ts' }, { codeSplitting: false });
writeFileSync(`${CLI}/package.json`, '{ "type": "commonjs" }\n');

// What has run is in the cache.
const table = root('examples/qemu-11.1.3-GraniteRapids-fred.json');
const words = [root('scripts/code-cache.mjs'), 'check', table, '--host', 'sapphire-rapids'];
const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
if (status !== 1) throw new Error(`the program ends with ${status} on a table that is refused: ${stderr}`);
