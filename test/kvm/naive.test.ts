import { describe, expect, test } from 'vitest';
import { bootKvm, type HostDescription, withInputs } from '../../src/api/host.js';
import { Vmm } from '../../src/api/vmm.js';
import { formatEntry } from '../../src/cpuid/entry.js';
import type { Overlay } from '../../src/cpuid/features.js';
import { KERNEL_LINES, type KernelLine } from '../../src/cpuid/kernel-line.js';
import { putEntry } from '../../src/kvm/cpuid-table.js';
import { AllowedTable } from '../../src/kvm/paranoid/allowed-table.js';
import { Explainer } from '../../src/kvm/paranoid/findings.js';
import { firstRefused } from '../../src/kvm/paranoid/verify.js';
import type { Defect, Reserved } from '../../src/kvm/policy.js';
import { readVariable } from '../../src/linux/scope.js';
import { inputsFromCapture, type NaiveHost, naiveHost, naiveSupported } from '../naive/host.js';
import { naiveVerify } from '../naive/verify.js';
import { captureNames, loadCapture } from '../support/captures.js';
import { allHosts, platformsOf } from '../support/hosts.js';
import { mutate, random } from '../support/random-tables.js';

// One recording is of a host on which kvm-amd does not load.
const hosts = allHosts().filter((host) => platformsOf(host).length > 0);
const recorded = new Set(captureNames);

/** How many tables the two verifiers are compared on. */
const TABLES = 250_000 * Number(process.env.KVM_CPUID_RUNS ?? 1);

/** The same host for the naive side: it reads a capture by itself; of other hosts it gets the rows and what only MSRs tell. */
function naiveOf(name: string, host: HostDescription, kernel: KernelLine, guestPermAmx: boolean): NaiveHost {
  if (recorded.has(name)) return naiveHost({ ...inputsFromCapture(loadCapture(name)), kernel, guestPermAmx });
  // A host whose virtualization was assumed to be on is, for the naive side, a host that shows it.
  const assumed = host.inputs.flags.set.map(({ word, mask }) => ({ fn: word.function, mask }));
  const rows = host.cpus[0]!.map(({ function: fn, index, eax, ebx, ecx, edx }) => {
    const more = assumed.reduce((bits, flag) => (flag.fn === fn ? bits | flag.mask : bits), 0);
    return [fn, index, eax, ebx, (ecx | more) >>> 0, edx] as [number, number, number, number, number, number];
  });
  const { state } = bootKvm(withInputs(host, { kernel })).kernel;
  const known = ['arch_capabilities', 'microcode', 'pmu_pebs_ept']
    .map((fact) => [fact, Number(readVariable(state, fact))] as const)
    .filter(([, value]) => value !== 0);
  return naiveHost({ rows, kernel, vars: Object.fromEntries(known), guestPermAmx });
}

const OVERLAYS = { DEFAULT: 'vmx', SVM: 'svm', TDX: 'tdx' } as const;

describe('the naive verifier agrees', () => {
  test.each(hosts)('$name: KVM_GET_SUPPORTED_CPUID on every kernel line', (host) => {
    const { name } = host;
    for (const kernel of KERNEL_LINES) {
      for (const amx of [false, true]) {
        const module = bootKvm(withInputs(host, { kernel }));
        const vmm = new Vmm(module, { guestPermissions: amx ? [18] : [] });
        const naive = naiveSupported(naiveOf(name, host, kernel, amx), amx);
        expect(vmm.supported().entries.map(formatEntry), `kernel ${kernel}, amx ${amx}`).toEqual(naive);
      }
    }
  });

  describe(`on ${TABLES} random and mutated tables, findings included`, () => {
    const perHost = Math.ceil(TABLES / hosts.length);
    test.each(hosts.map((host, seed) => ({ name: host.name, host, seed })))(
      `$name: ${perHost}`,
      ({ name, host, seed }) => {
        compare(name, host, seed, perHost);
      },
    );
  });
});

interface Variation {
  readonly reserved: Reserved;
  readonly defects: readonly Defect[];
  readonly amx: boolean;
}

/** Which variation of the policy a setup gets: all of them over all hosts. */
const VARIATIONS: readonly Variation[] = [
  { reserved: 'zero', defects: [], amx: false },
  { reserved: 'zero', defects: [], amx: true },
  { reserved: 'ignore', defects: [], amx: false },
  { reserved: 'zero', defects: ['emulated-index-blind'], amx: false },
  { reserved: 'zero', defects: ['flagless-first-row'], amx: true },
];

function compare(name: string, host: HostDescription, seed: number, count: number): void {
  const below = random(seed + 1);
  // The rules of 6.1 differ by design in one row: 80000007.EDX, which its caps do not hold.
  const kernel = KERNEL_LINES[1 + below(KERNEL_LINES.length - 1)]!;
  const naives = new Map<boolean, NaiveHost>();
  for (const variation of VARIATIONS) {
    const naive = naives.get(variation.amx) ?? naiveOf(name, host, kernel, variation.amx);
    naives.set(variation.amx, naive);
    const module = bootKvm(withInputs(host, { kernel }), variation);
    const vmm = new Vmm(module, { guestPermissions: variation.amx ? [18] : [] });
    const overlays: Overlay[] = module.vendor.name === 'kvm_intel' ? ['DEFAULT', 'TDX'] : ['SVM'];
    for (const overlay of overlays) {
      const options = module.allowedOptions(overlay, vmm.process);
      const allowed = new AllowedTable(options);
      const explainer = new Explainer(allowed, options);
      const valid = [...module.supported(overlay, vmm.process), ...module.emulated(overlay).slice(1)];
      const words = new Uint32Array(300 * 10);
      for (let n = Math.ceil(count / VARIATIONS.length / overlays.length); n > 0; n--) {
        const table = mutate(valid, below).slice(0, 256);
        for (const [position, entry] of table.entries()) putEntry(words, position, entry);
        const mine = explainer
          .findings(table)
          .map(({ entry, register, offending }) => ({ entry, register, offending }));
        const theirs = naiveVerify(naive, OVERLAYS[overlay], table, {
          reserved: variation.reserved,
          defects: [...variation.defects],
          guestPermAmx: variation.amx,
        });
        const place = () =>
          `${name}, kernel ${kernel}, ${overlay}, ${JSON.stringify(variation)}, seed ${seed + 1}, ${n} left: ${table.map(formatEntry).join('\n')}`;
        if (JSON.stringify(mine) !== JSON.stringify(theirs)) expect(mine, place()).toEqual(theirs);
        const first = firstRefused(allowed, words, table.length);
        if (first !== (theirs[0]?.entry ?? -1)) expect(first, place()).toBe(theirs[0]?.entry ?? -1);
      }
    }
  }
}
