// Runs each subject in a process of its own: V8's type feedback of one would colour the next.
//
//   npm run bench            all subjects
//   npm run bench:quick      the same with fewer samples
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = new URL('./', import.meta.url);
const quick = process.argv.includes('--quick');
const wanted = process.argv.slice(2).filter((word) => !word.startsWith('--'));

const subjects = readdirSync(here)
  .filter((file) => file.endsWith('.bench.mjs'))
  .filter((file) => wanted.length === 0 || wanted.some((word) => file.startsWith(word)));

let failed = false;
for (const subject of subjects) {
  const { status } = spawnSync(process.execPath, ['--expose-gc', fileURLToPath(new URL(subject, here))], {
    stdio: 'inherit',
    env: { ...process.env, BENCH_QUICK: quick ? '1' : '' },
  });
  failed ||= status !== 0;
}
process.exitCode = failed ? 1 : 0;
