import { describe, expect, test } from 'vitest';
import {
  bootKvm,
  builtInHost,
  Checker,
  type CpuidEntry2,
  describeBuiltIn,
  type Placement,
  Vmm,
} from '../../src/index.js';
import { Vcpu } from '../../src/kvm/vcpu.js';
import { Vm } from '../../src/kvm/vm.js';

const host = describeBuiltIn(builtInHost('sapphire-rapids')!);
const XTILE = (1 << 17) | (1 << 18);

function entry(fn: number, index: number, flags: number, eax: number): CpuidEntry2 {
  return { function: fn, index, flags, eax, ebx: 0, ecx: 0, edx: 0 };
}

const amx = entry(0xd, 0, 1, 7 | XTILE);
const unknownLeaf = entry(0x28, 0, 0, 1);
const oddWidth = entry(0x8000_0008, 0, 0, 0x3400);

function errno(placement: Placement, entries: readonly CpuidEntry2[], permitted: boolean): string {
  const process = { guestPermissions: permitted ? [18] : [] };
  return new Checker(host, { placement, process }).check(entries).errno;
}

describe('where paranoid mode verifies', () => {
  test.each([
    ['an unknown bit', [unknownLeaf], false, 'EINVAL', 'EINVAL'],
    ['AMX without permission', [amx], false, 'EINVAL', 'EPERM'],
    ['AMX without permission, and an unknown bit', [amx, unknownLeaf], false, 'EINVAL', 'EPERM'],
    ['AMX with permission, and an unknown bit', [amx, unknownLeaf], true, 'EINVAL', 'EINVAL'],
    ['an odd address width', [oddWidth], false, 'EINVAL', 'EINVAL'],
    ['AMX with permission', [amx], true, 'OK', 'OK'],
  ])('%s', (_, entries, permitted, separate, combined) => {
    expect(errno('separate', entries, permitted)).toBe(separate);
    expect(errno('combined', entries, permitted)).toBe(combined);
  });

  test('only the combined pass leaves a larger FPU buffer behind a refused table', () => {
    const left = (placement: Placement) => {
      const module = bootKvm(host, { policy: 'paranoid', placement });
      const vmm = new Vmm(module, { guestPermissions: [18] });
      const vm = new Vm(module, vmm.process, 0, module.defaultOverlay);
      vm.paranoid = true;
      const vcpu = new Vcpu(vm, vmm.process, 0);
      expect(vmm.setCpuid2(vmm.process.install(vcpu), [amx, unknownLeaf])).toBe('EINVAL');
      return vcpu.cpuid.fpuXfeatures !== 0;
    };
    expect(left('separate')).toBe(false);
    expect(left('combined')).toBe(true);
  });
});
