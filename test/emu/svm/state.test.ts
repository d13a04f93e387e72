import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diffMsrs } from '../../../src/emu/msrs.js';
import { STATE_ROWS } from '../../../src/emu/svm/state-rows.js';
import { Vmcb } from '../../../src/emu/svm/vmcb.js';
import { runs } from '../../support/runs.js';
import { AT, type Program, Rig, type RigOptions } from './rig.js';

const wrmsr =
  (index: number, value: number): Program =>
  (a) => {
    a.mov('ecx', index);
    a.mov('eax', value);
    a.xor('edx', 'edx');
    a.wrmsr();
    a.vmmcall();
  };

/** The MSRs that the host has differently after a guest has written one and left. */
function changedBy(
  index: number,
  value: number,
  options: RigOptions = {},
  prepare: (rig: Rig) => void = () => {},
): string[] {
  const rig = new Rig(options).guest(wrmsr(index, value));
  prepare(rig);
  const before = rig.core.msrs.snapshot();
  expect(rig.enter()).toBe('VMMCALL');
  return diffMsrs(before, rig.core.msrs.snapshot()).map(({ name }) => name);
}

/** 8000000A.EDX of a part without some of its bits. */
const without = (bits: number): RigOptions => ({ registers: { '8000000a.0.edx': 0x119b_bcff & ~bits } });

describe('what VMRUN and #VMEXIT switch', () => {
  test('registers: the guest’s come from the VMCB and go back, the host’s are what they were', () => {
    const rig = new Rig().guest((a) => {
      a.mov('rbx', 'rax');
      a.add('rax', 1);
      a.sub('rsp', 64);
      a.vmmcall();
    });
    const { core, vmcb } = rig;
    vmcb.set('RAX', 0x1111_2222_3333_4444n);
    vmcb.set('RFLAGS', 0x4_0203);
    core.setRegister(0, 0x5555n);
    core.setRegister(3, 0x6666n);
    core.rflags = 0x246;
    core.segments.cs = 0x10;
    const rsp = core.register(4);
    expect(rig.enter()).toBe('VMMCALL');
    expect(vmcb.get('RAX')).toBe(0x1111_2222_3333_4445n);
    expect(vmcb.get('RSP')).toBe(BigInt(AT.stack + 0x800 - 64));
    expect(vmcb.get('RFLAGS') & 0x4_0200n).toBe(0x4_0200n);
    expect([core.register(0), core.register(4), core.rflags, core.segments.cs]).toEqual([0x5555n, rsp, 0x246, 0x10]);
    // All but RAX, RSP, RIP are left for the hypervisor to save.
    expect(core.register(3)).toBe(0x1111_2222_3333_4444n);
  });

  test('CPL comes from the VMCB and goes back', () => {
    const rig = new Rig().intercept('CPUID').guest((a) => a.cpuid());
    rig.vmcb.set('CPL', 3);
    expect(rig.enter()).toBe('CPUID');
    expect(rig.vmcb.get('CPL')).toBe(3n);
    expect(rig.core.cpl).toBe(0);
  });

  test('control registers: each world has its own, but CR2 is what the guest left', () => {
    const rig = new Rig().guest((a) => {
      a.mov('rax', 'cr4');
      a.or('rax', 0x4);
      a.mov('cr4', 'rax');
      a.mov('rbx', 0x50_0000);
      a.mov('rax', 'qword ptr [rbx]');
    });
    rig.gate(14).guest((a) => a.vmmcall(), AT.handler);
    rig.core.control.writeCr2(0x1234, 0);
    const cr4 = rig.core.control.lo[4]!;
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.vmcb.get('CR4')).toBe(BigInt(cr4 | 4));
    expect(rig.core.control.lo[4]).toBe(cr4);
    expect(rig.vmcb.get('CR2')).toBe(0x50_0000n);
    expect(rig.core.control.lo[2]).toBe(0x50_0000);
  });

  test('DR6 stays the guest’s, DR7 has no breakpoint', () => {
    const rig = new Rig().guest((a) => a.vmmcall());
    rig.vmcb.set('DR6', 0xffff_0ff1);
    rig.core.drLo[7] = 0x401;
    rig.enter();
    expect(rig.core.drLo[6]! >>> 0).toBe(0xffff_0ff1);
    expect(rig.core.drLo[7]).toBe(0x400);
  });

  test('the task priority, when interrupts are virtual', () => {
    const rig = new Rig().guest((a) => {
      a.mov('rax', 'cr8');
      a.mov('ebx', 9);
      a.mov('cr8', 'rbx');
      a.vmmcall();
    });
    rig.core.control.writeCr8(3, 0);
    rig.vmcb.set('VINTR', (1 << 24) | 5);
    rig.enter();
    expect(rig.vmcb.get('RAX')).toBe(5n);
    expect(rig.vmcb.get('VINTR')).toBe(BigInt((1 << 24) | 9));
    expect(rig.core.control.lo[8]).toBe(3);
  });

  test('the interrupt shadow, both ways', () => {
    const shadowed = new Rig().guest((a) => {
      a.sti();
      a.vmmcall();
    });
    shadowed.enter();
    expect(shadowed.vmcb.get('INTERRUPT_STATE')).toBe(1n);
    const rig = new Rig().guest((a) => {
      a.nop();
      a.vmmcall();
    });
    rig.vmcb.set('INTERRUPT_STATE', 1);
    rig.enter();
    expect(rig.vmcb.get('INTERRUPT_STATE')).toBe(0n);
  });
});

describe('what they do not switch, the guest leaves to the host', () => {
  test.each([
    ['IA32_STAR', 0xc000_0081, 0x1234],
    ['IA32_LSTAR', 0xc000_0082, 0x1234],
    ['IA32_FMASK', 0xc000_0084, 0x1234],
    ['IA32_KERNEL_GS_BASE', 0xc000_0102, 0x1234],
    ['IA32_FS_BASE', 0xc000_0100, 0x1234],
    ['IA32_TSC_AUX', 0xc000_0103, 7],
    ['IA32_SYSENTER_CS', 0x174, 0x10],
    ['MSR_DR0_ADDR_MASK', 0xc001_1027, 0xff],
    ['IA32_XSS', 0xda0, 0x800],
  ])('%s', (name, index, value) => {
    expect(changedBy(index, value)).toEqual([name]);
  });

  test('and PKRU, XCR0', () => {
    const rig = new Rig().guest((a) => {
      a.xor('ecx', 'ecx');
      a.xor('edx', 'edx');
      a.mov('eax', 0xc);
      a.wrpkru();
      a.mov('eax', 3);
      a.xsetbv();
      a.vmmcall();
    });
    rig.vmcb.set('CR4', rig.vmcb.get('CR4') | (1n << 22n) | (1n << 18n));
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.core.control.pkru).toBe(0xc);
    expect(rig.core.control.xcr0[0]).toBe(3);
  });
});

describe('DEBUGCTL', () => {
  const LBRV = 2;

  test('without LBR virtualization is one for both worlds', () => {
    expect(changedBy(0x1d9, 2)).toEqual(['IA32_DEBUGCTL']);
    const rig = new Rig({ host: 'turin' }).guest((a) => {
      a.mov('ecx', 0x1d9);
      a.rdmsr();
      a.vmmcall();
    });
    // The host traps bus locks, and so does the guest, whatever its VMCB says.
    rig.setMsr('IA32_DEBUGCTL', 4n);
    rig.enter();
    expect(rig.vmcb.get('RAX')).toBe(4n);
  });

  test('with it belongs to each, and so do the records of branches', () => {
    const enable = (rig: Rig) => rig.vmcb.set('VIRT_EXT', 1);
    expect(changedBy(0x1d9, 2, {}, enable)).toEqual([]);
    expect(changedBy(0x1d9, 2, without(LBRV), enable)).toEqual(['IA32_DEBUGCTL']);
  });
});

describe('SPEC_CTRL', () => {
  const SPEC_CTRL = 1 << 20;

  test('belongs to each world where the CPU virtualizes it, and is one for both elsewhere', () => {
    expect(changedBy(0x48, 1)).toEqual([]);
    expect(changedBy(0x48, 1, without(SPEC_CTRL))).toEqual(['IA32_SPEC_CTRL']);
  });

  test('is in the VMCB meanwhile', () => {
    const rig = new Rig().guest(wrmsr(0x48, 1));
    rig.setMsr('IA32_SPEC_CTRL', 4n);
    rig.enter();
    expect(rig.vmcb.get('SPEC_CTRL')).toBe(1n);
    expect(rig.msr('IA32_SPEC_CTRL')).toBe(4n);
  });
});

describe('DebugSwap', () => {
  /** A guest of SEV-ES that asks for it behind everybody's back. */
  function swapping(options: RigOptions, features: number): Rig {
    const rig = new Rig(options).guest((a) => a.vmmcall());
    rig.vmcb.set('NP_CONTROL', 4);
    rig.vmcb.set('VMSA_PTR', AT.vmsa);
    rig.memory.write(AT.vmsa + 0x3b0, 8, features, 0);
    rig.setMsr('MSR_DR1_ADDR_MASK', 0xffn);
    rig.core.drLo[1] = 0x4000;
    return rig;
  }

  test('overwrites the host’s with what is in its save area, where VMRUN has put nothing', () => {
    const rig = swapping({}, 1 << 5);
    rig.enter();
    expect(rig.msr('MSR_DR1_ADDR_MASK')).toBe(0n);
    expect(rig.core.drLo[1]).toBe(0);
  });

  test('does no harm to a host that has put them there', () => {
    const rig = swapping({}, 1 << 5);
    rig.memory.write(AT.hsave + 0x400 + 0x188, 8, 0x4000, 0);
    rig.memory.write(AT.hsave + 0x400 + 0x1a8, 8, 0xff, 0);
    rig.enter();
    expect(rig.msr('MSR_DR1_ADDR_MASK')).toBe(0xffn);
    expect(rig.core.drLo[1]).toBe(0x4000);
  });

  test.each<[string, RigOptions, number]>([
    ['the guest does not ask for', {}, 0],
    ['the CPU does not have', { host: 'rome' }, 1 << 5],
  ])('that %s changes nothing', (_, options, features) => {
    const rig = swapping(options, features);
    rig.enter();
    expect(rig.msr('MSR_DR1_ADDR_MASK')).toBe(0xffn);
    expect(rig.core.drLo[1]).toBe(0x4000);
  });
});

describe('VMLOAD and VMSAVE', () => {
  const MOVED = STATE_ROWS.filter(({ by }) => by === 'vmload');

  test('move what the manual lists, and VMSAVE gives back what VMLOAD took', () => {
    expect(MOVED.map(({ field }) => field)).toEqual([
      'FS_BASE',
      'GS_BASE',
      'KERNEL_GS_BASE',
      'STAR',
      'LSTAR',
      'CSTAR',
      'SFMASK',
      'SYSENTER_CS',
      'SYSENTER_ESP',
      'SYSENTER_EIP',
    ]);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0x300, maxLength: 0x300 }), (bytes) => {
        const rig = new Rig();
        rig.memory.load(AT.secondVmcb + 0x400, bytes);
        rig.svm.vmload(AT.secondVmcb);
        rig.svm.vmsave(AT.hostArea);
        const expected = new Uint8Array(0x300);
        // FS, GS; LDTR; TR; STAR … SYSENTER_EIP.
        for (const [from, to] of [
          [0x40, 0x60],
          [0x70, 0x80],
          [0x90, 0xa0],
          [0x200, 0x240],
        ] as const)
          expected.set(bytes.subarray(from, to), from);
        expect(rig.memory.dump(AT.hostArea + 0x400, 0x300)).toEqual(expected);
      }),
      runs(200),
    );
  });

  test('bring MSRs and the task register', () => {
    const rig = new Rig();
    const other = new Vmcb(rig.memory, AT.secondVmcb);
    MOVED.forEach(({ field }, n) => {
      other.set(field, 0x100 + n);
    });
    other.set('TR_SELECTOR', 0x40);
    other.set('TR_BASE', 0xffff_8000_0000_1000n);
    other.set('TR_LIMIT', 0x206f);
    rig.svm.vmload(AT.secondVmcb);
    MOVED.forEach(({ msr }, n) => {
      expect(rig.msr(msr)).toBe(BigInt(0x100 + n));
    });
    expect(rig.core.segments.tr).toBe(0x40);
    expect(rig.core.tss).toEqual({ baseLo: 0x1000, baseHi: 0xffff_8000 | 0, limit: 0x206f });
  });

  test('as instructions; an address that is no page’s faults', () => {
    const rig = new Rig();
    rig.setMsr('IA32_STAR', 0x77n);
    rig.guest((a) => {
      a.mov('rax', AT.hostArea);
      a.vmsave();
      a.mov('ecx', 0xc000_0081);
      a.xor('eax', 'eax');
      a.xor('edx', 'edx');
      a.wrmsr();
      a.mov('rax', AT.hostArea);
      a.vmload();
      a.mov('rax', AT.hostArea + 8);
      a.vmload();
    }, AT.hostCode);
    rig.core.rip = BigInt(AT.hostCode);
    rig.core.idtr.limit = 0;
    expect(rig.core.run()).toBe('shutdown');
    expect(rig.msr('IA32_STAR')).toBe(0x77n);
    expect(rig.core.register(0)).toBe(BigInt(AT.hostArea + 8));
  });
});

describe('the TSC of a guest', () => {
  const read: Program = (a) => {
    a.rdtsc();
    a.vmmcall();
  };
  const counter = (rig: Rig) => (rig.core.register(2) << 32n) | rig.vmcb.get('RAX');

  test('is offset', () => {
    const [plain, offset] = [0n, 1_000_000n].map((value) => {
      const rig = new Rig().guest(read);
      rig.vmcb.set('TSC_OFFSET', value);
      rig.enter();
      return counter(rig);
    });
    expect(offset! - plain!).toBe(1_000_000n);
  });

  test('is scaled by the host’s ratio', () => {
    const [plain, scaled] = [0x1_0000_0000n, 0x2_8000_0000n].map((value) => {
      const rig = new Rig().guest(read);
      rig.core.clock.advance(1_000_000);
      rig.setMsr('MSR_TSC_RATIO', value);
      rig.enter();
      return counter(rig);
    });
    expect(scaled).toBe((plain! * 5n) / 2n);
  });
});

describe('as code of a host', () => {
  test('VMRUN goes to the guest, and back to the next instruction', () => {
    const rig = new Rig().guest((a) => {
      a.mov('rbx', 42);
      a.vmmcall();
    });
    rig.core.stopsAtExit = false;
    rig.guest((a) => {
      a.clgi();
      a.mov('rax', AT.vmcb);
      a.vmload();
      a.vmrun();
      a.mov('rcx', 'rax');
      a.vmsave();
      a.stgi();
      a.hlt();
    }, AT.hostCode);
    rig.core.rip = BigInt(AT.hostCode);
    expect(rig.core.run()).toBe('idle');
    expect(rig.core.register(3)).toBe(42n);
    expect(rig.core.register(1)).toBe(BigInt(AT.vmcb));
    expect(rig.exit).toBe('VMMCALL');
    expect(rig.svm.gif).toBe(true);
  });

  test('costs as much by instruction as by method', () => {
    const rig = new Rig().guest((a) => a.vmmcall());
    rig.guest((a) => a.vmrun(), AT.hostCode);
    rig.core.rip = BigInt(AT.hostCode);
    rig.core.setRegister(0, BigInt(AT.vmcb));
    rig.core.run();
    const other = new Rig().guest((a) => a.vmmcall());
    other.enter();
    expect(rig.core.clock.now[0]).toBe(other.core.clock.now[0]);
  });
});
