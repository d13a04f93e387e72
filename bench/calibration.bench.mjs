// The cycle model beside what was published. Nothing here is timed: the cycles are the simulated machine's.
import { COST_SOURCES, FAMILY_COSTS, VENDOR_COSTS } from '../dist/emu/cost-rows.js';
import { calibrate, getSupportedCycles, setCpuidCycles } from '../dist/report/calibration.js';
import { figure, finish } from './lib/report.mjs';

const round = (value) => (value < 100 ? value.toFixed(2) : value.toFixed(0));

console.log('published and model, side by side (inputs prove nothing; predictions were not fitted)');
for (const { what, kind, published, model, source, within } of calibrate()) {
  const error = model / published - 1;
  const verdict = within === null ? '' : Math.abs(error) <= within ? '' : `  more than ${within * 100} % off`;
  console.log(
    `  ${kind.padEnd(10)} ${what.padEnd(80)} ${round(published).padStart(6)} ${round(model).padStart(8)} ${(error * 100).toFixed(1).padStart(6)} %  ${source}${verdict}`,
  );
  if (kind === 'prediction') figure(`model / published: ${what}`, model / published, 'x');
}

console.log('KVM_SET_CPUID2 on sapphire-rapids in cycles (estimates: only differences mean something)');
console.log('    nent      off  paranoid, separate  paranoid, combined');
for (const { nent, off, separate, combined } of setCpuidCycles())
  console.log(
    `  ${String(nent).padStart(6)} ${String(off).padStart(8)} ${String(separate).padStart(19)} ${String(combined).padStart(19)}`,
  );
console.log('KVM_GET_SUPPORTED_CPUID in cycles, most of them CPUID instructions');
for (const host of ['skylake-sp', 'ice-lake-sp', 'sapphire-rapids', 'rome', 'genoa']) {
  const { nent, cycles } = getSupportedCycles(host);
  console.log(`  ${host.padEnd(18)} ${String(nent).padStart(4)} entries ${String(cycles).padStart(8)}`);
}

const rows = [...Object.values(VENDOR_COSTS), ...Object.values(FAMILY_COSTS)].flatMap((table) => Object.values(table));
const count = (kind) => rows.filter((row) => row[1] === kind).length;
console.log(`cost rows: ${count('measured')} measured, ${count('derived')} derived, ${count('estimate')} estimates`);
console.log(`by: ${Object.keys(COST_SOURCES).join(', ')}`);
finish('calibration');
