import { describe, expect, test } from 'vitest';
import { CF, ZF } from '../../../src/emu/core/flags.js';
import type { Assembler } from '../../../src/emu/isa/asm.js';
import { ENTRY_CONTROL, EXIT_CONTROL, PIN, PRIMARY, SECONDARY } from '../../../src/emu/vmx/controls.js';
import { FIELD, FIELD_ROWS, type FieldName, fieldAt, widthOf } from '../../../src/emu/vmx/field-rows.js';
import { GUEST_CODE, LIST, VmxRig } from './rig.js';

describe('fields', () => {
  test('encodings are unique, and say width and area', () => {
    expect(new Set(FIELD_ROWS.map(({ encoding }) => encoding)).size).toBe(FIELD_ROWS.length);
    for (const [at, row] of FIELD_ROWS.entries()) {
      expect(fieldAt(row.encoding, 0)).toBe(at);
      expect(fieldAt(row.encoding | 1, 0)).toBe(row.encoding >> 13 === 1 ? at : -1);
      expect([2, 4, 8]).toContain(widthOf(row));
    }
  });

  test.each([
    ['GUEST_RIP', 0x681e],
    ['HOST_FRED_CONFIG', 0x2c08],
    ['GUEST_FRED_SSP3', 0x2828],
    ['SECONDARY_EXIT_CONTROLS', 0x2044],
    ['EXIT_REASON', 0x4402],
    ['VPID', 0],
  ] as const)('%s is %i', (name, encoding) => {
    expect(fieldAt(encoding, 0)).toBe(FIELD[name]);
  });
});

describe('the world switch', () => {
  test('in and out: the guest has its registers, the host its own', () => {
    const rig = new VmxRig().guest((a) => {
      a.mov('rbx', 'cr3');
      a.mov('rcx', 'rsp');
      a.hlt();
    });
    const hostCr3 = rig.core.control.lo[3];
    expect(rig.run()).toBe('HLT');
    expect(rig.get('EXIT_INSTRUCTION_LENGTH')).toBe(1n);
    expect(rig.core.register(3)).toBe(rig.get('GUEST_CR3'));
    expect(rig.core.register(1)).toBe(rig.get('GUEST_RSP'));
    expect(rig.core.control.lo[3]).toBe(hostCr3);
    expect(rig.core.world).toBeNull();
    expect(rig.core.rip).toBe(rig.get('HOST_RIP'));
  });

  test('the same guest again is VMRESUME, and goes on where it was left', () => {
    const rig = new VmxRig().guest((a) => {
      a.mov('eax', 1);
      a.cpuid();
      a.hlt();
    });
    expect(rig.run()).toBe('CPUID');
    rig.set({ GUEST_RIP: rig.get('GUEST_RIP') + rig.get('EXIT_INSTRUCTION_LENGTH') });
    expect(rig.run()).toBe('HLT');
  });

  test('with a VPID translations of both sides survive; without one they do not', () => {
    const spaces = (vpid: boolean) => {
      const rig = new VmxRig().guest((a) => {
        a.cpuid();
      });
      if (!vpid) rig.off('SECONDARY_CONTROLS', SECONDARY.VPID).set({ VPID: 0 });
      const before = rig.core.mmu.tlb.current;
      rig.run();
      return rig.core.mmu.tlb.current === before;
    };
    expect([spaces(true), spaces(false)]).toEqual([true, false]);
  });

  test('an MSR without a place in the VMCS is left as the guest has it: IA32_UMWAIT_CONTROL', () => {
    const rig = new VmxRig().pass(0xe1).guest((a) => {
      a.mov('ecx', 0xe1);
      a.mov('eax', 4);
      a.mov('edx', 0);
      a.wrmsr();
      a.hlt();
    });
    rig.core.msrs.set(0xe1, 100_000n);
    expect(rig.run()).toBe('HLT');
    expect(rig.core.msrs.get(0xe1)).toBe(4n);
  });

  const CONFIG = 0x1d4;
  const STKLVLS = 0x1d0;
  const RSP0 = 0x1cc;
  test('FRED: the three controls switch all but RSP0', () => {
    const rig = new VmxRig().guest((a) => {
      for (const index of [CONFIG, STKLVLS, RSP0]) {
        a.mov('ecx', index);
        a.mov('eax', 0x2000);
        a.mov('edx', 0);
        a.wrmsr();
      }
      a.hlt();
    });
    rig.on('ENTRY_CONTROLS', ENTRY_CONTROL.LOAD_FRED).on('EXIT_CONTROLS', EXIT_CONTROL.SECONDARY);
    rig.set({ SECONDARY_EXIT_CONTROLS: 3, HOST_FRED_CONFIG: 0x5000, HOST_FRED_STKLVLS: 7 });
    for (const index of [CONFIG, STKLVLS, RSP0]) rig.core.msrs.set(index, 0x8000n);
    expect(rig.run()).toBe('HLT');
    expect([CONFIG, STKLVLS, RSP0].map((index) => rig.core.msrs.get(index))).toEqual([0x5000n, 7n, 0x2000n]);
    expect(rig.get('GUEST_FRED_CONFIG')).toBe(0x2000n);
  });

  test('DEBUGCTL is zero after an exit, whatever the controls are', () => {
    const rig = new VmxRig().guest((a) => a.hlt());
    rig.core.msrs.set(0x1d9, 1n);
    rig.run();
    expect(rig.core.msrs.get(0x1d9)).toBe(0n);
  });
});

describe('exits', () => {
  const CASES: readonly (readonly [
    exit: string,
    program: (a: Assembler) => void,
    on: Partial<Record<FieldName, number>>,
  ])[] = [
    ['CPUID', (a) => a.cpuid(), {}],
    ['VMCALL', (a) => a.vmcall(), {}],
    ['RDTSC', (a) => a.rdtsc(), { PRIMARY_CONTROLS: PRIMARY.RDTSC }],
    ['RDTSCP', (a) => a.rdtscp(), { PRIMARY_CONTROLS: PRIMARY.RDTSC }],
    ['PAUSE', (a) => a.pause(), { PRIMARY_CONTROLS: PRIMARY.PAUSE }],
    ['MONITOR', (a) => a.monitor(), { PRIMARY_CONTROLS: PRIMARY.MONITOR }],
    ['MWAIT', (a) => a.mwait(), { PRIMARY_CONTROLS: PRIMARY.MWAIT }],
    ['RDRAND', (a) => a.rdrand('eax'), { SECONDARY_CONTROLS: SECONDARY.RDRAND }],
    ['CR_ACCESS', (a) => a.mov('cr8', 'rax'), { PRIMARY_CONTROLS: PRIMARY.CR8_LOAD }],
    ['CR_ACCESS', (a) => a.mov('rax', 'cr3'), { PRIMARY_CONTROLS: PRIMARY.CR3_STORE }],
    ['VMREAD', (a) => a.vmread('rax', 'rcx'), {}],
    ['VMXOFF', (a) => a.vmxoff(), {}],
    ['TPAUSE', (a) => a.tpause('ebx'), { PRIMARY_CONTROLS: PRIMARY.RDTSC }],
    ['EXCEPTION_NMI', (a) => a.ud2(), { EXCEPTION_BITMAP: 1 << 6 }],
    ['TRIPLE_FAULT', (a) => a.ud2(), {}],
    ['EPT_VIOLATION', (a) => a.mov('rax', 'qword ptr [14680072]'), {}],
  ];

  test.each(CASES)('%s', (exit, program, controls) => {
    const rig = new VmxRig().guest(program);
    for (const [name, bits] of Object.entries(controls)) rig.on(name as FieldName, bits!);
    expect(rig.run()).toBe(exit);
    expect(rig.get('GUEST_RIP')).toBe(BigInt(GUEST_CODE));
  });

  test.each([
    ['RDTSC', (a: Assembler) => a.rdtsc()],
    ['PAUSE', (a: Assembler) => a.pause()],
    ['MOV from CR3', (a: Assembler) => a.mov('rax', 'cr3')],
    ['TPAUSE that is over', (a: Assembler) => a.tpause('ebx')],
  ])('%s does not leave when no control asks for it', (_, program) => {
    const rig = new VmxRig().guest((a) => {
      program(a);
      a.hlt();
    });
    rig.off('PRIMARY_CONTROLS', PRIMARY.CR3_STORE | PRIMARY.CR3_LOAD);
    expect(rig.run()).toBe('HLT');
  });

  test.each([
    ['TPAUSE', SECONDARY.USER_WAIT_PAUSE, (a: Assembler) => a.tpause('ebx')],
    ['RDPID', SECONDARY.RDTSCP, (a: Assembler) => a.rdpid('rax')],
    ['RDTSCP', SECONDARY.RDTSCP, (a: Assembler) => a.rdtscp()],
  ])('%s is #UD without its control, though silicon has it', (_, control, program) => {
    const rig = new VmxRig().guest((a) => {
      program(a);
      a.hlt();
    });
    rig.set({ EXCEPTION_BITMAP: 1 << 6 });
    expect(rig.run()).toBe('HLT');
    rig.set({ GUEST_RIP: GUEST_CODE }).off('SECONDARY_CONTROLS', control);
    expect(rig.run()).toBe('EXCEPTION_NMI');
    expect(rig.get('EXIT_INTERRUPTION_INFO') & 0xffn).toBe(6n);
  });

  test('MSRs: inside the bitmap by its bits, outside of its ranges always', () => {
    const run = (index: number, passed: boolean) => {
      const rig = new VmxRig().closeBitmap().guest((a) => {
        a.mov('ecx', index);
        a.rdmsr();
        a.hlt();
      });
      if (passed) rig.pass(index);
      return rig.run();
    };
    expect([run(0xe1, false), run(0xe1, true)]).toEqual(['RDMSR', 'HLT']);
    expect([run(0xc000_0103, false), run(0xc000_0103, true)]).toEqual(['RDMSR', 'HLT']);
    expect(run(0xc001_0010, false)).toBe('RDMSR');
  });

  test('MSR access with an immediate index names register and MSR', () => {
    const rig = new VmxRig().closeBitmap().guest((a) => a.db(0xc4, 0xe7, 0x7b, 0xf6, 0xc3, 0xe1, 0, 0, 0));
    expect(rig.run()).toBe('MSR_READ_IMM');
    expect([rig.get('EXIT_QUALIFICATION'), (rig.get('EXIT_INSTRUCTION_INFO') >> 3n) & 15n]).toEqual([0xe1n, 3n]);
  });

  test('CR4: bits of the mask leave when they differ from the shadow, the others do not', () => {
    const rig = new VmxRig().guest((a) => {
      a.mov('rax', 'cr4');
      a.mov('rbx', 'rax');
      a.or('eax', 1 << 7);
      a.mov('cr4', 'rax');
      a.mov('rcx', 'cr4');
      a.or('eax', 1 << 16);
      a.mov('cr4', 'rax');
      a.hlt();
    });
    rig.set({ CR4_MASK: (1n << 16n) | (1n << 13n), CR4_SHADOW: 0 });
    expect(rig.run()).toBe('CR_ACCESS');
    expect(rig.get('EXIT_QUALIFICATION')).toBe(4n);
    // VMXE is hidden by the shadow.
    expect(rig.core.register(3)).toBe(0x620n);
    expect(rig.core.register(1)).toBe(0x6a0n);
    expect(rig.get('GUEST_CR4')).toBe(0x26a0n);
  });

  test('an EPT violation says where, and how', () => {
    const rig = new VmxRig().guest((a) => a.mov('qword ptr [14680072]', 'rax'));
    expect(rig.run()).toBe('EPT_VIOLATION');
    expect(rig.get('GUEST_PHYSICAL_ADDRESS')).toBe(14680072n);
    expect(rig.get('GUEST_LINEAR_ADDRESS')).toBe(14680072n);
    expect(rig.get('EXIT_QUALIFICATION') & 7n).toBe(2n);
  });

  test('an interrupt leaves even when the guest masks it; acknowledged or not', () => {
    for (const acknowledge of [false, true]) {
      const rig = new VmxRig().guest((a) => {
        a.label('again');
        a.jmp('again');
      });
      if (acknowledge) rig.on('EXIT_CONTROLS', EXIT_CONTROL.ACKNOWLEDGE_INTERRUPT);
      rig.core.interrupt(0x33);
      expect(rig.run()).toBe('EXTERNAL_INTERRUPT');
      expect(rig.get('EXIT_INTERRUPTION_INFO')).toBe(acknowledge ? 0x8000_0033n : 0n);
      expect(rig.core.interrupts.highest).toBe(acknowledge ? -1 : 0x33);
    }
  });

  test('the preemption timer counts TSC ticks', () => {
    const rig = new VmxRig().guest((a) => {
      a.label('again');
      a.jmp('again');
    });
    rig.on('PIN_BASED_CONTROLS', PIN.PREEMPTION_TIMER).on('EXIT_CONTROLS', EXIT_CONTROL.SAVE_PREEMPTION_TIMER);
    rig.set({ PREEMPTION_TIMER: 50 });
    const before = rig.core.clock.now[0]!;
    expect(rig.run()).toBe('PREEMPTION_TIMER');
    const passed = rig.core.clock.now[0]! - before;
    expect(rig.get('PREEMPTION_TIMER')).toBe(0n);
    // 2^7 ticks each, entry and exit on top.
    expect(passed).toBeGreaterThan(49 * 128);
    expect(passed).toBeLessThan(51 * 128 + 2000);
  });

  test('an interrupt window opens with RFLAGS.IF', () => {
    const rig = new VmxRig().guest((a) => {
      a.nop();
      a.sti();
      a.nop();
      a.hlt();
    });
    rig.on('PRIMARY_CONTROLS', PRIMARY.INTERRUPT_WINDOW);
    expect(rig.run()).toBe('INTERRUPT_WINDOW');
    // Behind the instruction that follows STI.
    expect(rig.get('GUEST_RIP')).toBe(BigInt(GUEST_CODE + 3));
  });
});

describe('entries that fail', () => {
  const CASES: readonly (readonly [check: string, outcome: string, change: (rig: VmxRig) => void])[] = [
    ['a pin-based control is not allowed', 'VMfail 7', (rig) => rig.set({ PIN_BASED_CONTROLS: 0 })],
    ['a primary control is not allowed', 'VMfail 7', (rig) => rig.on('PRIMARY_CONTROLS', 1)],
    ['VPID 0', 'VMfail 7', (rig) => rig.set({ VPID: 0 })],
    ['the EPT pointer is not valid', 'VMfail 7', (rig) => rig.set({ EPT_POINTER: 0 })],
    ['the injected event is not valid', 'VMfail 7', (rig) => rig.set({ ENTRY_INTERRUPTION_INFO: 0x8000_0320 })],
    [
      'virtual NMIs without NMI exiting',
      'VMfail 7',
      (rig) => rig.off('PIN_BASED_CONTROLS', PIN.NMI).on('PIN_BASED_CONTROLS', PIN.VIRTUAL_NMIS),
    ],
    ['an address lies beyond physical memory or is not aligned', 'VMfail 7', (rig) => rig.set({ MSR_BITMAP: 0x10 })],
    ['host CR0 or CR4 has a bit that VMX operation fixes', 'VMfail 8', (rig) => rig.set({ HOST_CR4: 0x620 })],
    ['a host address is not canonical', 'VMfail 8', (rig) => rig.set({ HOST_RIP: 1n << 60n })],
    ['a host selector is not valid', 'VMfail 8', (rig) => rig.set({ HOST_CS_SELECTOR: 3 })],
    [
      'guest CR0 or CR4 has a bit that VMX operation fixes',
      'failed entry: INVALID_GUEST_STATE',
      (rig) => rig.set({ GUEST_CR4: 0x620 }),
    ],
    [
      'a guest address is not canonical',
      'failed entry: INVALID_GUEST_STATE',
      (rig) => rig.set({ GUEST_GS_BASE: 1n << 60n }),
    ],
    [
      'guest EFER.LMA disagrees with the entry control',
      'failed entry: INVALID_GUEST_STATE',
      (rig) => rig.set({ GUEST_EFER: 0x100 }),
    ],
    ['guest RFLAGS has a reserved bit', 'failed entry: INVALID_GUEST_STATE', (rig) => rig.set({ GUEST_RFLAGS: 0 })],
    ['guest RIP is not canonical', 'failed entry: INVALID_GUEST_STATE', (rig) => rig.set({ GUEST_RIP: 1n << 60n })],
    [
      'the VMCS link pointer is not all ones',
      'failed entry: INVALID_GUEST_STATE',
      (rig) => rig.set({ VMCS_LINK_POINTER: 0 }),
    ],
    [
      'guest RFLAGS.IF is zero and an interrupt is injected',
      'failed entry: INVALID_GUEST_STATE',
      (rig) => rig.set({ ENTRY_INTERRUPTION_INFO: 0x8000_0020 }),
    ],
  ];

  test.each(CASES)('%s: %s', (check, outcome, change) => {
    const rig = new VmxRig().guest((a) => a.hlt());
    change(rig);
    expect(rig.run()).toBe(outcome);
    expect(rig.vmx.refusal).toBe(check);
    expect(rig.core.world).toBeNull();
  });

  test('an MSR of the load list that does not take its value: which one, and the host runs on', () => {
    const rig = new VmxRig().guest((a) => a.hlt());
    const entry = (at: number, index: number, lo: number, hi: number) => {
      rig.memory.write(LIST + at * 16, 8, index, 0);
      rig.memory.write(LIST + at * 16 + 8, 8, lo, hi);
    };
    entry(0, 0xc000_0103, 5, 0);
    entry(1, 0xc000_0102, 0, 1 << 28);
    rig.set({ ENTRY_MSR_LOAD_ADDRESS: LIST, ENTRY_MSR_LOAD_COUNT: 2 });
    expect(rig.run()).toBe('failed entry: MSR_LOADING');
    expect(rig.get('EXIT_QUALIFICATION')).toBe(2n);
    entry(1, 0xc000_0102, 0x1000, 0);
    expect(rig.run()).toBe('HLT');
    expect(rig.core.msrs.get(0xc000_0102)).toBe(0x1000n);
  });

  test("lists of the exit: the guest's value is stored, the host's loaded", () => {
    const rig = new VmxRig().guest((a) => a.hlt());
    rig.memory.write(LIST, 8, 0xc000_0103 | 0, 0);
    rig.memory.write(LIST + 0x100, 8, 0xc000_0103 | 0, 0);
    rig.memory.write(LIST + 0x108, 8, 9, 0);
    rig.core.msrs.set(0xc000_0103, 5n);
    rig.set({
      EXIT_MSR_STORE_ADDRESS: LIST,
      EXIT_MSR_STORE_COUNT: 1,
      EXIT_MSR_LOAD_ADDRESS: LIST + 0x100,
      EXIT_MSR_LOAD_COUNT: 1,
    });
    expect(rig.run()).toBe('HLT');
    rig.memory.read(LIST + 8, 8);
    expect(rig.memory.value[0]).toBe(5);
    expect(rig.core.msrs.get(0xc000_0103)).toBe(9n);
  });

  test('VMLAUNCH of a VMCS that was launched, VMRESUME of one that was not', () => {
    const rig = new VmxRig().guest((a) => a.hlt());
    rig.vmx.enter(false);
    expect(rig.get('INSTRUCTION_ERROR')).toBe(5n);
    rig.run();
    rig.vmx.enter(true);
    expect(rig.get('INSTRUCTION_ERROR')).toBe(4n);
  });
});

describe('instructions of a hypervisor in machine code', () => {
  test('VMREAD, VMWRITE: what is not there is error 12, what is read-only 13', () => {
    const rig = new VmxRig({ msrs: { IA32_VMX_MISC: 0x5004_c1e7n } });
    const flags = (program: (a: Assembler) => void) => {
      rig.host(program);
      return [rig.core.rflags & (CF | ZF), Number(rig.get('INSTRUCTION_ERROR'))];
    };
    rig.host((a) => {
      a.mov('ecx', 0x681e);
      a.mov('eax', 0x1234);
      a.vmwrite('rcx', 'rax');
      a.vmread('rbx', 'rcx');
    });
    expect(rig.core.register(3)).toBe(0x1234n);
    expect(rig.get('GUEST_RIP')).toBe(0x1234n);
    expect(
      flags((a) => {
        a.mov('ecx', 0x7ffe);
        a.vmread('rbx', 'rcx');
      }),
    ).toEqual([ZF, 12]);
    expect(
      flags((a) => {
        a.mov('ecx', 0x4402);
        a.vmwrite('rcx', 'rax');
      }),
    ).toEqual([ZF, 13]);
    expect(flags((a) => a.vmcall())).toEqual([ZF, 1]);
  });

  test('VMRESUME goes on at HOST_RIP', () => {
    const rig = new VmxRig().guest((a) => a.hlt());
    rig.set({ HOST_RIP: 0x50_0100 });
    rig.memory.load(0x50_0100, [0xbf, 7, 0, 0, 0, 0xfa, 0xf4]); // mov edi, 7; cli; hlt
    rig.host((a) => a.vmlaunch());
    expect(rig.core.register(7)).toBe(7n);
  });
});
