// Builds `dist/` from the sources; the declarations beside it come from the TypeScript compiler.
//
// The library: all code in one module, `dist/bundle/library.js` (what needs Node or a package in two others), and for each
// source a module that gives what that source exports. V8 compiles the constants of a module into its code, but reads
// imported ones from memory, each time: with a module for each source the machine is a fifth slower.
//
// The command line, `dist/cli/`: a few CommonJS files, since Node takes longer to find and read hundreds of modules, and V8
// to compile them, than `check` takes to answer. What V8 compiles is kept in `program.cache` (see `src/cli/start.ts`).
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Two-byte strings take twice as long to read. All places where such characters stand know these escapes. */
const ascii = (code) => code.replace(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** An exported constant would be read from memory by its own module too: so that others get constants of the same value. */
const aside = (code) =>
  code.replace(/^export \{([^}]*)\};$/m, (_, names) => {
    const pairs = names.split(',').map((name) => name.trim().split(' as '));
    const copies = pairs.map(([name], at) => `${name}$${at} = ${name}`);
    const exported = pairs.map(([name, as = name], at) => `${name}$${at} as ${as}`);
    return `const ${copies.join(', ')};\nexport { ${exported.join(', ')} };`;
  });

/**
 * Bundles sources.
 *
 * @param folder where the result is put, in `dist/`
 * @param sources by the names of what becomes of them
 */
async function write(folder, sources, external, output) {
  const input = Object.fromEntries(Object.entries(sources).map(([name, path]) => [name, root(path)]));
  const bundle = await rolldown({ input, platform: 'node', external, tsconfig: root('tsconfig.json') });
  const names = { entryFileNames: '[name].js', chunkFileNames: 'bundle/[name].js' };
  const built = await bundle.generate({ dir: root(folder), ...names, ...output });
  for (const { fileName, code, source } of built.output) {
    const path = join(root(folder), fileName);
    mkdirSync(dirname(path), { recursive: true });
    const isShared = fileName.startsWith('bundle/') && output.format === 'esm';
    writeFileSync(path, code === undefined ? source : ascii(isShared ? aside(code) : code));
  }
  await bundle.close();
}

const paths = readdirSync(root('src'), { recursive: true }).map((path) => path.replaceAll('\\', '/'));
const sources = paths.filter((path) => path.endsWith('.ts') && !path.startsWith('cli/'));
const modules = Object.fromEntries(sources.map((path) => [path.replace(/\.ts$/, ''), `src/${path}`]));
/** What the public API is made of runs everywhere: it imports nothing from Node, and no package. */
const LIBRARY = ['index.ts', 'api', 'cpuid', 'emu', 'hosts', 'kvm', 'linux', 'svm', 'tdx', 'vmx'].map(
  (name) => `src/${name}`,
);
const isLibrary = (id) => LIBRARY.some((path) => id === root(path) || id.startsWith(root(`${path}/`)));
const isFuzz = (id) => id.startsWith(root('src/fuzz/'));
/** What a thread begins with runs when it is loaded. */
const isThread = (id) => id.endsWith('/worker.ts');

rmSync(root('dist/bundle'), { recursive: true, force: true });
await write('dist', modules, ['fast-check', 'koffi'], {
  format: 'esm',
  sourcemap: true,
  minifyInternalExports: false,
  codeSplitting: {
    groups: [
      { name: 'library', test: isLibrary, priority: 2 },
      { name: 'tools', test: (id) => id.startsWith(root('src/')) && !isFuzz(id) && !isThread(id), priority: 1 },
      { name: 'fuzz', test: (id) => isFuzz(id) && !isThread(id) },
    ],
  },
});

rmSync(root('dist/cli'), { recursive: true, force: true });
const cli = { format: 'cjs' };
await write('dist/cli', { main: 'src/cli/main.ts', start: 'src/cli/start.ts' }, ['koffi'], cli);
await write('dist/cli', { program: 'src/cli/program.ts' }, ['koffi'], cli);
// A fuzzing campaign starts its threads by URL.
await write('dist/cli', { 'fuzz/worker': 'src/fuzz/worker.ts' }, ['koffi'], { ...cli, codeSplitting: false });
writeFileSync(root('dist/cli/package.json'), '{ "type": "commonjs" }\n');

// What has run is in the cache.
const table = root('examples/qemu-11.1.3-GraniteRapids-fred.json');
const words = [root('scripts/code-cache.mjs'), 'check', table, '--host', 'sapphire-rapids'];
const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
if (status !== 1) throw new Error(`the program ends with ${status} on a table that is refused: ${stderr}`);
