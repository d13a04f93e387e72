import { describe, expect, test } from 'vitest';
import { permissionBit } from '../../../src/emu/svm/permission-map.js';
import { VMCB, Vmcb } from '../../../src/emu/svm/vmcb.js';
import { AT, type Program, Rig } from './rig.js';

/** An instruction, what it exits with when it is intercepted, and how long it is. */
// biome-ignore format: one row per fact
const INSTRUCTIONS: readonly (readonly [exit: string, program: Program, length: number])[] = [
  ['CPUID', (a) => a.cpuid(), 2],
  ['HLT', (a) => a.hlt(), 1],
  ['RDTSC', (a) => a.rdtsc(), 2],
  ['RDTSCP', (a) => a.rdtscp(), 3],
  ['PAUSE', (a) => a.pause(), 2],
  ['MONITOR', (a) => a.monitor(), 3],
  ['MWAIT', (a) => a.mwait(), 3],
  ['VMMCALL', (a) => a.vmmcall(), 3],
  ['IRET', (a) => a.iretq(), 2],
  ['SWINT', (a) => a.int(0x80), 2],
  ['IDTR_WRITE', (a) => a.lidt('[rax]'), 3],
  ['CR0_READ', (a) => a.mov('rbx', 'cr0'), 3],
  ['CR3_READ', (a) => a.mov('rbx', 'cr3'), 3],
  ['CR4_READ', (a) => a.mov('rbx', 'cr4'), 3],
  ['CR8_READ', (a) => a.mov('rbx', 'cr8'), 4],
  ['CR0_WRITE', (a) => a.mov('cr0', 'rbx'), 3],
  ['CR3_WRITE', (a) => a.mov('cr3', 'rbx'), 3],
  ['CR4_WRITE', (a) => a.mov('cr4', 'rbx'), 3],
  ['CR8_WRITE', (a) => a.mov('cr8', 'rbx'), 4],
  ['VMRUN', (a) => a.vmrun(), 3],
  ['VMLOAD', (a) => a.vmload(), 3],
  ['VMSAVE', (a) => a.vmsave(), 3],
  ['STGI', (a) => a.stgi(), 3],
  ['CLGI', (a) => a.clgi(), 3],
  ['EXCP3', (a) => a.int3(), 1],
];

describe('an instruction that is intercepted leaves', () => {
  test.each(INSTRUCTIONS)('%s', (exit, program, length) => {
    const rig = new Rig().intercept(exit).guest(program);
    expect(rig.enter()).toBe(exit);
    expect(rig.vmcb.get('RIP')).toBe(BigInt(AT.guestCode));
    expect(rig.vmcb.get('NRIP')).toBe(BigInt(AT.guestCode + length));
    expect(rig.core.world).toBeNull();
  });

  test('and says which register a MOV of a control register has', () => {
    const rig = new Rig().intercept('CR3_READ').guest((a) => a.mov('r9', 'cr3'));
    rig.enter();
    expect(rig.vmcb.get('EXITINFO1')).toBe((1n << 63n) | 9n);
  });

  test('and says which vector INT has', () => {
    const rig = new Rig().intercept('SWINT').guest((a) => a.int(0x42));
    rig.enter();
    expect(rig.vmcb.get('EXITINFO1')).toBe(0x42n);
  });

  test('without NRIPS nobody says where the next one is', () => {
    const rig = new Rig({ registers: { '8000000a.0.edx': 1 } }).intercept('CPUID').guest((a) => a.cpuid());
    rig.enter();
    expect(rig.vmcb.get('NRIP')).toBe(0n);
  });
});

describe('what is not intercepted stays', () => {
  test('CPUID answers as the silicon does', () => {
    const rig = new Rig().guest((a) => {
      a.mov('eax', 0);
      a.cpuid();
      a.vmmcall();
    });
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.core.register(3)).toBe(0x6874_7541n);
  });

  test('CR0_SEL_WRITE leaves TS and MP to the guest', () => {
    const write =
      (bits: number): Program =>
      (a) => {
        a.mov('rax', 'cr0');
        a.xor('rax', bits);
        a.mov('cr0', 'rax');
        a.vmmcall();
      };
    expect(new Rig().intercept('CR0_SEL_WRITE').guest(write(0xa)).enter()).toBe('VMMCALL');
    expect(new Rig().intercept('CR0_SEL_WRITE').guest(write(0x20)).enter()).toBe('CR0_SEL_WRITE');
  });

  test('VMLOAD without its bit is none of ours, with it it leaves, whatever the others are', () => {
    const rig = new Rig().intercept('VMLOAD').guest((a) => a.vmload());
    expect(rig.enter()).toBe('VMLOAD');
    expect(() => new Rig().guest((a) => a.vmload()).enter()).toThrow('not modelled');
  });

  test('STGI and CLGI write the virtual flag when there is one', () => {
    const rig = new Rig().guest((a) => {
      a.clgi();
      a.vmmcall();
    });
    rig.vmcb.set('VINTR', (1 << 25) | (1 << 9));
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.vmcb.get('VINTR')).toBe(1n << 25n);
  });

  test('without EFER.SVME there is no VMRUN: SVME cannot be off in a guest, so it is off in the host', () => {
    const rig = new Rig().guest((a) => a.vmmcall());
    rig.setMsr('IA32_EFER', 0x901n);
    rig.guest((a) => a.vmrun(), AT.hostCode);
    rig.core.rip = BigInt(AT.hostCode);
    // No IDT: #UD becomes a triple fault.
    rig.core.idtr.limit = 0;
    expect(rig.core.run()).toBe('shutdown');
  });
});

describe('exceptions', () => {
  test('#UD leaves when its bit is set', () => {
    const rig = new Rig().guest((a) => a.ud2());
    rig.vmcb.set('INTERCEPT_EXCEPTION', 1 << 6);
    expect(rig.enter()).toBe('EXCP6');
    expect(rig.vmcb.get('NRIP')).toBe(0n);
  });

  test('#PF brings error code, address and instruction bytes, and leaves CR2 alone', () => {
    const rig = new Rig().guest((a) => {
      a.mov('rbx', 0x50_0000);
      a.mov('qword ptr [rbx]', 'rax');
    });
    rig.vmcb.set('INTERCEPT_EXCEPTION', 1 << 14);
    rig.vmcb.set('CR2', 0x1234);
    expect(rig.enter()).toBe('EXCP14');
    expect(rig.vmcb.get('EXITINFO1')).toBe(2n);
    expect(rig.vmcb.get('EXITINFO2')).toBe(0x50_0000n);
    expect(rig.vmcb.get('CR2')).toBe(0x1234n);
    const rip = Number(rig.vmcb.get('RIP'));
    expect(rig.vmcb.get('FETCHED')).toBe(15n);
    expect(rig.memory.dump(AT.vmcb + 0xd1, 15)).toEqual(rig.memory.dump(rip, 15));
  });

  test('#GP brings its error code', () => {
    const rig = new Rig().guest((a) => {
      a.mov('ecx', 0x1234);
      a.rdmsr();
    });
    rig.vmcb.set('INTERCEPT_EXCEPTION', 1 << 13);
    expect(rig.enter()).toBe('EXCP13');
    expect(rig.vmcb.get('EXITINFO1')).toBe(0n);
  });

  test('one during the delivery of another says which', () => {
    // The gate of #UD is not present: #NP, which is intercepted.
    const rig = new Rig().guest((a) => a.ud2()).gate(6);
    rig.memory.write(AT.guestIdt + 6 * 16 + 4, 4, 0x0e00, 0);
    rig.vmcb.set('INTERCEPT_EXCEPTION', 1 << 11);
    expect(rig.enter()).toBe('EXCP11');
    expect(rig.vmcb.get('EXITINTINFO')).toBe(0x8000_0306n);
    expect(rig.vmcb.get('EXITINFO1') & ~1n).toBe(BigInt(6 * 8 + 2));
  });

  test('a triple fault is SHUTDOWN', () => {
    const rig = new Rig().guest((a) => a.ud2());
    rig.vmcb.set('IDTR_LIMIT', 0);
    expect(rig.enter()).toBe('SHUTDOWN');
  });
});

describe('MSRs', () => {
  const access =
    (index: number, write: boolean): Program =>
    (a) => {
      a.mov('ecx', index);
      if (write) {
        a.mov('eax', 0);
        a.mov('edx', 0);
        a.wrmsr();
      } else a.rdmsr();
      a.vmmcall();
    };

  test.each([
    [0x0, 0],
    [0x1fff, 0x1fff * 2],
    [0xc000_0000, 0x800 * 8],
    [0xc000_0103, 0x800 * 8 + 0x103 * 2],
    [0xc001_0114, 0x1000 * 8 + 0x114 * 2],
    [0xc001_1fff, 0x1000 * 8 + 0x1fff * 2],
    [0x2000, -1],
    [0x4000_0000, -1],
    [0xc000_2000, -1],
    [0xc002_0000, -1],
  ])('the map has %i at bit %i', (index, bit) => {
    expect(permissionBit(index)).toBe(bit);
  });

  test.each([
    ['IA32_PAT', 0x277],
    ['IA32_STAR', 0xc000_0081],
    ['MSR_DE_CFG', 0xc001_1029],
  ])('reads and writes of %s have a bit each', (_, index) => {
    for (const write of [false, true]) {
      for (const set of [false, true]) {
        const rig = new Rig().intercept('MSR').guest(access(index, write));
        rig.setMsr('IA32_PAT', 0n);
        const bit = permissionBit(index);
        // The bit of the other direction is always set: it must not matter.
        const bits = (write ? 1 : 2) | (set ? (write ? 2 : 1) : 0);
        rig.memory.write(AT.msrpm + (bit >> 3), 1, bits << (bit & 7), 0);
        expect(rig.enter()).toBe(set ? 'MSR' : 'VMMCALL');
        if (set) expect(rig.vmcb.get('EXITINFO1')).toBe(write ? 1n : 0n);
        if (set) expect(rig.core.register(1)).toBe(BigInt(index));
      }
    }
  });

  test('what is in no range always leaves, unless nothing is intercepted', () => {
    expect(new Rig().intercept('MSR').guest(access(0x4000_0000, false)).enter()).toBe('MSR');
    const rig = new Rig().guest(access(0x4000_0000, false));
    rig.vmcb.set('INTERCEPT_EXCEPTION', 1 << 13);
    expect(rig.enter()).toBe('EXCP13');
  });

  test('a map outside memory intercepts everything', () => {
    const rig = new Rig().intercept('MSR').guest(access(0xc000_0081, false));
    rig.vmcb.set('MSRPM_BASE_PA', 0x1000_0000);
    expect(rig.enter()).toBe('MSR');
  });
});

describe('nested paging', () => {
  test('a page that is not there leaves with its address, twice the same', () => {
    const rig = new Rig({ nested: true }).guest((a) => {
      a.mov('rbx', 0x3f_0000);
      a.mov('rax', 'qword ptr [rbx+8]');
      a.vmmcall();
    });
    rig.nestedTables.put(0x3f_0000n, 1, 0n);
    for (let time = 0; time < 2; time++) {
      expect(rig.enter()).toBe('NPF');
      expect(rig.vmcb.get('EXITINFO1')).toBe(0x1_0000_0004n);
      expect(rig.vmcb.get('EXITINFO2')).toBe(0x3f_0008n);
      expect(rig.vmcb.get('FETCHED')).toBe(15n);
    }
    // Once the page is there, the instruction is done again.
    rig.nestedTables.map(0x3f_0000n, 0x3e_0000, { write: true, user: true });
    rig.memory.write(0x3e_0008, 8, 0x5678, 0);
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.vmcb.get('RAX')).toBe(0x5678n);
  });

  test('a write to a page that is read-only says so; a table of the guest that is missing too', () => {
    const rig = new Rig({ nested: true }).guest((a) => {
      a.mov('qword ptr [0x3f0000]', 'rax');
    });
    rig.nestedTables.change(0x3f_0000n, 1, (entry) => entry & ~2n);
    expect(rig.enter()).toBe('NPF');
    expect(rig.vmcb.get('EXITINFO1')).toBe(0x1_0000_0007n);
    rig.nestedTables.put(BigInt(AT.tables), 1, 0n);
    rig.vmcb.set('TLB_CONTROL', 1);
    expect(rig.enter()).toBe('NPF');
    expect(rig.vmcb.get('EXITINFO1') >> 32n).toBe(2n);
    expect(rig.vmcb.get('EXITINFO2')).toBe(BigInt(AT.tables));
  });

  test('the guest has a PAT of its own, without nested paging it has the host’s', () => {
    const program: Program = (a) => {
      a.mov('ecx', 0x277);
      a.xor('eax', 'eax');
      a.xor('edx', 'edx');
      a.wrmsr();
      a.vmmcall();
    };
    for (const nested of [true, false]) {
      const rig = new Rig({ nested }).guest(program);
      rig.setMsr('IA32_PAT', 0x0606_0606_0606_0606n);
      expect(rig.enter()).toBe('VMMCALL');
      expect(rig.msr('IA32_PAT')).toBe(nested ? 0x0606_0606_0606_0606n : 0n);
      if (nested) expect(rig.vmcb.get('G_PAT')).toBe(0n);
    }
  });
});

describe('translations', () => {
  const read: Program = (a) => {
    a.mov('rbx', 0x3f_0000);
    a.mov('rax', 'qword ptr [rbx]');
    a.vmmcall();
  };

  /** A guest that has read a page, which is then another one, behind its back. */
  function changed(): Rig {
    const rig = new Rig({ nested: true }).guest(read);
    rig.memory.write(0x3f_0000, 8, 1, 0);
    rig.memory.write(0x3e_0000, 8, 2, 0);
    rig.enter();
    rig.nestedTables.map(0x3f_0000n, 0x3e_0000, { write: true, user: true });
    rig.vmcb.set('RIP', AT.guestCode);
    return rig;
  }

  test.each([
    ['the same ASID finds what it had', {}, 1n],
    ['TLB_CONTROL 1 forgets all', { TLB_CONTROL: 1 }, 2n],
    ['TLB_CONTROL 3 forgets those of the ASID', { TLB_CONTROL: 3 }, 2n],
    ['TLB_CONTROL 7 forgets those that are not global', { TLB_CONTROL: 7 }, 2n],
    ['another ASID finds none', { ASID: 2 }, 2n],
  ] as const)('%s', (_, fields, value) => {
    const rig = changed();
    for (const [name, bits] of Object.entries(fields)) rig.vmcb.set(name as 'ASID' | 'TLB_CONTROL', bits);
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.vmcb.get('RAX')).toBe(value);
  });

  test('the host’s are there when it comes back, and the guest does not see them', () => {
    const rig = new Rig({ nested: true }).guest(read);
    const { core } = rig;
    core.mmu.translate(0x3f_0000, 0, 0);
    rig.tables.put(0x3f_0000n, 1, 0n);
    rig.gate(14).guest((a) => a.vmmcall(), AT.handler);
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.vmcb.get('CR2')).toBe(0x3f_0000n);
    expect(core.mmu.translate(0x3f_0000, 0, 0)).toBe(0);
  });
});

test('a VMCB by its names', () => {
  const { memory } = new Rig();
  const vmcb = new Vmcb(memory, AT.secondVmcb);
  vmcb.set('CPL', 3);
  vmcb.set('CS_ATTRIB', 0xa9b);
  vmcb.set('RIP', -1n);
  vmcb.put(VMCB.TSC_OFFSET, 5, -1);
  vmcb.put32(VMCB.ASID, 7);
  expect(memory.dump(AT.secondVmcb + 0x4cb, 1)).toEqual(Uint8Array.of(3));
  expect(memory.dump(AT.secondVmcb + 0x412, 2)).toEqual(Uint8Array.of(0x9b, 0x0a));
  expect(vmcb.get('RIP')).toBe(2n ** 64n - 1n);
  expect(vmcb.get('TSC_OFFSET')).toBe(0xffff_ffff_0000_0005n);
  expect([vmcb.lo(VMCB.TSC_OFFSET), vmcb.hi(VMCB.TSC_OFFSET)]).toEqual([5, -1]);
  expect(vmcb.get('ASID')).toBe(7n);
});
