import { describe, expect, test } from 'vitest';
import { compiledEngine } from '../../src/emu/core/compiled.js';
import type { Assembler } from '../../src/emu/isa/asm.js';
import type { HostCpu } from '../../src/linux/host-cpu.js';
import { executing } from '../support/executing.js';

const DEBUGCTL = 0x1d9;
const BUS_LOCK_DETECT = 4n;
const DB = 1;
const DR6_RESERVED = 0xffff_0ff0 | 0;

function cpuWith(debugctl: bigint, host = 'turin'): HostCpu {
  const cpu = executing(host).cpus[0]!;
  cpu.core.msrs.set(DEBUGCTL, debugctl);
  return cpu;
}

/** A program with RDI at the end of a line. */
const atLineEnd = (body: (a: Assembler) => void) => (a: Assembler) => {
  a.lea('rdi', '[rsp-0x80]');
  a.and('rdi', -64);
  body(a);
};

const traps = (cpu: HostCpu, body: (a: Assembler) => void, user = true): number => {
  const before = cpu.eventCount(DB);
  const { end } = user ? cpu.runUser(atLineEnd(body)) : cpu.runKernel(atLineEnd(body));
  expect(end).toBe(user ? 'exited' : 'returned');
  return cpu.eventCount(DB) - before;
};

const splitInc = (a: Assembler) => a.lock().inc('dword ptr [rdi-2]');

describe('a bus lock', () => {
  test.each<readonly [string, number, (a: Assembler) => void]>([
    ['LOCK INC across two lines', 1, splitInc],
    ['LOCK ADD of a byte', 0, (a) => a.lock().add('byte ptr [rdi-1]', 1)],
    ['LOCK INC that ends where the line does', 0, (a) => a.lock().inc('dword ptr [rdi-4]')],
    ['INC without LOCK', 0, (a) => a.inc('dword ptr [rdi-2]')],
    ['XCHG, which locks by itself', 1, (a) => a.xchg('qword ptr [rdi-1]', 'rax')],
    ['XCHG of registers', 0, (a) => a.xchg('rbx', 'rax')],
    ['LOCK CMPXCHG, taken or not', 1, (a) => a.lock().cmpxchg('dword ptr [rdi-1]', 'ecx')],
    ['LOCK CMPXCHG8B', 1, (a) => a.lock().cmpxchg8b('qword ptr [rdi-4]')],
    ['CMPXCHG8B without LOCK', 0, (a) => a.cmpxchg8b('qword ptr [rdi-4]')],
    [
      'two of them',
      2,
      (a) => {
        splitInc(a);
        splitInc(a);
      },
    ],
  ])('%s in user mode: %i', (_, count, body) => {
    expect(traps(cpuWith(BUS_LOCK_DETECT), body)).toBe(count);
    expect(traps(cpuWith(BUS_LOCK_DETECT, 'sapphire-rapids'), body)).toBe(count);
    expect(traps(cpuWith(0n), body)).toBe(0);
  });

  test('in the kernel is none', () => {
    expect(traps(cpuWith(BUS_LOCK_DETECT), splitInc, false)).toBe(0);
  });

  test('on a CPU where the bit of DEBUGCTL is something else is none', () => {
    expect(traps(cpuWith(BUS_LOCK_DETECT, 'genoa'), splitInc)).toBe(0);
  });

  test('is done when #DB comes, at the next instruction', () => {
    const cpu = cpuWith(BUS_LOCK_DETECT);
    const { registers, events } = cpu.runUser(
      atLineEnd((a) => {
        a.mov('dword ptr [rdi-2]', 41);
        splitInc(a);
        a.mov('eax', 'dword ptr [rdi-2]');
        a.lea('rbx', '[rip+here]');
        a.label('here');
      }),
    );
    expect(registers.rax).toBe(42n);
    // MOV and LEA are four and seven bytes before the label or less.
    const [{ rip } = { rip: 0n }] = events;
    expect(registers.rbx - rip).toBe(3n + 7n);
  });

  test('says so in DR6, which the kernel then resets', () => {
    const cpu = cpuWith(BUS_LOCK_DETECT);
    let seen = 0;
    cpu.core.sink = {
      event: (core) => {
        seen |= ~core.drLo[6]! & DR6_RESERVED;
      },
    };
    expect(traps(cpu, splitInc)).toBe(1);
    expect(seen).toBe(1 << 11);
    expect(cpu.core.drLo[6]).toBe(DR6_RESERVED);
  });

  test('comes at the same instruction and cycle whatever executes it', () => {
    const ROUNDS = 300;
    const outcomes = ['interpreted', 'compiled', 'stepwise'].map((how) => {
      const cpu = cpuWith(BUS_LOCK_DETECT);
      if (how === 'compiled') cpu.core.engine = compiledEngine(cpu.core);
      if (how === 'stepwise') cpu.core.sink = {};
      const count = traps(cpu, (a) => {
        a.mov('ecx', ROUNDS);
        a.label('again');
        splitInc(a);
        a.add('rax', 'rcx');
        a.dec('ecx');
        a.jne('again');
      });
      return { count, cycle: cpu.core.clock.now[0], retired: cpu.core.retired[0] };
    });
    expect(outcomes[0]!.count).toBe(ROUNDS);
    expect(outcomes[1]).toEqual(outcomes[0]);
    expect(outcomes[2]).toEqual(outcomes[0]);
  });
});
