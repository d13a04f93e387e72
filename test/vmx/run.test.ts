import { describe, expect, test } from 'vitest';
import type { Assembler } from '../../src/emu/isa/asm.js';
import * as abi from '../../src/kvm/abi.js';
import { diffHostState, hostState } from '../../src/linux/host-state.js';
import { VmxRunner } from '../../src/vmx/runner.js';
import { CODE, LongModeGuest, type LongModeOptions } from '../support/long-mode-guest.js';

const HOST = 'sapphire-rapids';
const UMWAIT_CONTROL = 0xe1;
const TSC_AUX = 0xc000_0103;
const STAR = 0xc000_0081;
const LSTAR = 0xc000_0082;
const KERNEL_GS_BASE = 0xc000_0102;
const SPEC_CTRL = 0x48;
const TSX_CTRL = 0x122;

const guest = (program: (a: Assembler) => void, options?: LongModeOptions) => new LongModeGuest(HOST, program, options);

function wrmsr(a: Assembler, index: number, value: bigint | number): void {
  const wide = BigInt(value);
  a.mov('ecx', index);
  a.mov('eax', wide & 0xffff_ffffn);
  a.mov('edx', wide >> 32n);
  a.wrmsr();
}

function rdmsr(a: Assembler, index: number): void {
  a.mov('ecx', index);
  a.rdmsr();
}

const HLT = ['OK', abi.KVM_EXIT_HLT] as const;

describe('exits that KVM handles itself', () => {
  test('CPUID comes from the table, not from silicon', () => {
    const it = guest(
      (a) => {
        a.mov('eax', 0);
        a.cpuid();
        a.hlt();
      },
      { cpuid: (entries) => entries.map((e) => (e.function === 0 ? { ...e, ebx: 0x1234 } : e)) },
    );
    expect(it.run()).toEqual(HLT);
    expect(it.get('rbx')).toBe(0x1234n);
  });

  test('VMCALL: -KVM_ENOSYS for what nobody knows, -KVM_EPERM from ring 3 is not reached here', () => {
    const it = guest((a) => {
      a.mov('eax', 99);
      a.vmcall();
      a.hlt();
    });
    expect(it.run()).toEqual(HLT);
    expect(BigInt.asIntN(64, it.get('rax'))).toBe(-1000n);
  });

  test('XSETBV takes what the guest may have, and the guest reads it back', () => {
    const it = guest(
      (a) => {
        a.mov('ecx', 0);
        a.mov('edx', 0);
        a.mov('eax', 7);
        a.xsetbv();
        a.xgetbv();
        a.hlt();
      },
      { cr4: 0x4_0620n },
    );
    const before = it.core.control.xcr0[0];
    expect(it.run()).toEqual(HLT);
    expect(it.get('rax')).toBe(7n);
    expect(it.core.control.xcr0[0]).toBe(before);
  });

  test('MOV to CR4: what the guest may not have is #GP, what it may stays', () => {
    const it = guest((a) => {
      a.mov('rax', 'cr4');
      a.or('eax', 1 << 18);
      a.mov('cr4', 'rax');
      a.mov('rbx', 'cr4');
      a.or('eax', 1 << 14);
      a.mov('cr4', 'rax');
      a.hlt();
    }).handle(13, (a) => {
      a.mov('edi', 13);
      a.hlt();
    });
    expect(it.run()).toEqual(HLT);
    expect([it.get('rbx'), it.get('rdi')]).toEqual([0x4_0620n, 13n]);
  });

  test.each([
    ['SEAMCALL', [0x66, 0x0f, 0x01, 0xcf]],
    ['TDCALL', [0x66, 0x0f, 0x01, 0xcc]],
    ['VMXOFF', [0x0f, 0x01, 0xc4]],
    ['VMMCALL', [0x0f, 0x01, 0xd9]],
  ])('%s is #UD', (_, bytes) => {
    const it = guest((a) => {
      a.db(bytes);
      a.hlt();
    }).handle(6, (a) => {
      a.mov('edi', 6);
      a.hlt();
    });
    expect(it.run()).toEqual(HLT);
    expect(it.get('rdi')).toBe(6n);
  });
});

describe('exits to userspace', () => {
  test('HLT, and on behind it', () => {
    const it = guest((a) => {
      a.hlt();
      a.mov('eax', 5);
      a.hlt();
    });
    expect(it.run()).toEqual(HLT);
    expect(it.run()).toEqual(HLT);
    expect(it.get('rax')).toBe(5n);
  });

  test('memory that no slot has: a write, then a read that userspace answers', () => {
    const it = guest((a) => {
      a.mov('rbx', 0x20_0000);
      a.mov('eax', 0x1234_5678);
      a.mov('dword ptr [rbx+4]', 'eax');
      a.mov('rcx', -1);
      a.mov('ecx', 'dword ptr [rbx+8]');
      a.hlt();
    });
    const mmio = () => [
      it.page.getBigUint64(abi.RUN.mmioAddress, true),
      it.page.getUint32(abi.RUN.mmioLength, true),
      it.page.getUint8(abi.RUN.mmioIsWrite),
    ];
    expect(it.run()).toEqual(['OK', abi.KVM_EXIT_MMIO]);
    expect(mmio()).toEqual([0x20_0004n, 4, 1]);
    expect(it.page.getUint32(abi.RUN.mmioData, true)).toBe(0x1234_5678);
    expect(it.run()).toEqual(['OK', abi.KVM_EXIT_MMIO]);
    expect(mmio()).toEqual([0x20_0008n, 4, 0]);
    it.page.setUint32(abi.RUN.mmioData, 0xcafe_f00d, true);
    expect(it.run()).toEqual(HLT);
    expect(it.get('rcx')).toBe(0xcafe_f00dn);
  });

  test('what the guest stores is in the memory of its process, and the other way round', () => {
    const it = guest((a) => {
      a.mov('rax', 'qword ptr [32768]');
      a.inc('rax');
      a.mov('qword ptr [32768]', 'rax');
      a.hlt();
    });
    it.write64(0x8000, 41);
    it.run();
    expect(it.read64(0x8000)).toBe(42n);
    it.write64(0x8000, 99);
    it.set({ rip: CODE });
    it.run();
    expect(it.read64(0x8000)).toBe(100n);
  });

  test('code that userspace has changed is executed as it is now', () => {
    const it = guest((a) => {
      a.mov('eax', 1);
      a.hlt();
    });
    it.run();
    it.write(CODE + 1, [7]);
    it.set({ rip: CODE });
    it.run();
    expect(it.get('rax')).toBe(7n);
  });

  test('a slot that is gone is MMIO; memory that faults behind a slot is EFAULT', () => {
    const it = guest((a) => {
      a.mov('rax', 'qword ptr [1048576]');
      a.hlt();
    });
    expect(it.run()[1]).toBe(abi.KVM_EXIT_MMIO);
    expect(it.user.setRegion(1, 0, 0x10_0000n, 4096n, 0x7000_0000_0000n)).toBe('OK');
    it.set({ rip: CODE });
    expect(it.run()[0]).toBe('EFAULT');
  });

  test('a triple fault', () => {
    const it = guest((a) => {
      a.ud2();
    });
    expect(it.run()).toEqual(['OK', abi.KVM_EXIT_SHUTDOWN]);
  });

  test('an instruction that the machine does not have', () => {
    const it = guest((a) => {
      a.nop();
      a.db([0x0f, 0x01, 0x00]); // SGDT [RAX]
    });
    expect(it.run()).toEqual(['OK', abi.KVM_EXIT_INTERNAL_ERROR]);
    expect(it.page.getUint32(abi.RUN.internalSuberror, true)).toBe(abi.KVM_INTERNAL_ERROR_EMULATION);
    // The CPU is in the host again.
    expect(it.core.world).toBeNull();
  });

  test('a signal ends a loop', () => {
    const it = guest((a) => {
      a.label('again');
      a.inc('rax');
      a.jmp('again');
    });
    it.loop.signalAt = it.core.clock.now[0]! + 100_000;
    expect(it.run()).toEqual(['EINTR', abi.KVM_EXIT_INTR]);
    expect(it.get('rax')).toBeGreaterThan(1000n);
    expect(it.core.world).toBeNull();
  });

  test('a guest state that hardware refuses: RFLAGS with a reserved bit', () => {
    const it = guest((a) => a.hlt());
    it.set({ rflags: 2n | (1n << 15n) });
    expect(it.run()).toEqual(['OK', abi.KVM_EXIT_FAIL_ENTRY]);
    expect(it.page.getBigUint64(abi.RUN.failEntryReason, true)).toBe(0x8000_0021n);
    expect(it.core.world).toBeNull();
    it.set({ rflags: 2 });
    expect(it.run()).toEqual(HLT);
  });
});

describe('MSRs', () => {
  const access = (index: number, value: bigint, options?: LongModeOptions) => {
    const it = guest((a) => {
      wrmsr(a, index, value);
      rdmsr(a, index);
      a.hlt();
    }, options).handle(13, (a) => {
      a.mov('edi', 13);
      a.hlt();
    });
    const before = it.core.msrs.get(index);
    expect(it.run()).toEqual(HLT);
    const read = ((it.get('rdx') & 0xffff_ffffn) << 32n) | (it.get('rax') & 0xffff_ffffn);
    return { it, fault: it.get('rdi') === 13n, read, host: [before, it.core.msrs.get(index)] as const };
  };

  test.each([
    ['IA32_UMWAIT_CONTROL', UMWAIT_CONTROL, 4n],
    ['IA32_TSC_AUX', TSC_AUX, 0x77n],
    ['IA32_STAR', STAR, 0x1234_5678_0000_0000n],
    ['IA32_LSTAR', LSTAR, 0xffff_8000_0000_1000n],
    ['IA32_KERNEL_GS_BASE', KERNEL_GS_BASE, 0xffff_8000_0000_2000n],
    ['IA32_SPEC_CTRL', SPEC_CTRL, 2n],
    ['IA32_FS_BASE', 0xc000_0100, 0x1000n],
    ['IA32_GS_BASE', 0xc000_0101, 0x2000n],
    ['IA32_SYSENTER_EIP', 0x176, 0x3000n],
    ['IA32_PAT', 0x277, 0x0606_0606_0606_0606n],
    ['IA32_EFER', 0xc000_0080, 0x500n],
  ])('%s: the guest reads what it wrote, and the host has what it had', (_, index, value) => {
    const { fault, read, host } = access(index, value);
    expect([fault, read]).toEqual([false, value]);
    expect(host[1]).toBe(host[0]);
  });

  test.each([
    ['reserved bit 1 of IA32_UMWAIT_CONTROL', UMWAIT_CONTROL, 2n],
    ['its upper half', UMWAIT_CONTROL, 1n << 32n],
    ['an LSTAR that is not canonical', LSTAR, 0x0100_0000_0000_0000n],
    ['an MSR that nobody knows', 0x1234, 0n],
    ['LME while paging', 0xc000_0080, 0n],
    ['a memory type of PAT that is reserved', 0x277, 2n],
  ])('%s is #GP', (_, index, value) => {
    const { fault, host } = access(index, value);
    expect(fault).toBe(true);
    expect(host[1]).toBe(host[0]);
  });

  test('without WAITPKG in the table IA32_UMWAIT_CONTROL is #GP and TPAUSE #UD, whatever silicon has', () => {
    const withoutWaitpkg: LongModeOptions = {
      cpuid: (entries) =>
        entries.map((e) => (e.function === 7 && e.index === 0 ? { ...e, ecx: e.ecx & ~(1 << 5) } : e)),
    };
    expect(access(UMWAIT_CONTROL, 4n, withoutWaitpkg).fault).toBe(true);
    const tpause = (options: LongModeOptions) => {
      const it = guest((a) => {
        a.mov('eax', 0);
        a.mov('edx', 0);
        a.mov('ecx', 0);
        a.tpause('ecx');
        a.mov('edi', 1);
        a.hlt();
      }, options).handle(6, (a) => {
        a.mov('edi', 6);
        a.hlt();
      });
      it.run();
      return it.get('rdi');
    };
    expect(tpause({})).toBe(1n);
    expect(tpause(withoutWaitpkg)).toBe(6n);
  });

  test('with the defect umwait-passthrough the host has what the guest wrote', () => {
    const { read, host } = access(UMWAIT_CONTROL, 4n, { defects: ['umwait-passthrough'] });
    expect(read).toBe(4n);
    expect(host).toEqual([100_000n, 4n]);
  });

  test('user-return MSRs stay until the CPU goes to user mode', () => {
    const it = guest((a) => {
      wrmsr(a, TSC_AUX, 0x77);
      a.rdtscp();
      a.hlt();
    });
    const { userReturn } = it.cpu;
    let seen: bigint | undefined;
    const restore = userReturn.restore.bind(userReturn);
    userReturn.restore = () => {
      seen = it.core.msrs.get(TSC_AUX);
      return restore();
    };
    it.run();
    expect(it.get('rcx')).toBe(0x77n);
    expect([seen, it.core.msrs.get(TSC_AUX)]).toEqual([0x77n, 0n]);
  });

  test('TSX_CTRL.CPUID_CLEAR hides TSX in CPUID but never reaches hardware', () => {
    const inputs = { cmdline: 'tsx=on' };
    const it = guest(
      (a) => {
        wrmsr(a, TSX_CTRL, 3);
        a.mov('eax', 7);
        a.mov('ecx', 0);
        a.cpuid();
        a.hlt();
      },
      { inputs },
    );
    expect(it.run()).toEqual(HLT);
    expect(it.get('rbx') & 0x810n).toBe(0n);
    expect(it.core.msrs.get(TSX_CTRL)).toBe(0n);
  });

  test('userspace reads and writes them once the host executes', () => {
    const it = guest((a) => {
      rdmsr(a, UMWAIT_CONTROL);
      a.hlt();
    });
    it.run();
    expect(it.user.setMsrs([UMWAIT_CONTROL, 8n], [LSTAR, 0x1000n])).toBe(2);
    expect([it.user.getMsr(UMWAIT_CONTROL), it.user.getMsr(LSTAR)]).toEqual([8n, 0x1000n]);
    it.set({ rip: CODE });
    it.run();
    expect(it.get('rax')).toBe(8n);
  });
});

test('an interrupt of the host leaves the guest, is taken by the host, and the guest goes on', () => {
  const it = guest((a) => {
    a.mov('ecx', 20_000);
    a.label('again');
    a.dec('ecx');
    a.jne('again');
    a.mov('eax', 1);
    a.hlt();
  });
  it.cpu.armTimer(10_000);
  const before = it.cpu.eventCount(0xec);
  expect(it.run()).toEqual(HLT);
  expect(it.get('rax')).toBe(1n);
  expect(it.cpu.eventCount(0xec)).toBe(before + 1);
  expect(it.loop.runner).toBeInstanceOf(VmxRunner);
});

test('two runs are alike, cycle by cycle', () => {
  const once = () => {
    const it = guest((a) => {
      a.mov('esi', 50);
      a.label('again');
      a.mov('eax', 1);
      a.cpuid();
      a.dec('esi');
      a.jne('again');
      a.hlt();
    });
    it.run();
    return [it.core.clock.now[0], it.core.trace.value, it.loop.exits];
  };
  expect(once()).toEqual(once());
});

describe('what the host has afterwards', () => {
  const everything = (a: Assembler) => {
    wrmsr(a, UMWAIT_CONTROL, 4n);
    common(a);
  };

  const common = (a: Assembler) => {
    for (const [index, value] of [
      [TSC_AUX, 0x77n],
      [STAR, 1n << 40n],
      [LSTAR, 0x1000n],
      [KERNEL_GS_BASE, 0x2000n],
      [SPEC_CTRL, 3n],
      [0xc000_0100, 0x3000n],
      [0xc000_0101, 0x4000n],
      [0x174, 0x50n],
      [0x175, 0x5000n],
      [0x176, 0x6000n],
      [0x277, 0n],
    ] as const)
      wrmsr(a, index, value);
    a.vmcall();
    a.hlt();
  };

  test.each([
    ['cascade-lake', common],
    ['sapphire-rapids', everything],
    ['granite-rapids', everything],
  ])('%s: all that it had, whatever the guest writes', (host, program) => {
    const it = new LongModeGuest(host, program);
    expect(it.run()).toEqual(HLT);
    it.set({ rip: CODE });
    const before = hostState(it.core);
    expect(it.run()).toEqual(HLT);
    expect(diffHostState(before, hostState(it.core))).toEqual([]);
  });

  test('of the first run nothing stays but the limit of IDTR, which an exit leaves at FFFFH', () => {
    const it = guest(everything);
    void it.loop;
    const before = hostState(it.core);
    it.run();
    const names = diffHostState(before, hostState(it.core)).map(({ name }) => name);
    expect(names).toEqual(['IDTR.limit']);
  });

  test('with a defect the search for differences finds it', () => {
    const it = guest(everything, { defects: ['umwait-passthrough'] });
    void it.loop;
    const before = hostState(it.core);
    it.run();
    const names = diffHostState(before, hostState(it.core)).map(({ name }) => name);
    expect(names).toContain('IA32_UMWAIT_CONTROL');
  });
});
