import { describe, expect, test } from 'vitest';
import { msrNamed } from '../../src/emu/msr-rows.js';
import { VMCB } from '../../src/emu/svm/vmcb.js';
import { diffHostState, hostState } from '../../src/linux/host-state.js';
import { SWITCH_ROWS } from '../../src/svm/switch-rows.js';
import { GuestRig } from './rig.js';

const index = (name: string) => msrNamed(name).index;

/** What a guest may write to an MSR that KVM lets it have. */
const VALUES: Readonly<Record<string, number>> = {
  IA32_STAR: 0x1111,
  IA32_LSTAR: 0x2222,
  IA32_CSTAR: 0x3333,
  IA32_FMASK: 0x4444,
  IA32_FS_BASE: 0x5555,
  IA32_GS_BASE: 0x6666,
  IA32_KERNEL_GS_BASE: 0x7777,
  IA32_SYSENTER_CS: 0x88,
  IA32_SYSENTER_ESP: 0x9999,
  IA32_SYSENTER_EIP: 0xaaaa,
  IA32_SPEC_CTRL: 1,
  IA32_PRED_CMD: 1,
  IA32_S_CET: 1,
};

describe('what a guest writes without KVM', () => {
  test.each(['milan', 'genoa', 'turin'])('is gone from the host afterwards: %s', (host) => {
    const rig = new GuestRig(host);
    const { guest, cpu } = rig;
    const passed = SWITCH_ROWS.filter(
      ({ msr, passes }) => passes !== 'never' && passes !== 'lbr' && passes !== 'used' && cpu.core.msrs.has(index(msr)),
    );
    rig.program((a) => {
      for (const { msr } of passed) {
        a.mov('ecx', index(msr));
        a.mov('eax', VALUES[msr]!);
        a.xor('edx', 'edx');
        a.wrmsr();
      }
      a.vmmcall();
    });
    const before = hostState(cpu.core);
    let exit = rig.run();
    // SPEC_CTRL without virtualization: the first write is KVM's.
    while (exit === 'MSR') {
      guest.write(guest.lo[1]! >>> 0, BigInt(guest.vmcb.lo(VMCB.RAX) >>> 0));
      guest.skipInstruction();
      exit = rig.run();
    }
    expect(exit).toBe('VMMCALL');
    rig.leave();
    expect(diffHostState(before, hostState(cpu.core))).toEqual([]);
    for (const { msr, by } of passed) if (by !== 'none') expect(guest.read(index(msr))).toBe(BigInt(VALUES[msr]!));
  });

  test('would stay if KVM forgot VMLOAD of its own: the law bites', () => {
    const rig = new GuestRig('genoa').program((a) => {
      a.mov('ecx', index('IA32_STAR'));
      a.mov('eax', 0x1111);
      a.xor('edx', 'edx');
      a.wrmsr();
      a.vmmcall();
    });
    const before = hostState(rig.cpu.core);
    const { silicon } = (rig.guest as unknown as { host: { silicon: { vmload: (address: number) => void } } }).host;
    const { address } = rig.guest.vmcb;
    const load = silicon.vmload.bind(silicon);
    silicon.vmload = (at) => {
      if (at === address) load(at);
    };
    expect(rig.run()).toBe('VMMCALL');
    rig.leave();
    expect(diffHostState(before, hostState(rig.cpu.core)).map(({ name }) => name)).toContain('IA32_STAR');
  });
});

describe('MSRs of a guest', () => {
  test('that have no row leave, and so do those that KVM keeps', () => {
    for (const name of ['MSR_DE_CFG', 'IA32_TSC_AUX', 'IA32_EFER', 'IA32_PAT', 'IA32_DEBUGCTL']) {
      const rig = new GuestRig('genoa').program((a) => {
        a.mov('ecx', index(name));
        a.rdmsr();
      });
      expect(rig.run()).toBe('MSR');
    }
  });

  test('TSC_AUX is in hardware until the CPU goes to user mode', () => {
    const rig = new GuestRig('genoa').program((a) => {
      a.rdpid('rax');
      a.vmmcall();
    });
    const { cpu, guest } = rig;
    const tscAux = () => cpu.core.msrs.get(index('IA32_TSC_AUX'));
    const host = tscAux();
    guest.write(index('IA32_TSC_AUX'), 0x77n);
    expect(rig.run()).toBe('VMMCALL');
    expect(guest.vmcb.get('RAX')).toBe(0x77n);
    expect(tscAux()).toBe(0x77n);
    guest.put();
    expect(tscAux()).toBe(0x77n);
    cpu.prepareUserMode();
    expect(tscAux()).toBe(host);
  });

  test('EFER has SVME, which nobody sees', () => {
    const { guest } = new GuestRig('genoa');
    guest.write(index('IA32_EFER'), 0xd01n);
    expect(guest.vmcb.get('EFER')).toBe(0x1d01n);
    expect(guest.read(index('IA32_EFER'))).toBe(0xd01n);
  });
});

describe('DEBUGCTL', () => {
  /** A guest that looks whether it would get #DB on bus locks. */
  function seen(options: ConstructorParameters<typeof GuestRig>[1], kernel: '6.12' | '6.18'): bigint {
    const rig = new GuestRig('turin', options, { kernel }).program((a) => a.vmmcall());
    const { core } = rig.cpu;
    core.msrs.set(index('IA32_DEBUGCTL'), 4n);
    let within = 0n;
    core.sink = {
      instruction: () => {
        within = core.msrs.get(index('IA32_DEBUGCTL'))!;
      },
    };
    expect(rig.run()).toBe('VMMCALL');
    expect(core.msrs.get(index('IA32_DEBUGCTL'))).toBe(4n);
    return within;
  }

  test('of the host is not the guest’s, but was before 433265870ab3', () => {
    expect(seen({}, '6.18')).toBe(0n);
    expect(seen({ debugctlNotSwitched: true }, '6.18')).toBe(4n);
    expect(seen({}, '6.12')).toBe(4n);
  });

  test('is switched by hardware once the guest records branches', () => {
    const rig = new GuestRig('turin').program((a) => {
      a.mov('ecx', 0x1d9);
      a.rdmsr();
      a.mov('eax', 3);
      a.wrmsr();
      a.vmmcall();
    });
    rig.cpu.core.msrs.set(index('IA32_DEBUGCTL'), 4n);
    rig.guest.write(0x1d9, 1n);
    expect(rig.guest.vmcb.get('VIRT_EXT')).toBe(1n);
    expect(rig.run()).toBe('VMMCALL');
    expect(rig.guest.read(0x1d9)).toBe(3n);
    expect(rig.cpu.core.msrs.get(0x1d9)).toBe(4n);
    rig.guest.write(0x1d9, 0n);
    expect(rig.guest.vmcb.get('VIRT_EXT')).toBe(0n);
  });
});

describe('XCR0, IA32_XSS and PKRU', () => {
  test('are the guest’s within and the host’s after', () => {
    const rig = new GuestRig('genoa').program((a) => {
      a.xor('ecx', 'ecx');
      a.xgetbv();
      a.mov('rbx', 'rax');
      a.rdpkru();
      a.mov('rsi', 'rax');
      a.mov('eax', 0x30);
      a.wrpkru();
      a.vmmcall();
    });
    const { guest, cpu } = rig;
    guest.vmcb.set('CR4', 0x6a0n | (1n << 18n) | (1n << 22n));
    guest.xsave.xcr0 = 7;
    guest.xsave.pkru = 0xc;
    const before = hostState(cpu.core);
    expect(rig.run()).toBe('VMMCALL');
    expect([guest.lo[3], guest.lo[6], guest.xsave.pkru]).toEqual([7, 0xc, 0x30]);
    rig.leave();
    expect(diffHostState(before, hostState(cpu.core))).toEqual([]);
  });
});

describe('the way in and out', () => {
  test('general registers go and come', () => {
    const rig = new GuestRig('genoa').program((a) => {
      for (const name of ['rcx', 'rdx', 'rbx', 'rbp', 'rsi', 'rdi', 'r8', 'r15'] as const) a.add(name, 1);
      a.vmmcall();
    });
    rig.guest.lo.fill(41);
    rig.run();
    expect([1, 2, 3, 5, 6, 7, 8, 15].map((n) => rig.guest.lo[n])).toEqual(Array.from({ length: 8 }, () => 42));
    expect([9, 10, 14].map((n) => rig.guest.lo[n])).toEqual([41, 41, 41]);
  });

  test('a CPUID loop goes on where it left', () => {
    const rig = new GuestRig('genoa').program((a) => {
      a.label('again');
      a.inc('rbx');
      a.cpuid();
      a.jmp('again');
    });
    for (let n = 1; n <= 5; n++) {
      expect(rig.run()).toBe('CPUID');
      expect(rig.guest.lo[3]).toBe(n);
      rig.guest.skipInstruction();
    }
  });

  test('a guest that goes on and on is kicked, and goes on', () => {
    const rig = new GuestRig('genoa').program((a) => {
      a.label('again');
      a.inc('rbx');
      a.jmp('again');
    });
    const before = hostState(rig.cpu.core);
    const { core } = rig.cpu;
    expect(rig.guest.run(core.clock.now[0]! + 10_000)).toBe('limit');
    expect(core.world).toBeNull();
    const first = rig.guest.lo[3]!;
    expect(first).toBeGreaterThan(1000);
    expect(rig.guest.run(core.clock.now[0]! + 10_000)).toBe('limit');
    expect(rig.guest.lo[3]).toBeGreaterThan(first + 1000);
    rig.leave();
    expect(diffHostState(before, hostState(core))).toEqual([]);
  });
});
