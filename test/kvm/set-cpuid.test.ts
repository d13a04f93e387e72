import { describe, expect, test } from 'vitest';
import { bootKvm, type CpuidEntry2, VM_TYPES, Vmm } from '../../src/index.js';
import { arenaVerifierOf } from '../../src/kvm/paranoid/batch.js';
import { simdMemory } from '../../src/kvm/paranoid/simd.js';
import type { Vcpu } from '../../src/kvm/vcpu.js';
import { UserMemory } from '../../src/linux/user-memory.js';
import { hostNamed } from '../support/platforms.js';
import { mutate, random } from '../support/random-tables.js';
import { multiplier } from '../support/runs.js';

const module = bootKvm(hostNamed('sapphire-rapids'), { policy: 'paranoid' });
const ARENA = 1 << 18;

function paranoidVmm(block: ReturnType<typeof simdMemory> = null) {
  const vmm = new Vmm(module, { guestPermissions: [18], arena: ARENA, block });
  const vm = vmm.prepareVm(VM_TYPES.default);
  return { vmm, vm, vcpu: vmm.createVcpu(vm, 0) };
}

const vcpuOf = (vmm: Vmm, fd: number): Vcpu => vmm.process.file(fd) as Vcpu;

describe('memory of WebAssembly', () => {
  test('is verified with vectors, unless another thread can write to it', () => {
    expect(arenaVerifierOf(new UserMemory(ARENA, simdMemory(ARENA)))?.kernel).toBe('simd');
    expect(arenaVerifierOf(new UserMemory(ARENA, simdMemory(ARENA, true)))).toBeNull();
    expect(arenaVerifierOf(new UserMemory(ARENA))).toBeNull();
    expect(arenaVerifierOf(new UserMemory(ARENA, { buffer: new ArrayBuffer(ARENA) }))).toBeNull();
  });

  test('has one verifier for all who ask', () => {
    const memory = new UserMemory(ARENA, simdMemory(ARENA));
    expect(arenaVerifierOf(memory)).toBe(arenaVerifierOf(memory));
  });

  test('gets the same answers of KVM_SET_CPUID2 as any other', () => {
    const vectors = paranoidVmm(simdMemory(ARENA));
    const plain = paranoidVmm();
    const { entries } = plain.vmm.supported();
    const below = random(5);
    const seen = new Set<string>();
    for (let n = 0; n < 1000 * Math.max(multiplier, 0.2); n++) {
      const table = mutate(entries, below);
      const answer = plain.vmm.setCpuid2(plain.vcpu, table);
      expect(vectors.vmm.setCpuid2(vectors.vcpu, table)).toBe(answer);
      seen.add(answer);
    }
    expect([...seen]).toEqual(expect.arrayContaining(['OK', 'EINVAL']));
    expect(vectors.vmm.getCpuid2(vectors.vcpu)).toEqual(plain.vmm.getCpuid2(plain.vcpu));
  });
});

describe('capabilities', () => {
  const { vmm, vm, vcpu } = paranoidVmm();
  const { entries } = vmm.supported();
  const other = vmm.createVcpu(vm, 1);
  const withLeaf = (fn: number, change: Partial<CpuidEntry2>) =>
    entries.map((entry) => (entry.function === fn ? { ...entry, ...change } : entry));

  test('are shared by tables that differ in nothing that counts', () => {
    expect(vmm.setCpuid2(vcpu, entries)).toBe('OK');
    const capabilities = vcpuOf(vmm, vcpu).guestCaps;
    expect(vmm.setCpuid2(other, withLeaf(1, { ebx: 0x0102_0800 }))).toBe('OK');
    expect(vcpuOf(vmm, other).guestCaps).toBe(capabilities);
  });

  test.each([
    ['a feature', withLeaf(1, { ecx: 0 })],
    ['the address width', withLeaf(0x8000_0008, { eax: 0x302a })],
    ['the vendor', withLeaf(0, { ebx: 0x68747541, ecx: 0x444d4163, edx: 0x69746e65 })],
    ['the place of KVM’s leaves', entries.filter((entry) => entry.function !== 0x4000_0000)],
  ])('change with %s', (_, table) => {
    expect(vmm.setCpuid2(vcpu, entries)).toBe('OK');
    const before = vcpuOf(vmm, vcpu).guestCaps;
    expect(vmm.setCpuid2(vcpu, table)).toBe('OK');
    const after = vcpuOf(vmm, vcpu).guestCaps;
    expect(after).not.toBe(before);
    expect(after).not.toEqual(before);
    expect(vmm.setCpuid2(vcpu, entries)).toBe('OK');
    expect(vcpuOf(vmm, vcpu).guestCaps).toEqual(before);
  });
});

describe('KVM_GET_SUPPORTED_CPUID', () => {
  test('says the same however often it is asked, whatever the caller does with the answer', () => {
    const { vmm } = paranoidVmm();
    const first = vmm.supported();
    vmm.process.memory.bytes.fill(0xff);
    expect(vmm.supported()).toEqual(first);
  });

  test('depends on the permission of the process', () => {
    const without = new Vmm(module).supported().entries;
    const granted = new Vmm(module, { guestPermissions: [18] }).supported().entries;
    const component = (list: readonly CpuidEntry2[]) => list.filter((e) => e.function === 0xd && e.index === 18).length;
    expect([component(without), component(granted)]).toEqual([0, 1]);
  });
});
