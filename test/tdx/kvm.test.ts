import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CpuidEntry2, type KernelLine, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, VM_TYPES, Vmm } from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import type { Vcpu } from '../../src/kvm/vcpu.js';
import { KvmTd } from '../../src/tdx/kvm-vm.js';
import { runs } from '../support/runs.js';
import { bootTdx, type Command, entry, type InitVm, TdCaller, tdxHosts, WIDTH_48 } from './kvm-caller.js';

/**
 * KVM_MEMORY_ENCRYPT_OP on a TD as a C program sees it: one row for each errno rule, and the order in which they speak.
 */

const HOST = tdxHosts.find(({ name }) => name === 'sapphire-rapids')!;
/** Kernel lines that have TDs. */
const LINES: readonly KernelLine[] = ['6.18', '7.1', '7.3'];
const NOWHERE = 0xffff_8880_0000_0000n;
const SIGNIFICANT = { flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX };

const booted = new Map(LINES.map((line) => [line, bootTdx(HOST, {}, line)]));
const caller = (line: KernelLine = '7.3') => new TdCaller(booted.get(line)!);

describe.each(LINES)('Linux %s', (line) => {
  describe('KVM_TDX_CAPABILITIES', () => {
    const rows: readonly (readonly [what: string, command: Partial<Command>, nent: number | null, errno: string])[] = [
      ['as it should be', {}, 256, 'OK'],
      ['more room than there can be entries', {}, 0xffff_ffff, 'OK'],
      ['flags', { flags: 1 }, 256, 'EINVAL'],
      ['hw_error on input', { hwError: 1 }, 256, 'EINVAL'],
      ['no room', {}, 0, 'E2BIG'],
      ['nowhere to write to', { data: NOWHERE }, null, 'EFAULT'],
      ['flags, before the address', { flags: 1, data: NOWHERE }, null, 'EINVAL'],
    ];

    test.each(rows)('%s', (_, command, nent, errno) => {
      const user = caller(line);
      if (nent !== null) user.putHeader(nent, abi.TDX_CAPABILITIES.cpuid);
      expect(user.command(user.td(), { id: abi.KVM_TDX_CAPABILITIES, ...command })).toBe(errno);
    });

    test('needs room for every leaf that the module can configure, and does not say how many they are', () => {
      const user = caller(line);
      const td = user.td();
      const vmm = new Vmm(user.module);
      const { length } = vmm.tdxCapabilities(vmm.createVm(VM_TYPES.tdx)).entries;
      expect(length).toBeGreaterThan(0);
      for (const nent of [length - 1, length]) {
        user.clear();
        user.putHeader(nent, abi.TDX_CAPABILITIES.cpuid);
        const enough = nent >= length;
        expect(user.command(td, { id: abi.KVM_TDX_CAPABILITIES })).toBe(enough ? 'OK' : 'E2BIG');
        expect(user.entries(abi.TDX_CAPABILITIES.cpuid)).toHaveLength(nent);
      }
    });

    test('may be asked before and after KVM_TDX_INIT_VM', () => {
      const user = caller(line);
      const td = user.td();
      for (const initialised of [false, true]) {
        if (initialised) expect(user.initVm(td)).toBe('OK');
        user.putHeader(256, abi.TDX_CAPABILITIES.cpuid);
        expect(user.command(td, { id: abi.KVM_TDX_CAPABILITIES })).toBe('OK');
      }
    });

    test('a command in read-only memory: written back until 6.18 only', () => {
      const user = caller(line);
      const td = user.td();
      const { memory } = user.process;
      const page = memory.mmap(4096);
      user.putHeader(256, abi.TDX_CAPABILITIES.cpuid);
      user.command(td, { id: abi.KVM_TDX_CAPABILITIES }, page);
      memory.mprotect(page, 4096, 'r');
      expect(user.errno(td, abi.KVM_MEMORY_ENCRYPT_OP, page)).toBe(line === '6.18' ? 'EFAULT' : 'OK');
    });
  });

  describe('KVM_TDX_INIT_VM', () => {
    /** What can be wrong, in the order in which the kernel looks. */
    const wrongs: readonly (readonly [what: string, init: InitVm, command: Partial<Command>, errno: string])[] = [
      ['hw_error on input', {}, { hwError: 1 }, 'EINVAL'],
      ['flags', {}, { flags: 1 }, 'EINVAL'],
      ['nowhere to read from', {}, { data: NOWHERE }, 'EFAULT'],
      ['more than 256 entries', { nent: 257 }, {}, 'E2BIG'],
      ['2^32 - 1 entries', { nent: 0xffff_ffff }, {}, 'E2BIG'],
      ['the first reserved byte', { dirty: abi.TDX_INIT_VM_RESERVED.offset }, {}, 'EINVAL'],
      [
        'the last reserved byte',
        { dirty: abi.TDX_INIT_VM_RESERVED.offset + abi.TDX_INIT_VM_RESERVED.size - 1 },
        {},
        'EINVAL',
      ],
      ['padding behind nent', { padding: 1 }, {}, 'EINVAL'],
      ['an attribute that is not supported', { attributes: 1n }, {}, 'EINVAL'],
      ['an XFAM bit that is not supported', { xfam: 1n << 15n }, {}, 'EINVAL'],
      ['no entry 0x80000008', { cpuid: [] }, {}, 'EINVAL'],
      ['another width than 48 or 52', { cpuid: [entry(0x8000_0008, 0, { eax: 46 << 16 })] }, {}, 'EINVAL'],
    ];

    test.each(wrongs)('%s: %#', (_, init, command, errno) => {
      const user = caller(line);
      const td = user.td();
      expect(user.initVm(td, init, command)).toBe(errno);
      expect([errno, user.errno(td, abi.KVM_CREATE_VCPU, 0)]).toEqual([errno, 'EIO']);
      expect(user.initVm(td)).toBe('OK');
    });

    test('of two wrongs the first in that order speaks', () => {
      for (const [i, [first, init, command, errno]] of wrongs.entries()) {
        for (const [second, laterInit, laterCommand] of wrongs.slice(i + 1)) {
          const user = caller(line);
          const both = user.initVm(user.td(), { ...laterInit, ...init }, { ...laterCommand, ...command });
          expect(both, `${first}, ${second}`).toBe(errno);
        }
      }
    });

    test('is called once, whatever the second call says', () => {
      const user = caller(line);
      const td = user.td();
      expect(user.initVm(td)).toBe('OK');
      expect([user.initVm(td), user.initVm(td, {}, { data: NOWHERE })]).toEqual(['EINVAL', 'EINVAL']);
    });

    test('looks at nent before the rest: a structure of which only that can be read', () => {
      const user = caller(line);
      const td = user.td();
      const { memory } = user.process;
      const page = memory.mmap(4096);
      const at = page - abi.TDX_INIT_VM_CPUID;
      memory.view.setUint32(page - memory.base, 300, true);
      expect(user.command(td, { id: abi.KVM_TDX_INIT_VM, data: BigInt(at) })).toBe('E2BIG');
      memory.view.setUint32(page - memory.base, 1, true);
      expect(user.command(td, { id: abi.KVM_TDX_INIT_VM, data: BigInt(at) })).toBe('EFAULT');
    });

    test('writes the command back: one in read-only memory gives EFAULT, and the TD is there all the same', () => {
      const user = caller(line);
      const td = user.td();
      const { memory } = user.process;
      const page = memory.mmap(4096);
      user.putInitVm({});
      user.command(user.td(), { id: abi.KVM_TDX_INIT_VM }, page);
      memory.mprotect(page, 4096, 'r');
      expect(user.errno(td, abi.KVM_MEMORY_ENCRYPT_OP, page)).toBe('EFAULT');
      expect(user.initVm(td)).toBe('EINVAL');
    });

    const leaf7 = entry(7, 0, SIGNIFICANT);
    const tables: readonly (readonly [what: string, cpuid: readonly CpuidEntry2[], errno: string])[] = [
      ['the address width alone', [WIDTH_48], 'OK'],
      ['52 bits', [entry(0x8000_0008, 0, { eax: 52 << 16 })], 'OK'],
      ['a leaf of the module', [WIDTH_48, leaf7], 'OK'],
      ['in any order', [leaf7, WIDTH_48], 'OK'],
      ['flags and padding of an entry are not looked at', [{ ...WIDTH_48, flags: 0xff, padding: [1, 2, 3] }], 'OK'],
      ['a leaf that the module does not know', [WIDTH_48, entry(0x99, 0)], 'EINVAL'],
      ['a leaf that it knows but cannot configure', [WIDTH_48, entry(0, 0)], 'EINVAL'],
      ['a sub-leaf that it cannot configure', [WIDTH_48, entry(7, 9, SIGNIFICANT)], 'EINVAL'],
      ['the same leaf twice', [WIDTH_48, leaf7, leaf7], 'EINVAL'],
      ['a leaf without a significant index, which is consumed for each sub-leaf', [WIDTH_48, entry(7, 0)], 'EINVAL'],
      [
        'that, with as many entries as it is consumed too often: only the count matters',
        [WIDTH_48, entry(7, 0), entry(0x99, 0), entry(0x99, 1)],
        'OK',
      ],
      ['a bit that cannot be configured', [WIDTH_48, entry(7, 0, { ...SIGNIFICANT, ebx: 1 << 2 })], 'EINVAL'],
    ];

    test.each(tables)('%s', (_, cpuid, errno) => {
      const user = caller(line);
      expect(user.initVm(user.td(), { cpuid })).toBe(errno);
    });

    test("tells the module's status when the module refuses, and nothing when KVM does", () => {
      const user = caller(line);
      const refusedByModule = [WIDTH_48, entry(7, 0, { ...SIGNIFICANT, ebx: 1 << 2 })];
      expect(user.initVm(user.td(), { cpuid: refusedByModule })).toBe('EINVAL');
      expect(user.hwError >> 32n).toBe(0xc000_0100n); // TDX_OPERAND_INVALID
      expect(user.initVm(user.td(), { cpuid: [WIDTH_48, entry(0x99, 0)] })).toBe('EINVAL');
      expect(user.hwError).toBe(0n);
    });
  });

  describe('vCPUs', () => {
    test('KVM_CREATE_VCPU: EIO before KVM_TDX_INIT_VM, EINVAL without the split irqchip and for one too many', () => {
      const user = caller(line);
      const td = user.td();
      const create = () => user.errno(td, abi.KVM_CREATE_VCPU, 0);
      expect(create()).toBe('EIO');
      expect(user.initVm(td)).toBe('OK');
      expect(create()).toBe('EINVAL');
      expect(user.splitIrqchip(td)).toBe('OK');
      expect(create()).toBe('OK');
      // As many as there are CPUs, and the host has one: that is looked at before the id.
      expect(create()).toBe('EINVAL');
      expect(user.process.ioctl(td, abi.KVM_CHECK_EXTENSION, abi.KVM_CAP_MAX_VCPUS)).toBe(1);
    });

    test('on a host with two CPUs, two of them; EEXIST for an id in use', () => {
      const rows = HOST.cpus[0]!;
      const user = new TdCaller(bootTdx({ ...HOST, cpus: [rows, rows] }, {}, line));
      const td = user.td();
      user.splitIrqchip(td);
      user.initVm(td);
      const ids = [0, 0, 5, 1];
      expect(ids.map((id) => user.errno(td, abi.KVM_CREATE_VCPU, id))).toEqual(['OK', 'EEXIST', 'OK', 'EINVAL']);
    });

    test('a TD has no in-kernel I/O APIC', () => {
      const user = caller(line);
      const td = user.td();
      expect(user.errno(td, abi.KVM_CREATE_IRQCHIP)).toBe('ENOTTY');
      user.splitIrqchip(td);
      expect(user.errno(td, abi.KVM_CREATE_IRQCHIP)).toBe('EEXIST');
    });

    test.each([
      ['as it should be', {}, 'OK'],
      ['flags', { flags: 1 }, 'EINVAL'],
      ['hw_error on input', { hwError: 1 }, 'EINVAL'],
      ['any data', { data: NOWHERE }, 'OK'],
    ] as const)('KVM_TDX_INIT_VCPU: %s', (_, command, errno) => {
      const user = caller(line);
      const { vcpu } = user.withVcpu();
      expect(user.command(vcpu, { id: abi.KVM_TDX_INIT_VCPU, ...command })).toBe(errno);
      expect(user.command(vcpu, { id: abi.KVM_TDX_INIT_VCPU })).toBe(errno === 'OK' ? 'EINVAL' : 'OK');
    });

    test('KVM_TDX_INIT_VCPU needs a guest that has x2APIC', () => {
      const user = caller(line);
      const { vcpu } = user.withVcpu();
      user.setCpuid2(vcpu, []);
      user.clear();
      expect(user.command(vcpu, { id: abi.KVM_TDX_INIT_VCPU })).toBe('EINVAL');
    });

    test('KVM_RUN: EINVAL until the vCPU is initialised and the TD finalised', () => {
      const user = caller(line);
      const { vm, vcpu } = user.withVcpu();
      const ran = [user.errno(vcpu, abi.KVM_RUN)];
      user.command(vcpu, { id: abi.KVM_TDX_INIT_VCPU });
      ran.push(user.errno(vcpu, abi.KVM_RUN));
      user.command(vm, { id: abi.KVM_TDX_FINALIZE_VM });
      expect(ran).toEqual(['EINVAL', 'EINVAL']);
      // What comes then is the guest's business.
      expect((user.process.file(vcpu) as Vcpu).td!.preRun()).toBe(0);
    });

    const state: readonly (readonly [name: string, request: number, atNull: string])[] = [
      ['KVM_GET_REGS', abi.KVM_GET_REGS, 'EINVAL'],
      ['KVM_SET_REGS', abi.KVM_SET_REGS, 'EFAULT'],
      ['KVM_GET_SREGS', abi.KVM_GET_SREGS, 'EINVAL'],
      ['KVM_SET_SREGS', abi.KVM_SET_SREGS, 'EFAULT'],
      ['KVM_GET_XCRS', abi.KVM_GET_XCRS, 'EINVAL'],
      ['KVM_SET_XCRS', abi.KVM_SET_XCRS, 'EINVAL'],
    ];

    test.each(state)('%s: the registers of a TD are hidden', (_, request, atNull) => {
      const user = caller(line);
      const { vcpu } = user.withVcpu();
      expect([user.errno(vcpu, request, user.area), user.errno(vcpu, request, 0)]).toEqual(['EINVAL', atNull]);
    });

    test.each([
      ['IA32_MISC_ENABLE', 0x1a0, 1, 1],
      ['IA32_APIC_BASE', 0x1b, 1, 0],
      ['IA32_XSS', 0xda0, 0, 0],
      ['IA32_TSX_CTRL', 0x122, 0, 0],
      ['IA32_UMWAIT_CONTROL', 0xe1, 0, 0],
    ] as const)('KVM_GET_MSRS and KVM_SET_MSRS: %s', (_, index, read, written) => {
      const user = caller(line);
      const { vcpu } = user.withVcpu();
      const { view, base } = user.process.memory;
      view.setUint32(user.area - base, 1, true);
      view.setUint32(user.area - base + abi.MSRS_HEADER_SIZE, index, true);
      const results = [abi.KVM_GET_MSRS, abi.KVM_SET_MSRS].map((request) =>
        user.process.ioctl(vcpu, request, user.area),
      );
      expect(results).toEqual([read, written]);
    });

    test('KVM_TDX_FINALIZE_VM: after KVM_TDX_INIT_VM, once', () => {
      const user = caller(line);
      const td = user.td();
      const finalize = () => user.command(td, { id: abi.KVM_TDX_FINALIZE_VM });
      expect(finalize()).toBe('EINVAL');
      user.initVm(td);
      expect([finalize(), finalize()]).toEqual(['OK', 'EINVAL']);
    });

    test('once the TD is runnable its vCPUs take no command; which of two errors speaks changed in 7.1', () => {
      const user = caller(line);
      const { vcpu } = user.runnable();
      for (const id of [abi.KVM_TDX_INIT_VCPU, abi.KVM_TDX_INIT_MEM_REGION, abi.KVM_TDX_GET_CPUID, 99])
        expect(user.command(vcpu, { id })).toBe('EINVAL');
      expect(user.errno(vcpu, abi.KVM_MEMORY_ENCRYPT_OP, 0)).toBe(line === '6.18' ? 'EINVAL' : 'EFAULT');
    });
  });

  describe('KVM_TDX_GET_CPUID', () => {
    test('tells how many entries there are when there is no room, and leaves the padding alone', () => {
      const user = caller(line);
      const { vcpu } = user.withVcpu();
      user.putHeader(0, 0, 0x1234_5678);
      expect(user.command(vcpu, { id: abi.KVM_TDX_GET_CPUID })).toBe('E2BIG');
      const needed = user.entries().length;
      user.putHeader(needed - 1);
      expect(user.command(vcpu, { id: abi.KVM_TDX_GET_CPUID })).toBe('E2BIG');
      user.putHeader(needed, 0, 0x1234_5678);
      expect(user.command(vcpu, { id: abi.KVM_TDX_GET_CPUID })).toBe('OK');
      expect(user.entries()).toHaveLength(needed);
      const { view, base } = user.process.memory;
      expect(view.getUint32(user.data - base + 4, true)).toBe(0x1234_5678);
    });

    test.each([
      ['nowhere to write to', { data: NOWHERE }, 'EFAULT'],
      ['hw_error on input', { hwError: 1 }, 'EINVAL'],
      // The kernel does not look at them.
      ['flags', { flags: 1 }, 'OK'],
    ] as const)('%s', (_, command, errno) => {
      const user = caller(line);
      const { vcpu } = user.withVcpu();
      user.putHeader(256);
      expect(user.command(vcpu, { id: abi.KVM_TDX_GET_CPUID, ...command })).toBe(errno);
    });

    test.each([48, 52] as const)('shows the width of guest-physical addresses: %d', (width) => {
      const user = caller(line);
      const { vcpu } = user.withVcpu({ cpuid: [entry(0x8000_0008, 0, { eax: width << 16 })] });
      user.putHeader(256);
      expect(user.command(vcpu, { id: abi.KVM_TDX_GET_CPUID })).toBe('OK');
      const sizes = user.entries().find((item) => item.function === 0x8000_0008)!;
      expect((sizes.eax >>> 16) & 0xff).toBe(width);
    });

    test('marks exactly the entries of leaves with sub-leaves, each sub-leaf once', () => {
      const user = caller(line);
      const { vcpu } = user.withVcpu();
      user.putHeader(256);
      user.command(vcpu, { id: abi.KVM_TDX_GET_CPUID });
      const all = user.entries();
      const keys = all.map((item) => `${item.function} ${item.index}`);
      expect(new Set(keys).size).toBe(keys.length);
      const marked = new Set(all.filter((item) => item.flags === 1).map((item) => item.function));
      expect(all.filter((item) => item.flags === 0 && (item.index !== 0 || marked.has(item.function)))).toEqual([]);
      expect([0x4, 0x7, 0xd].filter((fn) => !marked.has(fn))).toEqual([]);
    });
  });

  describe('KVM_TDX_INIT_MEM_REGION', () => {
    interface Region {
      readonly source?: bigint;
      readonly gpa?: bigint;
      readonly pages?: bigint;
    }

    function add(
      user: TdCaller,
      vcpu: number,
      { source, gpa = 0n, pages = 1n }: Region,
      command: Partial<Command> = {},
    ) {
      const { view, base } = user.process.memory;
      const words = [source ?? BigInt(user.area + 4096), gpa, pages];
      for (const [word, value] of words.entries()) view.setBigUint64(user.data - base + word * 8, value, true);
      return user.command(vcpu, { id: abi.KVM_TDX_INIT_MEM_REGION, ...command });
    }

    const rows: readonly (readonly [what: string, region: Region, command: Partial<Command>, errno: string])[] = [
      ['as it should be', {}, {}, 'OK'],
      ['measured', {}, { flags: 1 }, 'OK'],
      ['other flags', {}, { flags: 2 }, 'EINVAL'],
      ['nowhere to read from', {}, { data: NOWHERE }, 'EFAULT'],
      ['no pages', { pages: 0n }, {}, 'EINVAL'],
      ['an address within a page', { gpa: 1n }, {}, 'EINVAL'],
      ['a source within a page', { source: 0x1_0001n }, {}, 'EINVAL'],
      ['a source that is not there', { source: NOWHERE }, {}, 'EFAULT'],
      ['shared addresses', { gpa: 1n << 47n }, {}, 'EINVAL'],
      ['up to a shared address', { gpa: (1n << 47n) - 4096n, pages: 2n }, {}, 'EINVAL'],
      ['around the end', { gpa: (1n << 64n) - 4096n, pages: 2n }, {}, 'EINVAL'],
      ['more pages than there are addresses', { gpa: 4096n, pages: (1n << 52n) - 1n }, {}, 'EINVAL'],
    ];

    test.each(rows)('%s', (_, region, command, errno) => {
      const user = caller(line);
      const { vcpu } = user.withVcpu();
      user.command(vcpu, { id: abi.KVM_TDX_INIT_VCPU });
      expect(add(user, vcpu, region, command)).toBe(errno);
    });

    test('EINVAL before KVM_TDX_INIT_VCPU; EIO for a page that is there', () => {
      const user = caller(line);
      const { vcpu } = user.withVcpu();
      expect(add(user, vcpu, {})).toBe('EINVAL');
      user.command(vcpu, { id: abi.KVM_TDX_INIT_VCPU });
      expect([add(user, vcpu, {}), add(user, vcpu, {})]).toEqual(['OK', 'EIO']);
    });
  });

  test('commands of the wrong descriptor, and unknown ones, are EINVAL', () => {
    const user = caller(line);
    const { vm, vcpu } = user.withVcpu();
    const onVm = [abi.KVM_TDX_INIT_VCPU, abi.KVM_TDX_INIT_MEM_REGION, abi.KVM_TDX_GET_CPUID, 6, 0xffff_ffff];
    expect(onVm.map((id) => user.command(vm, { id }))).toEqual(onVm.map(() => 'EINVAL'));
    const onVcpu = [abi.KVM_TDX_CAPABILITIES, abi.KVM_TDX_INIT_VM, abi.KVM_TDX_FINALIZE_VM, 6, 0xffff_ffff];
    expect(onVcpu.map((id) => user.command(vcpu, { id }))).toEqual(onVcpu.map(() => 'EINVAL'));
  });

  test('on anything but a TD: ENOTTY on the VM, EINVAL on its vCPU', () => {
    const user = caller(line);
    const vm = user.process.ioctl(user.kvm, abi.KVM_CREATE_VM, VM_TYPES.default);
    expect(user.command(vm, { id: abi.KVM_TDX_CAPABILITIES })).toBe('ENOTTY');
    expect(user.command(user.vcpu(vm), { id: abi.KVM_TDX_GET_CPUID })).toBe('EINVAL');
  });
});

test('arbitrary bytes give an errno, never an exception, and change nothing but what the command points to', () => {
  const ids = [...Array(7).keys(), 0xffff_ffff];
  const word = fc.oneof(fc.constantFrom(0, 1, 7, 48 << 16, 0x8000_0008, 256, 257), fc.nat(0xffff_ffff));
  const command = fc.record({
    onVcpu: fc.boolean(),
    id: fc.constantFrom(...ids),
    flags: fc.constantFrom(0, 0, 0, 1, 0xffff_ffff),
    data: fc.oneof(
      fc.constant(null),
      fc.nat(8 * 4096).map((offset) => BigInt(offset + 0x1_0000)),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    ),
    hwError: fc.constantFrom(0, 0, 0, 1),
    nent: fc.option(fc.nat(260)),
    bytes: fc.array(word, { maxLength: 400 }),
    clean: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(command, { maxLength: 12 }), (commands) => {
      const user = caller();
      const vm = user.td();
      user.splitIrqchip(vm);
      let vcpu = -1;
      for (const { onVcpu, id, flags, data, hwError, nent, bytes, clean } of commands) {
        if (vcpu < 0) vcpu = user.vcpu(vm);
        user.clear();
        const { base, bytes: memory } = user.process.memory;
        const at = user.data - base + (clean ? abi.TDX_INIT_VM_CPUID + abi.CPUID2_HEADER_SIZE : 0);
        new Uint32Array(memory.buffer, at, bytes.length).set(bytes);
        if (nent !== null) user.putHeader(nent, abi.TDX_INIT_VM_CPUID);
        const fd = onVcpu && vcpu >= 0 ? vcpu : vm;
        user.command(fd, { id, flags, hwError, ...(data !== null && { data }) });
      }
    }),
    runs(300),
  );
});

describe('the nent of KVM_TDX_INIT_VM that changes between two reads', () => {
  /** Memory in which somebody else writes: `nent` reads as 1, then as 200. */
  function race(user: TdCaller): void {
    const { memory } = user.process;
    const nent = user.data - memory.base + abi.TDX_INIT_VM_CPUID;
    const values = [1, 200];
    const view = new Proxy(memory.view, {
      get(target, name) {
        if (name === 'getUint32')
          return (at: number, little: boolean) => (at === nent ? values.shift()! : target.getUint32(at, little));
        const value = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    Object.defineProperty(memory, 'view', { value: view, configurable: true });
  }

  function racingInit(defect: boolean): { readonly errno: string; readonly overread: number } {
    const user = new TdCaller(bootTdx(HOST, { defects: defect ? ['tdx-nent-double-fetch'] : [] }));
    let td: KvmTd | null = null;
    const install = user.process.install.bind(user.process);
    user.process.install = (file) => {
      const made = (file as { readonly td?: unknown }).td;
      if (made instanceof KvmTd) td = made;
      return install(file);
    };
    const vm = user.td();
    user.clear();
    user.putInitVm({});
    race(user);
    return { errno: user.command(vm, { id: abi.KVM_TDX_INIT_VM }), overread: td!.overread };
  }

  test('is read once', () => {
    expect(racingInit(false)).toEqual({ errno: 'OK', overread: 0 });
  });

  test('the defect: the search runs 199 entries beyond the kernel copy, and the count does not match', () => {
    expect(racingInit(true)).toEqual({ errno: 'EINVAL', overread: 199 * 40 });
  });
});
