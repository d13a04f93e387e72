// Puts the command line into few files: Node takes longer to find and read hundreds of modules than `check` takes to
// answer. Runs after tsc. `dist/cli/main.js` stays where it is, the modules of the library stay as they are.
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const dist = (path) => fileURLToPath(new URL(`../dist/${path}`, import.meta.url));

const bundle = await rolldown({
  // A fuzzing campaign starts its threads by URL, from beside the code that starts them.
  input: { main: dist('cli/main.js'), worker: dist('fuzz/worker.js') },
  platform: 'node',
  external: ['koffi'],
});
await bundle.write({
  dir: dist('cli'),
  format: 'esm',
  entryFileNames: ({ name }) => (name === 'main' ? 'main.js' : `bundle/${name}.js`),
  chunkFileNames: 'bundle/[name].js',
});
await bundle.close();
