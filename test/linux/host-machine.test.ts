import { describe, expect, test } from 'vitest';
import type { Assembler } from '../../src/emu/isa/asm.js';
import type { HostCpu } from '../../src/linux/host-cpu.js';
import type { HostMachine } from '../../src/linux/host-machine.js';
import { userProgram } from '../../src/linux/layout.js';
import { executing, fredHost } from '../support/executing.js';

const UMWAIT_CONTROL = 0xe1;
const TSX_CTRL = 0x122;
const ENOSYS = 0xffff_ffff_ffff_ffdan;

const withIdt = (): HostMachine => executing('sapphire-rapids');
const withFred = (): HostMachine => executing(fredHost, { cmdline: 'fred=on' });
const DELIVERIES = [
  ['IDT', withIdt],
  ['FRED', withFred],
] as const;

const first = (machine: HostMachine): HostCpu => machine.cpus[0]!;

/** UMONITOR on memory that nobody writes, then UMWAIT in C0.2 for ten million ticks; flags to RBX, ticks to RSI. */
function waits(a: Assembler): void {
  a.mov('rdi', 0x3000_0000);
  a.umonitor('rdi');
  a.rdtsc();
  a.shl('rdx', 32);
  a.or('rax', 'rdx');
  a.mov('rsi', 'rax');
  a.add('rax', 10_000_000);
  a.mov('rdx', 'rax');
  a.shr('rdx', 32);
  a.xor('ecx', 'ecx');
  a.umwait('ecx');
  a.pushfq();
  a.pop('rbx');
  a.rdtsc();
  a.shl('rdx', 32);
  a.or('rax', 'rdx');
  a.sub('rax', 'rsi');
  a.mov('rsi', 'rax');
}

describe('UMWAIT', () => {
  const CF = 1n;

  /** Between the reading of the clock before and after lie a few instructions and the wake-up. */
  const about = (ticks: bigint, limit: bigint) => ticks >= limit && ticks < limit + 1000n;

  test('ends at the limit that Linux has set, with CF', () => {
    const cpu = first(withIdt());
    const { end, registers } = cpu.runUser(waits);
    expect(end).toBe('exited');
    expect(cpu.core.wait.until - cpu.core.wait.since).toBe(100_000);
    expect(registers.rbx & CF).toBe(CF);
    expect(about(registers.rsi, 100_000n)).toBe(true);
  });

  test('and with 0 in the MSR at the deadline, without CF', () => {
    const cpu = first(withIdt());
    cpu.core.msrs.set(UMWAIT_CONTROL, 0n);
    const { registers } = cpu.runUser(waits);
    expect(registers.rbx & CF).toBe(0n);
    expect(about(registers.rsi, 10_000_000n)).toBe(true);
  });

  test('a guest’s 4 wakes it at once', () => {
    const cpu = first(withIdt());
    cpu.core.msrs.set(UMWAIT_CONTROL, 4n);
    const { registers } = cpu.runUser(waits);
    expect(registers.rbx & CF).toBe(CF);
    expect(about(registers.rsi, 4n)).toBe(true);
  });

  test('bit 0 in the MSR keeps it out of C0.2', () => {
    const cpu = first(withIdt());
    cpu.runUser(waits);
    expect(cpu.core.residency.c02).toBeGreaterThanOrEqual(99_000);
    expect(cpu.core.residency.c01).toBe(0);
    cpu.core.msrs.set(UMWAIT_CONTROL, 100_001n);
    cpu.runUser(waits);
    expect(cpu.core.residency.c01).toBeGreaterThanOrEqual(99_000);
  });

  test('the local timer ends it', () => {
    const cpu = first(withIdt());
    cpu.armTimer(20_000);
    const { registers, events } = cpu.runUser(waits);
    expect(registers.rbx & CF).toBe(0n);
    expect(registers.rsi).toBeLessThan(30_000n);
    expect(events.map(({ vector }) => vector)).toEqual([0xec]);
  });
});

describe('TSX', () => {
  /** RBX: 1 when the transaction was committed; RCX: what EAX said of an abort. */
  function transaction(a: Assembler): void {
    a.xbegin('aborted');
    a.mov('ebx', 1);
    a.xend();
    a.jmp('done');
    a.label('aborted');
    a.mov('ecx', 'eax');
    a.label('done');
    a.mov('eax', 7);
    a.mov('r8', 'rcx');
    a.xor('ecx', 'ecx');
    a.mov('r9', 'rbx');
    a.cpuid();
    a.mov('r10', 'rbx');
  }
  const RTM = 1n << 11n;

  test('tsx=off: XBEGIN aborts, CPUID hides RTM; without the MSR’s bits both come back', () => {
    const cpu = first(executing('sapphire-rapids', { cmdline: 'tsx=off' }));
    const off = cpu.runUser(transaction).registers;
    expect([off.r9, off.r8, off.r10 & RTM]).toEqual([0n, 0n, 0n]);
    cpu.core.msrs.set(TSX_CTRL, 0n);
    const on = cpu.runUser(transaction).registers;
    expect([on.r9, on.r10 & RTM]).toEqual([1n, RTM]);
  });
});

describe.each(DELIVERIES)('%s', (name, boot) => {
  test('a program in the kernel returns with its registers', () => {
    const cpu = first(boot());
    const result = cpu.runKernel((a) => a.add('rax', 'rbx'), { registers: { rax: 5, rbx: 1n << 40n } });
    expect(result).toMatchObject({ end: 'returned', stop: 'idle', events: [], systemCalls: 0, vector: null });
    expect(result.registers.rax).toBe((1n << 40n) + 5n);
    expect(result.registers.rsp).toBe(cpu.current.stackTop);
  });

  test('a system call goes to the kernel and back', () => {
    const result = first(boot()).runUser((a) => {
      a.mov('ebx', 5);
      a.mov('eax', 39);
      a.syscall();
      a.cmp('ebx', 5);
    });
    expect(result).toMatchObject({ end: 'exited', systemCalls: 2, events: [] });
    expect(result.registers.rax).toBe(ENOSYS);
    expect(result.registers.rbx).toBe(5n);
    expect(result.rflags & 0x40).toBe(0x40);
  });

  test('a program may exit by itself', () => {
    const result = first(boot()).runUser((a) => {
      a.mov('eax', 231);
      a.mov('edi', 3);
      a.syscall();
    });
    expect(result).toMatchObject({ end: 'exited', systemCalls: 1 });
    expect(result.registers).toMatchObject({ rax: 231n, rdi: 3n });
  });

  test.each([
    ['#UD', 6, 0n, (a: Assembler) => a.ud2()],
    ['#GP', 13, 0n, (a: Assembler) => a.hlt()],
    ['#PF', 14, 4n, (a: Assembler) => a.mov('rax', 'qword ptr [0x123000]')],
  ])('%s in user mode ends the program', (_, vector, errorCode, fault) => {
    const cpu = first(boot());
    const result = cpu.runUser((a) => {
      a.mov('ebx', 1);
      fault(a);
      a.mov('ebx', 2);
    });
    expect(result).toMatchObject({ end: 'killed', vector, systemCalls: 0 });
    expect(result.registers.rbx).toBe(1n);
    expect(result.rip).toBe(userProgram(0) + 5n);
    expect(result.events).toHaveLength(1);
    expect(result.events[0]).toMatchObject({ vector, errorCode, rip: result.rip });
    expect(cpu.runUser((a) => a.nop()).end).toBe('exited');
  });

  test('#BP and INT n come back', () => {
    const result = first(boot()).runUser((a) => {
      a.int3();
      a.int(0x80);
      a.mov('ebx', 1);
    });
    expect(result).toMatchObject({ end: 'exited' });
    expect(result.events.map(({ vector }) => vector)).toEqual([3, 0x80]);
  });

  test('a fault in the kernel goes on at its fixup, and is an oops without one', () => {
    const cpu = first(boot());
    const program = (a: Assembler) => {
      a.mov('ecx', 0x9999_9999);
      a.rdmsr();
      a.mov('ebx', 1);
    };
    const fixed = cpu.runKernel(program, { fixup: 7 });
    expect(fixed).toMatchObject({ end: 'returned', vector: null });
    expect(fixed.registers.rbx).toBe(1n);
    expect(fixed.events).toMatchObject([{ vector: 13 }]);
    expect(cpu.runKernel(program)).toMatchObject({ end: 'oops', vector: 13 });
    expect(cpu.runKernel((a) => a.nop())).toMatchObject({ end: 'returned' });
  });

  test('an interrupt and an NMI interrupt a program and return', () => {
    const cpu = first(boot());
    const loop = (a: Assembler) => {
      a.mov('ecx', 2000);
      a.label('again');
      a.dec('ecx');
      a.jne('again');
    };
    for (const run of [() => cpu.runUser(loop), () => cpu.runKernel(loop)]) {
      cpu.armTimer(1000);
      cpu.core.interrupts.postNmi();
      const result = run();
      expect(result.registers.rcx).toBe(0n);
      expect(result.events.map(({ vector }) => vector).sort((one, other) => one - other)).toEqual([2, 0xec]);
    }
    expect([cpu.eventCount(2), cpu.eventCount(0xec)]).toEqual([2, 2]);
  });

  test('no interrupt is taken where they are off', () => {
    const cpu = first(boot());
    cpu.core.interrupt(0x40);
    expect(cpu.runKernel((a) => a.nop(), { interrupts: false }).events).toEqual([]);
    expect(cpu.runKernel((a) => a.nop()).events).toMatchObject([{ vector: 0x40 }]);
  });

  test('without a stack there is a double fault: a panic', () => {
    const machine = boot();
    const result = first(machine).runKernel((a) => {
      a.xor('esp', 'esp');
      a.ud2();
    });
    expect(result).toMatchObject({ end: 'panic', vector: 8 });
    expect(machine.panicked).toBe(8);
    expect(first(machine).runUser((a) => a.nop())).toMatchObject({ end: 'panic', vector: 8, systemCalls: 0 });
  });

  test(`without ${name === 'IDT' ? 'an IDT' : 'an entry page'} there is a triple fault: the machine resets`, () => {
    const cpu = first(boot());
    const { core } = cpu;
    if (name === 'IDT') core.idtr.limit = 0;
    else core.msrs.set(0x1d4, 0x40n);
    const result = cpu.runKernel((a) => a.ud2());
    expect(result).toMatchObject({ end: null, stop: 'shutdown' });
    expect(cpu.panicked).toBe(null);
  });

  test('a program can be stopped and resumed', () => {
    const cpu = first(boot());
    cpu.startUser((a) => {
      a.mov('ecx', 1000);
      a.label('again');
      a.dec('ecx');
      a.jne('again');
    });
    const halfway = cpu.resume(cpu.core.clock.now[0]! + 800);
    expect(halfway).toMatchObject({ end: null, stop: 'limit' });
    expect(halfway.registers.rcx).toBeGreaterThan(0n);
    expect(() => cpu.startKernel((a) => a.nop())).toThrow('CPU 0 has a program under way');
    expect(cpu.resume()).toMatchObject({ end: 'exited', began: halfway.began });
  });

  test('two runs are alike, cycle by cycle', () => {
    const [one, other] = [boot(), boot()].map((machine) => {
      const cpu = first(machine);
      cpu.armTimer(5000);
      const result = cpu.runUser(waits);
      return { result, trace: cpu.core.trace.value, now: cpu.core.clock.now[0] };
    });
    expect(one).toEqual(other);
  });
});

describe('what a clobbered MSR does to the host', () => {
  test('LSTAR 0: the next system call is a double fault', () => {
    const machine = withIdt();
    const cpu = first(machine);
    cpu.core.msrs.set(0xc000_0082, 0n);
    expect(cpu.runUser((a) => a.nop())).toMatchObject({ end: 'panic', vector: 8 });
    expect(machine.panicked).toBe(8);
  });

  test('TSC_AUX 0: RDPID says CPU 0 on CPU 1', () => {
    const cpu = executing('sapphire-rapids', {}, { cpus: 2 }).cpus[1]!;
    expect(cpu.runUser((a) => a.rdpid('rbx')).registers.rbx).toBe(1n);
    cpu.core.msrs.set(0xc000_0103, 0n);
    expect(cpu.runUser((a) => a.rdpid('rbx')).registers.rbx).toBe(0n);
  });

  test('FRED_RSP0 0: the next event in user mode is a double fault, unless another task came between', () => {
    const clobbered = (switches: boolean) => {
      const machine = withFred();
      const cpu = first(machine);
      cpu.runUser((a) => a.nop());
      cpu.core.msrs.set(0x1cc, 0n);
      if (switches) cpu.switchTo(machine.newTask('another'));
      return cpu.runUser((a) => a.nop());
    };
    expect(clobbered(false)).toMatchObject({ end: 'panic', vector: 8 });
    expect(clobbered(true)).toMatchObject({ end: 'exited' });
  });

  test('PKRU 0: a page that was write-protected by its key is not any more', () => {
    const cpu = first(withIdt());
    expect(cpu.runUser((a) => a.rdpkru()).registers.rax).toBe(0x5555_5554n);
    cpu.core.control.writePkru(0);
    expect(cpu.runUser((a) => a.rdpkru()).registers.rax).toBe(0n);
  });
});

describe('tasks', () => {
  test('FRED_RSP0 is written when a CPU returns to another task than last time, and only then', () => {
    const machine = withFred();
    const cpu = first(machine);
    const [one, other] = [machine.newTask('one'), machine.newTask('other', { fs: 0x7000n, gs: 0x9000n })];
    const rsp0 = () => cpu.core.msrs.get(0x1cc);
    expect(rsp0()).toBe(0n);
    cpu.switchTo(one);
    expect(rsp0()).toBe(0n);
    cpu.prepareUserMode();
    expect(rsp0()).toBe(one.stackTop);
    cpu.core.msrs.set(0x1cc, 0x40n);
    cpu.prepareUserMode();
    expect(rsp0()).toBe(0x40n);
    cpu.switchTo(other);
    cpu.prepareUserMode();
    expect(rsp0()).toBe(other.stackTop);
    expect(cpu.core.msrs.get(0xc000_0100)).toBe(0x7000n);
    expect(cpu.runUser((a) => a.rdgsbase('rbx')).registers.rbx).toBe(0x9000n);
  });

  test('the stacks of tasks have guard pages', () => {
    const machine = withIdt();
    const [one, other] = [machine.newTask('one'), machine.newTask('other')];
    expect(other.stackTop - one.stackTop).toBe(0x5000n);
    expect(machine.memory.physicalOf(one.stackTop)).toBe(-1);
    expect(machine.memory.physicalOf(one.stackTop - 1n)).toBeGreaterThan(0);
  });
});

describe('several CPUs', () => {
  test('machines of one host share what the silicon is, and no memory', () => {
    const [one, other] = [executing('genoa'), executing('genoa')];
    expect(first(one).core.silicon).toBe(first(other).core.silicon);
    expect(first(one).core.costs).toBe(first(other).core.costs);
    expect(one.memory.physical).not.toBe(other.memory.physical);
  });

  test('a store of one ends the UMWAIT of another', () => {
    const machine = executing('sapphire-rapids', {}, { cpus: 2 });
    const [waiter, writer] = machine.cpus as [HostCpu, HostCpu];
    waiter.startUser(waits);
    writer.startUser((a) => {
      a.mov('ecx', 5000);
      a.label('again');
      a.dec('ecx');
      a.jne('again');
      a.mov('dword ptr [0x30000010]', 'ecx');
    });
    expect(machine.run()).toEqual(['idle', 'idle']);
    const { registers, end } = waiter.result('idle');
    expect(end).toBe('exited');
    expect(registers.rbx & 1n).toBe(0n);
    expect(registers.rsi).toBeLessThan(20_000n);
    expect(writer.result('idle').end).toBe('exited');
  });

  test('CPUs that wait for each other stop', () => {
    const machine = executing('sapphire-rapids', {}, { cpus: 2 });
    for (const cpu of machine.cpus) cpu.startKernel((a) => a.hlt());
    expect(machine.run()).toEqual(['idle', 'idle']);
    expect(machine.cpus.map((cpu) => cpu.ended)).toEqual([false, false]);
  });
});
