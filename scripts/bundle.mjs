// Puts the command line into few files and has V8 compile them: Node takes longer to find and read hundreds of modules,
// and V8 to compile them, than `check` takes to answer. Runs after tsc; the modules of the library stay as they are.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const CLI = root('dist/cli');
const COMMON = { platform: 'node', external: ['koffi'] };

async function write(input, output) {
  const bundle = await rolldown({ ...COMMON, input });
  await bundle.write({ dir: CLI, ...output });
  await bundle.close();
}

// A cache is tied to the length of its source, no more: it must not outlive it.
rmSync(root('dist/cli/program.cache'), { force: true });
await write(
  { program: root('dist/cli/program.js') },
  { format: 'cjs', entryFileNames: '[name].cjs', chunkFileNames: 'bundle/[name].cjs' },
);
// A fuzzing campaign starts its threads by URL, from beside the code that starts them.
await write({ worker: root('dist/fuzz/worker.js') }, { format: 'esm', entryFileNames: 'bundle/[name].js' });

// What has run is in the cache.
const table = root('examples/qemu-11.1.3-GraniteRapids-fred.json');
const words = [root('scripts/code-cache.mjs'), 'check', table, '--host', 'sapphire-rapids'];
const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
if (status !== 1) throw new Error(`the program ends with ${status} on a table that is refused: ${stderr}`);
