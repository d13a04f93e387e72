import { describe, expect, test } from 'vitest';
import { formatEntry } from '../../src/cpuid/entry.js';
import { bootKvm, KERNEL_LINES, type KernelLine, Vmm, withInputs } from '../../src/index.js';
import { KVM_GET_EMULATED_CPUID, KVM_GET_SUPPORTED_CPUID } from '../../src/kvm/abi.js';
import { KVM_MAX_CPUID_ENTRIES, permittedXcr0 } from '../../src/kvm/supported.js';
import { readVariable } from '../../src/linux/scope.js';
import { naiveHost, naiveSupported } from '../naive/host.js';
import { bootCapture } from '../support/capture-host.js';
import { loadCapture } from '../support/captures.js';
import { hostNamed } from '../support/platforms.js';
import { load, Userspace } from '../support/simulator.js';

/** Of each vendor, with and without XSAVE, with nested virtualization off, and of the oldest kernel. */
const RECORDED = [
  'tcg-7.3.4-max',
  'bochs-7.3.4-sapphire_rapids',
  'tcg-6.1-Dhyana',
  'tcg-7.3.4-max-noxsave',
  'bochs-6.1-corei7_skylake_x',
  'tcg-7.3.4-max-p-npt0',
  'bochs-7.3.4-arrow_lake-p-ept0',
  'tcg-6.12-EPYC-Genoa',
  'bochs-6.18-arrow_lake',
];

/** What only MSRs and the firmware tell. */
const FACTS = ['arch_capabilities', 'microcode', 'pmu_pebs_ept'];

describe('what recorded kernels report', () => {
  test.each(RECORDED)('%s', (name) => {
    const capture = loadCapture(name);
    const kernel = bootCapture(capture);
    load(kernel);
    const user = new Userspace(kernel, {
      guestPermissions: capture.name.startsWith('bochs-7.3.4-sapphire') ? [18] : [],
    });
    const kvm = user.process.open('/dev/kvm');
    expect(user.get(kvm, KVM_GET_SUPPORTED_CPUID)).toEqual({ errno: 'OK', entries: capture.supported.entries });
    expect(user.get(kvm, KVM_GET_EMULATED_CPUID)).toEqual({ errno: 'OK', entries: capture.emulated.entries });
  });
});

describe('what a kernel written apart reports', () => {
  const rows = ['sapphire-rapids', 'granite-rapids', 'genoa', 'turin', 'zhaoxin-kh40000'].flatMap((host) =>
    KERNEL_LINES.map((line) => [host, line] as const),
  );
  test.each(rows)('%s, %s', (name, kernel) => {
    const host = withInputs(hostNamed(name), { kernel });
    const module = bootKvm(host);
    const { state } = module.kernel;
    const vars = Object.fromEntries(FACTS.map((fact) => [fact, Number(readVariable(state, fact))]));
    const table = host.cpus[0]!.map(({ function: fn, index, eax, ebx, ecx, edx }) => [fn, index, eax, ebx, ecx, edx]);
    for (const guestPermAmx of [false, true]) {
      const vmm = new Vmm(module, { guestPermissions: guestPermAmx ? [18] : [] });
      const naive = naiveHost({ rows: table, kernel, vars, guestPermAmx });
      expect(vmm.supported().entries.map(formatEntry)).toEqual(naiveSupported(naive, guestPermAmx));
    }
  });
});

describe('permission for XTILEDATA', () => {
  const TILES = 0x6_0000;
  const rows: [KernelLine, permissions: number, left: number][] = [
    ['6.1', 0, 0x2_0000],
    ['7.3', 0, 0],
    ['7.3', 1 << 17, 0],
    ['7.3', 1 << 18, TILES],
    ['6.1', 1 << 18, TILES],
  ];
  test.each(rows)('%s, permissions %s: %s of both tiles', (kernel, permissions, left) => {
    const module = bootKvm(withInputs(hostNamed('sapphire-rapids'), { kernel }));
    const caps = module.caps('DEFAULT');
    expect(caps.supportedXcr0 & TILES).toBe(TILES);
    expect(permittedXcr0(caps, permissions)).toBe((caps.supportedXcr0 & ~TILES) | left);
  });
});

describe('a CPU whose leaves do not end', () => {
  const rows: [name: string, fn: number, eax: number][] = [
    ['caches of leaf 4', 4, 1],
    ['palettes of leaf 0x1d', 0x1d, 0xffff_ffff],
  ];
  test.each(rows)('%s: the list is cut, but for the first entry of each range', (_, fn, eax) => {
    const host = hostNamed('sapphire-rapids');
    const others = host.cpus[0]!.filter((row) => row.function !== fn);
    const endless = Array.from({ length: 400 }, (_, index) => ({ function: fn, index, eax, ebx: 1, ecx: 0, edx: 0 }));
    const module = bootKvm({ ...host, cpus: [[...others, ...endless]] });
    const { process } = new Vmm(module, { guestPermissions: [18] });
    expect(module.supported('DEFAULT', process)).toHaveLength(KVM_MAX_CPUID_ENTRIES + 3);
  });
});
