// Simulated instructions a second: both engines and a bare loop, on programs that branches can be foretold of and not.
// Paging is on, a timer is set, blocks are traced and checked: as always.
import { bootKvm, builtInHost, describeBuiltIn } from '../dist/index.js';
import { bareLoop, guest, PROGRAMS, runFor } from './lib/guest-programs.mjs';
import { measure, quick } from './lib/measure.mjs';
import { bennyRows, figure, finish, measured } from './lib/report.mjs';

const CYCLES = 100_000;
/** Instructions before anything is measured: V8 compiles hundreds of functions, each when it has found it hot. */
const WARM = quick ? 40e6 : 150e6;
const CHOSEN = quick ? ['A', 'D', 'E'] : ['A', 'B', 'C', 'D', 'E'];
const host = bootKvm(describeBuiltIn(builtInHost('sapphire-rapids'))).kernel.hardware.cpus[0].core;
const BARE = 'bare switch loop';
const NEVER = 1e15;
const BARS = { D: ['>=', 150], E: ['>=', 100] };

for (const [name, program] of Object.entries(PROGRAMS)) {
  const [letter] = name;
  if (!CHOSEN.includes(letter)) continue;
  const blocks = program();
  const cores = ['interpreted', 'compiled'].map((engine) => guest(host, blocks, engine));
  for (const core of cores) core.events.push(NEVER, 1, 0x20);
  const counts = cores.map((core) => [runFor(core, CYCLES), runFor(core, CYCLES)]);
  const [interpreter, compiler] = cores;
  if (interpreter.trace.value !== compiler.trace.value || interpreter.rflags !== compiler.rflags)
    throw new Error(`${name}: the engines disagree`);
  const per = counts[0][1];
  for (let done = 0; done < WARM; ) done += runFor(compiler, CYCLES);
  const loop = bareLoop(blocks);
  const cases = {
    [BARE]: () => loop(per),
    interpreted: () => runFor(interpreter, CYCLES),
    compiled: () => runFor(compiler, CYCLES),
  };
  if (!quick) await bennyRows(name, cases, per, 'instructions');
  const result = measure(cases, BARE, per, { sample: 4 });
  measured(name, result, BARE, 'instructions');
  figure(`${letter}: compiled, speed`, 1e3 / result.compiled.ns, 'M instructions/s', BARS[letter]);
  figure(`${letter}: interpreted, speed`, 1e3 / result.interpreted.ns, 'M instructions/s');
  figure(`${letter}: interpreted / compiled`, result.interpreted.ratio / result.compiled.ratio, 'x');
  figure(`${letter}: interpreted / bare switch loop`, result.interpreted.ratio, 'x');
  figure(`${letter}: compiled / bare switch loop`, result.compiled.ratio, 'x');
}
finish('emulator');
