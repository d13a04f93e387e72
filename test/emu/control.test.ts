import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CONTROL_GP,
  CONTROL_OK,
  ControlRegisters,
  EFER_LMA,
  EFER_LME,
  EFER_SLOT,
  isLegalRflags,
  RFLAGS_MASK,
} from '../../src/emu/control.js';
import { CR4_ROWS } from '../../src/emu/control-rows.js';
import { MsrFile } from '../../src/emu/msrs.js';
import { runs } from '../support/runs.js';
import { halves, type Part, silicon } from './control-fixtures.js';

const PG = 0x8000_0000;
const PE = 1;
const WP = 0x1_0000;
const CR0_64 = PG | WP | 0x31;
const PAE = 0x20;

function build(part: Part = {}) {
  const parts = silicon(part);
  const msrs = new MsrFile(parts);
  const control = new ControlRegisters(parts, msrs);
  return { msrs, control };
}

/** In 64-bit mode, as a kernel runs. */
function long(part: Part = {}, cr4 = PAE) {
  const cpu = build(part);
  cpu.msrs.put(EFER_SLOT, EFER_LME | EFER_LMA, 0);
  cpu.control.load(4, cr4, 0);
  cpu.control.load(0, CR0_64 | 0, 0);
  return cpu;
}

describe('each bit of CR4', () => {
  /** What else must be set in the same write, or the state in which it can be set. */
  const base = PAE;

  test.each(CR4_ROWS.map((row) => [row.name, row] as const))('%s', (_, { bit, gate, name }) => {
    const [lo, hi] = halves((1n << BigInt(bit)) | BigInt(base));
    const { control } = long();
    // LA57 cannot change in IA-32e mode.
    const able = name === 'LA57' ? build().control : control;
    expect(able.writeCr4(lo, hi)).toBe(CONTROL_OK);
    expect([able.lo[4], able.hi[4]]).toEqual([lo, hi]);
    if (gate === '') return;
    const without = gate.split('|');
    if (name === 'PAE') return;
    const lacking = name === 'LA57' ? build({ without }).control : long({ without }).control;
    const before = lacking.snapshot();
    expect(lacking.writeCr4(lo, hi)).toBe(CONTROL_GP);
    expect(lacking.snapshot()).toEqual(before);
  });

  test('bits without a name are reserved', () => {
    const named = new Set(CR4_ROWS.map(({ bit }) => bit));
    for (let bit = 0; bit < 64; bit++) {
      if (!named.has(bit)) expect(long().control.writeCr4(...halves((1n << BigInt(bit)) | 0x20n))).toBe(CONTROL_GP);
    }
  });
});

describe('rules', () => {
  type Cpu = ReturnType<typeof build>;
  const FRED = 1;
  const PCIDE = 1 << 17;
  const CET = 1 << 23;
  const LA57 = 1 << 12;
  const VMXE = 1 << 13;
  const CR0_32 = PE | 0x30 | WP;

  /** A real-mode CPU that is about to turn paging on. */
  const starting = (efer: number, cr4: number): Cpu => {
    const cpu = build();
    cpu.msrs.put(EFER_SLOT, efer, 0);
    cpu.control.load(4, cr4, 0);
    cpu.control.load(0, CR0_32, 0);
    return cpu;
  };
  const vmx = (): Cpu => {
    const cpu = long({}, PAE | VMXE);
    expect(cpu.control.setVmxOperation(true)).toBe(CONTROL_OK);
    return cpu;
  };

  const cases: readonly (readonly [what: string, ok: boolean, cpu: () => Cpu, act: (cpu: Cpu) => number])[] = [
    ['CR0: upper half', false, long, ({ control }) => control.writeCr0(CR0_64 | 0, 1, true)],
    ['CR0: PG without PE', false, build, ({ control }) => control.writeCr0(PG | 0, 0, false)],
    ['CR0: NW without CD', false, build, ({ control }) => control.writeCr0(0x2000_0000, 0, false)],
    ['CR0: NW with CD', true, build, ({ control }) => control.writeCr0(0x6000_0000, 0, false)],
    ['CR0: PG off in 64-bit code', false, long, ({ control }) => control.writeCr0(CR0_32, 0, true)],
    ['CR0: PG off in compatibility mode', true, long, ({ control }) => control.writeCr0(CR0_32, 0, false)],
    ['CR0: PG off with PCIDE', false, () => long({}, PAE | PCIDE), ({ control }) => control.writeCr0(CR0_32, 0, false)],
    [
      'CR0: PG on, LME, PAE',
      true,
      () => starting(EFER_LME, PAE),
      ({ control }) => control.writeCr0(CR0_64 | 0, 0, false),
    ],
    [
      'CR0: PG on, LME, no PAE',
      false,
      () => starting(EFER_LME, 0),
      ({ control }) => control.writeCr0(CR0_64 | 0, 0, false),
    ],
    [
      'CR0: PG on, LME, CS.L',
      false,
      () => starting(EFER_LME, PAE),
      ({ control }) => control.writeCr0(CR0_64 | 0, 0, true),
    ],
    [
      'CR0: WP off with CET',
      false,
      () => long({}, PAE | CET),
      ({ control }) => control.writeCr0((CR0_64 & ~WP) | 0, 0, true),
    ],
    ['CR0: WP off without CET', true, long, ({ control }) => control.writeCr0((CR0_64 & ~WP) | 0, 0, true)],
    ['CR0: NE off in VMX operation', false, vmx, ({ control }) => control.writeCr0((CR0_64 & ~0x20) | 0, 0, true)],
    ['CR0: NE off otherwise', true, long, ({ control }) => control.writeCr0((CR0_64 & ~0x20) | 0, 0, true)],
    ['CR3: beyond MAXPHYADDR', false, long, ({ control }) => control.writeCr3(0, 1 << 14)],
    ['CR3: last address bit', true, long, ({ control }) => control.writeCr3(0, 1 << 13)],
    ['CR3: 63 without PCIDE', false, long, ({ control }) => control.writeCr3(0, 1 << 31)],
    ['CR3: 63 with PCIDE', true, () => long({}, PAE | PCIDE), ({ control }) => control.writeCr3(5, 1 << 31)],
    ['CR3: LAM', true, long, ({ control }) => control.writeCr3(0, 3 << 29)],
    ['CR3: no LAM', false, () => long({ without: ['LAM'] }), ({ control }) => control.writeCr3(0, 1 << 30)],
    ['CR4: PAE off in IA-32e mode', false, long, ({ control }) => control.writeCr4(0, 0)],
    ['CR4: LA57 changes in IA-32e mode', false, long, ({ control }) => control.writeCr4(PAE | LA57, 0)],
    ['CR4: LA57 before', true, build, ({ control }) => control.writeCr4(PAE | LA57, 0)],
    ['CR4: PCIDE outside IA-32e mode', false, build, ({ control }) => control.writeCr4(PAE | PCIDE, 0)],
    ['CR4: PCIDE', true, long, ({ control }) => control.writeCr4(PAE | PCIDE, 0)],
    [
      'CR4: PCIDE with a PCID in CR3',
      false,
      () => {
        const cpu = long();
        cpu.control.load(3, 0x1018, 0);
        return cpu;
      },
      ({ control }) => control.writeCr4(PAE | PCIDE, 0),
    ],
    [
      'CR4: CET without WP',
      false,
      () => {
        const cpu = long();
        cpu.control.load(0, (CR0_64 & ~WP) | 0, 0);
        return cpu;
      },
      ({ control }) => control.writeCr4(PAE | CET, 0),
    ],
    ['CR4: FRED outside IA-32e mode', false, build, ({ control }) => control.writeCr4(PAE, FRED)],
    ['CR4: VMXE off in VMX operation', false, vmx, ({ control }) => control.writeCr4(PAE, 0)],
    ['VMXON without VMXE', false, long, ({ control }) => control.setVmxOperation(true)],
    ['CR8: 15', true, long, ({ control }) => control.writeCr8(15, 0)],
    ['CR8: 16', false, long, ({ control }) => control.writeCr8(16, 0)],
    ['CR8: upper half', false, long, ({ control }) => control.writeCr8(0, 1)],
    ['XCR0: x87', true, long, ({ control }) => control.xsetbv(0, 1, 0)],
    ['XCR0: none', false, long, ({ control }) => control.xsetbv(0, 0, 0)],
    ['XCR0: no x87', false, long, ({ control }) => control.xsetbv(0, 6, 0)],
    ['XCR0: AVX without SSE', false, long, ({ control }) => control.xsetbv(0, 5, 0)],
    ['XCR0: AVX', true, long, ({ control }) => control.xsetbv(0, 7, 0)],
    ['XCR0: half of MPX', false, long, ({ control }) => control.xsetbv(0, 0xf, 0)],
    ['XCR0: AVX-512', true, long, ({ control }) => control.xsetbv(0, 0xe7, 0)],
    ['XCR0: a third of AVX-512', false, long, ({ control }) => control.xsetbv(0, 0x27, 0)],
    ['XCR0: AVX-512 without AVX', false, long, ({ control }) => control.xsetbv(0, 0xe3, 0)],
    ['XCR0: AMX', true, long, ({ control }) => control.xsetbv(0, 0x60007, 0)],
    ['XCR0: half of AMX', false, long, ({ control }) => control.xsetbv(0, 0x40007, 0)],
    [
      'XCR0: AMX not in CPUID',
      false,
      () => long({ registers: { 'd.0.eax': 0xe7 } }),
      ({ control }) => control.xsetbv(0, 0x60007, 0),
    ],
    ['XCR0: upper half', false, long, ({ control }) => control.xsetbv(0, 7, 1)],
    ['XCR1', false, long, ({ control }) => control.xsetbv(1, 1, 0)],
  ];

  test.each(cases)('%s: %s', (_, ok, cpu, act) => {
    const machine = cpu();
    const before = [machine.control.snapshot(), machine.msrs.snapshot()];
    expect(act(machine)).toBe(ok ? CONTROL_OK : CONTROL_GP);
    if (!ok) expect([machine.control.snapshot(), machine.msrs.snapshot()]).toEqual(before);
  });

  test('LMA follows LME and PG', () => {
    const { control, msrs } = starting(EFER_LME, PAE);
    control.writeCr0(CR0_64 | 0, 0, false);
    expect(msrs.lo[EFER_SLOT]).toBe(EFER_LME | EFER_LMA);
    control.writeCr0(CR0_32, 0, false);
    expect(msrs.lo[EFER_SLOT]).toBe(EFER_LME);
  });

  test('other bits of CR0 are dropped, ET stays', () => {
    const { control } = long();
    expect(control.writeCr0((CR0_64 & ~0x10) | 0x0ff0_ffc0 | 0, 0, true)).toBe(CONTROL_OK);
    expect(control.lo[0]).toBe((CR0_64 | 0x4_0000) & ~0 & (CR0_64 | 0));
  });

  test('CR3 does not keep bit 63', () => {
    const { control } = long({}, PAE | PCIDE);
    control.writeCr3(0x1005, 1 << 31);
    expect([control.lo[3], control.hi[3]]).toEqual([0x1005, 0]);
  });

  test('who translates is told', () => {
    const { control } = long();
    const told: boolean[] = [];
    control.paging = { pagingChanged: (all) => told.push(all) };
    control.writeCr3(0x1000, 0);
    control.writePkru(4);
    control.writePkru(4);
    control.writeCr4(PAE | 4, 0);
    control.writeCr4(PAE | (1 << 20), 0);
    expect(told).toEqual([false, true, true]);
  });

  test('the version goes up with what instructions depend on', () => {
    const { control } = long();
    const { version } = control;
    control.writeCr4(PAE | 4, 0);
    expect(control.version).toBeGreaterThan(version);
  });
});

test('RFLAGS: bit 1 and nothing that is reserved', () => {
  expect(isLegalRflags(2, 0)).toBe(true);
  expect(isLegalRflags(0, 0)).toBe(false);
  expect(isLegalRflags(2, 1)).toBe(false);
  for (const bit of [3, 5, 15, 22, 31]) expect(isLegalRflags(2 | (1 << bit), 0)).toBe(false);
  expect(isLegalRflags(2 | RFLAGS_MASK, 0)).toBe(true);
  expect(RFLAGS_MASK >>> 0).toBe(0x3f_7fd5);
});

test('law: a refused write changes nothing, and a snapshot restores everything', () => {
  const words = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff });
  const act = fc.record({ which: fc.constantFrom(0, 3, 4, 8, 9), lo: words, hi: fc.oneof(fc.constant(0), words) });
  fc.assert(
    fc.property(fc.array(act, { maxLength: 40 }), (acts) => {
      const { control, msrs } = long();
      const start = control.snapshot();
      for (const { which, lo, hi } of acts) {
        const before = [control.snapshot(), msrs.snapshot()];
        const status =
          which === 0
            ? control.writeCr0(lo, hi, true)
            : which === 3
              ? control.writeCr3(lo, hi)
              : which === 4
                ? control.writeCr4(lo & 0x1ff_37ff, hi & 1)
                : which === 8
                  ? control.writeCr8(lo & 0x1f, hi)
                  : control.xsetbv(0, lo & 0x600ff, hi);
        if (status !== CONTROL_OK) expect([control.snapshot(), msrs.snapshot()]).toEqual(before);
      }
      control.restore(start);
      expect(control.snapshot()).toEqual(start);
    }),
    runs(50),
  );
});
