import { LINE_SIZE } from '../emu/core/operands.js';
import { STOP, VECTOR } from '../emu/core/status.js';
import type { HostCpu } from '../linux/host-cpu.js';
import type { Program, ProgramResult } from '../linux/programs.js';
import { msrIndex } from '../linux/user-return-rows.js';

/** What the host does to find out how it is: real machine code, and what comes of it. */
export interface Probe {
  readonly name: string;
  /** What is observed, by name: the same before and after, or the host is harmed. */
  observe(cpu: HostCpu): Readonly<Record<string, string>>;
}

const CF = 1;
/** `VDSO_CPUNODE_MASK`: the rest of IA32_TSC_AUX is the NUMA node. */
const CPU_NUMBER_MASK = 0xfff;

/** How a program ended, in words. */
export function endOf({ end, vector, stop }: ProgramResult): string {
  if (stop === STOP.SHUTDOWN) return 'triple fault: the machine resets';
  if (end === null) return `does not end (${stop})`;
  return vector === null ? end : `${end} by vector ${vector}`;
}

/** UMONITOR on a line of its own that nobody writes, then UMWAIT with a deadline far away. */
export function umwaitProbe(ticks: number): Probe {
  const program: Program = (a) => {
    a.lea('rdi', '[rsp-0x80]');
    a.umonitor('rdi');
    a.rdtsc();
    a.mov('ebx', 0);
    a.add('eax', ticks);
    a.jae('wait');
    a.inc('edx');
    a.label('wait');
    a.umwait('ebx');
    a.pushfq();
    a.pop('r8');
  };
  return {
    name: `UMWAIT (C0.2) until TSC + ${ticks}, in user mode`,
    observe(cpu) {
      const { c02, c01 } = cpu.core.residency;
      const result = cpu.runUser(program, {}, cpu.core.clock.now[0]! + 4 * ticks);
      const spent = [cpu.core.residency.c02 - c02, cpu.core.residency.c01 - c01];
      return {
        end: endOf(result),
        cycles: String(result.cycles),
        'cycles in C0.2': String(spent[0]),
        'cycles in C0.1': String(spent[1]),
        CF: (result.registers.r8 & BigInt(CF)) === 0n ? '0' : '1',
      };
    },
  };
}

/** What the contract says: UMWAIT again whenever CF says that the system's limit has ended it, until the deadline. */
export function wakeUpsProbe(ticks: number): Probe {
  const program: Program = (a) => {
    a.lea('rdi', '[rsp-0x80]');
    a.mov('ebx', 0);
    a.mov('ecx', 0);
    a.rdtsc();
    a.shl('rdx', 32);
    a.or('rax', 'rdx');
    a.add('rax', ticks);
    a.mov('r9', 'rax');
    a.label('again');
    a.umonitor('rdi');
    a.inc('ecx');
    a.mov('rax', 'r9');
    a.mov('rdx', 'rax');
    a.shr('rdx', 32);
    a.umwait('ebx');
    a.jb('again');
  };
  return {
    name: `UMWAIT until TSC + ${ticks}, again after every wake-up by the limit`,
    observe(cpu) {
      const { c02, c01 } = cpu.core.residency;
      const result = cpu.runUser(program, {}, cpu.core.clock.now[0]! + 4 * ticks);
      const waited = cpu.core.residency.c02 - c02 + (cpu.core.residency.c01 - c01);
      return {
        end: endOf(result),
        'wake-ups': String(result.registers.rcx),
        'cycles awake': String(result.cycles - waited),
      };
    },
  };
}

/** XBEGIN in user mode: whether a transaction begins. */
export const transactionProbe: Probe = {
  name: 'XBEGIN, XEND in user mode',
  observe(cpu) {
    const result = cpu.runUser((a) => {
      a.mov('eax', -1);
      a.xbegin('fallback');
      a.mov('ebx', 1);
      a.xend();
      a.label('fallback');
      a.mov('ecx', 'eax');
    });
    return { end: endOf(result), began: result.registers.rbx === 1n ? 'yes' : 'no, it aborts at once' };
  },
};

/** CPUID.(EAX=7,ECX=0):EBX[11] and [4] in user mode. */
export const tsxCpuidProbe: Probe = {
  name: 'CPUID.(EAX=7,ECX=0):EBX[11] RTM',
  observe(cpu) {
    const result = cpu.runUser((a) => {
      a.mov('eax', 7);
      a.mov('ecx', 0);
      a.cpuid();
    });
    return { RTM: (result.registers.rbx & (1n << 11n)) === 0n ? '0' : '1' };
  },
};

/** A system call, and back. */
export const systemCallProbe: Probe = {
  name: 'a system call from user mode',
  observe(cpu) {
    const result = cpu.runUser(
      (a) => {
        a.mov('eax', 39);
        a.syscall();
        a.mov('rbx', 'rax');
      },
      {},
      cpu.core.clock.now[0]! + 1_000_000,
    );
    return { end: endOf(result), 'system calls': String(result.systemCalls) };
  },
};

/** RDPID in user mode: getcpu(). */
export const cpuNumberProbe: Probe = {
  name: 'RDPID in user mode (getcpu)',
  observe(cpu) {
    const result = cpu.runUser((a) => {
      a.rdpid('rax');
    });
    return { IA32_TSC_AUX: `0x${result.registers.rax.toString(16)}` };
  },
};

/** An exception in user mode: whether the kernel gets to handle it. */
export const userExceptionProbe: Probe = {
  name: 'INT3 in user mode: the next event from ring 3',
  observe(cpu) {
    const result = cpu.runUser(
      (a) => {
        a.int3();
        a.mov('ebx', 1);
      },
      {},
      cpu.core.clock.now[0]! + 1_000_000,
    );
    return { end: endOf(result) };
  },
};

/** A leaf of CPUID on several CPUs: programs migrate, and take what they found with them. */
export function sameCpuidProbe(cpus: readonly HostCpu[], leaf: number, subleaf: number): Probe {
  const program: Program = (a) => {
    a.mov('eax', leaf);
    a.mov('ecx', subleaf);
    a.cpuid();
  };
  return {
    name: `CPUID.(EAX=${leaf},ECX=${subleaf}):EBX on ${cpus.length} CPUs`,
    observe() {
      const values = new Set(cpus.map((cpu) => cpu.runUser(program).registers.rbx));
      return { 'the same': values.size === 1 ? 'yes' : 'no' };
    },
  };
}

/** RDMSR in the kernel. */
export function msrProbe(state: string): Probe {
  const program: Program = (a) => {
    a.mov('ecx', msrIndex(state));
    a.rdmsr();
    a.shl('rdx', 32);
    a.or('rax', 'rdx');
  };
  return {
    name: `RDMSR of ${state} in the kernel`,
    observe: (cpu) => ({ value: `0x${cpu.runKernel(program).registers.rax.toString(16)}` }),
  };
}

/** Words of the kernel's memory, read there. */
export function kernelMemoryProbe(address: bigint, words: number): Probe {
  const program: Program = (a) => {
    a.mov('rsi', address);
    a.mov('ecx', words);
    a.mov('eax', 0);
    a.label('next');
    a.cmp('qword ptr [rsi]', 0);
    a.je('zero');
    a.inc('eax');
    a.label('zero');
    a.add('rsi', 8);
    a.dec('ecx');
    a.jne('next');
  };
  return {
    name: `${words} words of the kernel's memory at 0x${address.toString(16)}`,
    observe: (cpu) => ({ 'not zero': String(cpu.runKernel(program).registers.rax) }),
  };
}

/** RDPID in the kernel: what names a CPU there. */
export const kernelCpuNumberProbe: Probe = {
  name: 'RDPID in the kernel',
  observe(cpu) {
    const { registers } = cpu.runKernel((a) => {
      a.rdpid('rax');
      a.and('eax', CPU_NUMBER_MASK);
    });
    return { 'per-CPU data of CPU': String(registers.rax) };
  },
};

/** A locked instruction across two lines, in user mode. */
export const busLockProbe: Probe = {
  name: 'a bus lock in user mode',
  observe(cpu) {
    const { events } = cpu.runUser((a) => {
      a.lea('rdi', '[rsp-0x80]');
      a.and('rdi', -LINE_SIZE);
      a.lock().inc('dword ptr [rdi-2]');
    });
    return { '#DB': String(events.filter(({ vector }) => vector === VECTOR.DB).length) };
  },
};
