// Guest programs for the emulator, as lists of operations: from one list come the machine code and a bare loop that does
// the same without translating, without flags beside ZF, without a clock.
import { Core } from '../../dist/emu/core/core.js';
import { assemble } from '../../dist/emu/isa/asm.js';
import { PhysicalMemory } from '../../dist/emu/memory.js';
import { PageTableBuilder } from '../../dist/emu/paging-build.js';
import { random } from './random.mjs';

const CODE = 0x10_0000;
const DATA = 0x8_0000;
const STACK = 0x7_0000;
const TABLES = 0x20_0000;
const MAPPED = 0x14_0000;
const CR0 = 0x8005_0033;
const CR4 = 0x4_0020;
const BASE = 15;
const STATE = 14;
const TEMPORARY = 13;
const NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];
const NARROW = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', ...NAMES.slice(8).map((name) => `${name}d`)];

/** 17 kinds, on two registers or a register and a number. */
const KINDS = [
  ...['mov', 'add', 'sub', 'and', 'or', 'xor', 'cmp', 'test', 'shl', 'shr', 'sar', 'inc', 'dec', 'lea'],
  ...['add32', 'xor32', 'mov32'],
];
const ALONE = ['inc', 'dec'];
const SHIFTS = ['shl', 'shr', 'sar'];
const REGISTERS = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12];

function operation(below, memory) {
  const a = REGISTERS[below(REGISTERS.length)];
  const b = REGISTERS[below(REGISTERS.length)];
  // Words 0 to 511 of two pages.
  if (memory && below(100) < 14) return { kind: below(3) === 0 ? 'store' : 'load', a, b: BASE, n: 8 * below(1024) };
  const kind = KINDS[below(KINDS.length)];
  return { kind, a, b, n: SHIFTS.includes(kind) ? 1 + below(31) : below(0x1000) };
}

/** A third of a step of xorshift, in R14. */
const mix = (kind, n) => [
  { kind: 'mov', a: TEMPORARY, b: STATE, n: 0 },
  { kind, a: TEMPORARY, b: 0, n },
  { kind: 'xor', a: STATE, b: TEMPORARY, n: 0 },
];

/**
 * Blocks of operations, each with where it goes: `always`, or by a bit of R14 to `taken` or to the block after it.
 */
export const PROGRAMS = {
  'A: xorshift loop': () => [
    {
      operations: [
        ...mix('shl', 13),
        ...mix('shr', 7),
        ...mix('shl', 17),
        { kind: 'add', a: 0, b: STATE, n: 0 },
        { kind: 'dec', a: 1, b: 0, n: 0 },
      ],
      taken: 0,
    },
  ],
  'B: 256 blocks in sequence': () => sequence(false),
  'C: random walk': () => walk(false),
  'D: as B, loads and stores': () => sequence(true),
  'E: as C, loads and stores': () => walk(true),
};

function sequence(memory) {
  const below = random(256);
  return Array.from({ length: 256 }, (_, at) => ({
    operations: Array.from({ length: 8 + below(11) }, () => operation(below, memory)),
    always: (at + 1) % 256,
  }));
}

function walk(memory) {
  const below = random(187);
  return Array.from({ length: 187 }, () => ({
    operations: [
      ...Array.from({ length: 6 + below(11) }, () => operation(below, memory)),
      { kind: 'lea', a: STATE, b: STATE, n: 0x1e37_79b1 },
      ...mix('shr', 7 + below(20)),
      { kind: 'testbit', a: STATE, b: 0, n: 2 ** below(20) },
    ],
    taken: below(187),
  }));
}

function write(a, { kind, a: to, b: from, n }) {
  if (kind === 'load') a.mov(NAMES[to], `qword ptr [${NAMES[from]}+${n}]`);
  else if (kind === 'store') a.mov(`qword ptr [${NAMES[from]}+${n}]`, NAMES[to]);
  else if (kind === 'lea') a.lea(NAMES[to], `[${NAMES[from]}+${n}]`);
  else if (kind === 'testbit') a.test(NARROW[to], n);
  else if (kind.endsWith('32')) a[kind.slice(0, -2)](NARROW[to], NARROW[from]);
  else if (ALONE.includes(kind)) a[kind](NAMES[to]);
  else if (SHIFTS.includes(kind)) a[kind](NAMES[to], n);
  else a[kind](NAMES[to], NAMES[from]);
}

const seedOf = (register) => BigInt(register + 1) * 0x9e37_79b9_7f4a_7c15n;

/** A core in 64-bit mode with the program at its RIP. */
export function guest(host, blocks, engine) {
  const memory = new PhysicalMemory([{ base: 0, size: 0x40_0000, kind: 'ram' }], { frames: 512 });
  const { cpuid, silicon, costs } = host;
  const core = new Core({ cpuid, silicon, costs, memory, engine });
  const tables = new PageTableBuilder(memory, TABLES);
  tables.identity(MAPPED, { write: true });
  core.enterLongMode(tables.root, CR0 | 0, CR4);
  const { bytes } = assemble((a) => {
    blocks.forEach(({ operations, always, taken }, at) => {
      a.label(`L${at}`);
      for (const one of operations) write(a, one);
      if (always !== undefined) a.jmp(`L${always}`);
      else {
        a.jne(`L${taken}`);
        if (at === blocks.length - 1) a.jmp('L0');
      }
    });
  });
  memory.load(CODE, bytes);
  for (let register = 0; register < 16; register++) core.setRegister(register, BigInt.asUintN(64, seedOf(register)));
  core.setRegister(4, BigInt(STACK));
  core.setRegister(BASE, BigInt(DATA));
  core.rip = BigInt(CODE);
  return core;
}

/** Runs a core for so many cycles; returns how many instructions that were. */
export function runFor(core, cycles) {
  const before = core.retired[0];
  core.run(core.clock.now[0] + cycles);
  return core.retired[0] - before;
}

const OPS = [...KINDS, 'load', 'store', 'testbit', 'jmp', 'jne'];
const OP = Object.fromEntries(OPS.map((name, number) => [name, number]));

/** The bare loop: a switch over typed arrays. Returns a function of the number of instructions that it is to do at least. */
export function bareLoop(blocks) {
  const starts = [];
  const list = [];
  blocks.forEach(({ operations, always, taken }, at) => {
    starts.push(list.length);
    list.push(...operations);
    if (always !== undefined) list.push({ kind: 'jmp', a: 0, b: 0, n: always });
    else list.push({ kind: 'jne', a: 0, b: 0, n: taken });
    if (always === undefined && at === blocks.length - 1) list.push({ kind: 'jmp', a: 0, b: 0, n: 0 });
  });
  const op = Uint8Array.from(list, ({ kind }) => OP[kind]);
  const to = Uint8Array.from(list, ({ a }) => a);
  const from = Uint8Array.from(list, ({ b }) => b);
  const number = Int32Array.from(list, ({ kind, n }) => (kind === 'jmp' || kind === 'jne' ? starts[n] : n));
  const lo = Int32Array.from({ length: 16 }, (_, register) => Number(BigInt.asIntN(32, seedOf(register))));
  const hi = Int32Array.from({ length: 16 }, (_, register) => Number(BigInt.asIntN(32, seedOf(register) >> 32n)));
  const words = new Int32Array(4096);
  let at = 0;
  return (instructions) => {
    let [zero, done, pc] = [0, 0, at];
    for (;;) {
      const a = to[pc];
      const b = from[pc];
      const n = number[pc];
      done++;
      switch (op[pc++]) {
        case 0:
          lo[a] = lo[b];
          hi[a] = hi[b];
          break;
        case 1: {
          const l = (lo[a] + lo[b]) | 0;
          hi[a] = hi[a] + hi[b] + (l >>> 0 < lo[a] >>> 0 ? 1 : 0);
          lo[a] = l;
          zero = l | hi[a];
          break;
        }
        case 2: {
          const borrow = lo[a] >>> 0 < lo[b] >>> 0 ? 1 : 0;
          lo[a] = lo[a] - lo[b];
          hi[a] = hi[a] - hi[b] - borrow;
          zero = lo[a] | hi[a];
          break;
        }
        case 3:
          lo[a] &= lo[b];
          hi[a] &= hi[b];
          zero = lo[a] | hi[a];
          break;
        case 4:
          lo[a] |= lo[b];
          hi[a] |= hi[b];
          zero = lo[a] | hi[a];
          break;
        case 5:
          lo[a] ^= lo[b];
          hi[a] ^= hi[b];
          zero = lo[a] | hi[a];
          break;
        case 6:
          zero = (lo[a] ^ lo[b]) | (hi[a] ^ hi[b]);
          break;
        case 7:
          zero = (lo[a] & lo[b]) | (hi[a] & hi[b]);
          break;
        case 8:
          hi[a] = (hi[a] << n) | (lo[a] >>> (32 - n));
          lo[a] <<= n;
          zero = lo[a] | hi[a];
          break;
        case 9:
          lo[a] = (lo[a] >>> n) | (hi[a] << (32 - n));
          hi[a] >>>= n;
          zero = lo[a] | hi[a];
          break;
        case 10:
          lo[a] = (lo[a] >>> n) | (hi[a] << (32 - n));
          hi[a] >>= n;
          zero = lo[a] | hi[a];
          break;
        case 11:
          lo[a] += 1;
          if (lo[a] === 0) hi[a] += 1;
          zero = lo[a] | hi[a];
          break;
        case 12:
          if (lo[a] === 0) hi[a] -= 1;
          lo[a] -= 1;
          zero = lo[a] | hi[a];
          break;
        case 13: {
          const l = (lo[b] + n) | 0;
          hi[a] = hi[b] + (l >>> 0 < lo[b] >>> 0 ? 1 : 0);
          lo[a] = l;
          break;
        }
        case 14:
          zero = lo[a] = lo[a] + lo[b];
          hi[a] = 0;
          break;
        case 15:
          zero = lo[a] = lo[a] ^ lo[b];
          hi[a] = 0;
          break;
        case 16:
          lo[a] = lo[b];
          hi[a] = 0;
          break;
        case 17:
          lo[a] = words[n >> 2];
          hi[a] = words[(n >> 2) + 1];
          break;
        case 18:
          words[n >> 2] = lo[a];
          words[(n >> 2) + 1] = hi[a];
          break;
        case 19:
          zero = lo[a] & n;
          break;
        case 20:
          pc = n;
          if (done >= instructions) {
            at = pc;
            return done;
          }
          break;
        default:
          if (zero !== 0) pc = n;
          if (done >= instructions) {
            at = pc;
            return done;
          }
      }
    }
  };
}
