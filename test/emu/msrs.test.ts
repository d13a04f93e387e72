import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { architectureFieldAt } from '../../src/cpuid/architecture.js';
import { Clock, Tsc } from '../../src/emu/clock.js';
import { ControlRegisters } from '../../src/emu/control.js';
import { EventQueue } from '../../src/emu/events.js';
import { MSR_ROWS, type MsrRow, msrNamed } from '../../src/emu/msr-rows.js';
import { diffMsrs, MsrFile, msrSlot, NO_SLOT } from '../../src/emu/msrs.js';
import { CpuMsrHooks } from '../../src/emu/msrs-hooks.js';
import { RawCpuid } from '../../src/emu/raw-cpuid.js';
import { SILICON_BITS, Silicon } from '../../src/emu/silicon.js';
import { builtInHosts } from '../../src/index.js';
import { runs } from '../support/runs.js';
import { type Part, silicon } from './control-fixtures.js';

const file = (part: Part = {}) => new MsrFile(silicon(part));
const index = (name: string) => msrNamed(name).index;
/** Whose manual has the row. */
const vendorOf = (row: MsrRow) => (row.vendor === 'amd' || row.gate.includes('AMD&') ? 'amd' : 'intel');

describe('the table', () => {
  test('is sorted, without doubles', () => {
    const indices = MSR_ROWS.map((row) => row.index);
    expect(indices).toEqual([...new Set(indices)].sort((one, other) => one - other));
    expect(new Set(MSR_ROWS.map(({ name }) => name)).size).toBe(MSR_ROWS.length);
  });

  test('every row has a slot of its own, and nothing else has one', () => {
    MSR_ROWS.forEach((row, slot) => {
      expect(msrSlot(row.index)).toBe(slot);
    });
    for (const absent of [0x11, 0x2000, 0x4000_0010, 0xbfff_ff80, 0xc000_0085, 0xc002_0000, 0xffff_ffff])
      expect(msrSlot(absent)).toBe(NO_SLOT);
  });

  test('reset values fit their MSRs', () => {
    for (const vendor of ['intel', 'amd'] as const) {
      const msrs = file({ vendor });
      const wrong = MSR_ROWS.filter(({ index: at, writable, rule, hook }) => {
        if (!msrs.has(at) || writable === null || rule === 'command') return false;
        return hook !== 'efer' && !msrs.set(at, msrs.get(at)!);
      });
      expect(wrong.map(({ name }) => name)).toEqual([]);
    }
  });

  test('bits without a row in the feature table are where the architecture has them', () => {
    const names = SILICON_BITS.map(([name, fn, at, register, bit]) => [
      name,
      architectureFieldAt(fn, at, register, bit)?.name,
    ]);
    expect(Object.fromEntries(names)).toMatchObject({
      SMX: 'smx',
      KEY_LOCKER: 'key_locker',
      PKS: 'pks',
      UINTR: 'uintr',
      ARCH_LBR: 'arch_lbr',
      TCE: 'tce',
      MCOMMIT: 'mcommit',
      WBINVD_INT: 'wbinvd_int',
      UPPER_ADDR_IGNORE: 'upper_addr_ignore',
      LBR_V2: 'lbr_v2',
    });
    // The bit that stands for a feature that nobody knows is reserved.
    expect(names.filter(([, name]) => name === undefined)).toEqual([['UNKNOWN', undefined]]);
  });
});

/** The same part with one term of a gate shut. */
function shut(term: string): Part {
  const bit = /^(\w+)\[(\d+)\]$/.exec(term);
  if (bit) return { msrs: { [bit[1]!]: ~(1n << BigInt(bit[2]!)) & 0xff_ffff_ffff_ffffn } };
  const count = /^(\w+)>(\d+)$/.exec(term);
  switch (count?.[1]) {
    case undefined:
      return { without: [term] };
    case 'MC':
      return { msrs: { IA32_MCG_CAP: BigInt(count![2]!) | 0x0fff_ff00n } };
    case 'MTRR':
      return { msrs: { IA32_MTRRCAP: BigInt(count![2]!) | 0x500n } };
    case 'LBR':
      return { registers: { '1c.0.eax': (1 << (Number(count![2]) >> 3)) - 1 } };
    case 'PTADDR':
      return { registers: { '14.1.eax': Number(count![2]) } };
    case 'AMDPMC':
      return { registers: { '80000022.0.ebx': Number(count![2]) }, without: ['PERFCTR_CORE'] };
    case 'FIXED':
      return { registers: { 'a.0.edx': Number(count![2]) } };
    case 'PMC':
      return { registers: { 'a.0.eax': 0x0730_0005 | (Number(count![2]) << 8) } };
    default:
      return { registers: { 'a.0.eax': 0x0730_0800 | Number(count![2]) } };
  }
}

describe('each gate, on both sides', () => {
  const gated = MSR_ROWS.filter(({ gate }) => gate.replace(/INTEL&?|AMD&?/g, '') !== '');

  test.each(gated.map((row) => [row.name, row] as const))('%s', (_, row) => {
    const vendor = vendorOf(row);
    expect(file({ vendor }).has(row.index)).toBe(true);
    const alternatives = row.gate
      .split('|')
      .map((terms) => terms.split('&').filter((term) => !/^(INTEL|AMD)$/.test(term)));
    // Each term of a single conjunction alone shuts it; of several, the first term of each together.
    const ways =
      alternatives.length === 1 ? alternatives[0]!.map((term) => [term]) : [alternatives.map((terms) => terms[0]!)];
    for (const way of ways) {
      const parts = way.map(shut);
      const part: Part = {
        vendor,
        without: parts.flatMap(({ without = [] }) => without),
        registers: Object.assign({}, ...parts.map(({ registers }) => registers)),
        msrs: parts.reduce<Record<string, bigint>>((all, { msrs = {} }) => {
          for (const [name, value] of Object.entries(msrs)) all[name] = (all[name] ?? value) & value;
          return all;
        }, {}),
      };
      // AMD without the count of leaf 80000022H still has four counters.
      if (/AMDPMC>[0-3]/.test(way[0]!)) continue;
      const msrs = file(part);
      expect([way, msrs.has(row.index)]).toEqual([way, false]);
      expect(msrs.get(row.index)).toBeUndefined();
      expect(msrs.set(row.index, 0n)).toBe(false);
    }
  });

  test('an MSR of one line of vendors is not there in the other', () => {
    for (const row of MSR_ROWS.filter(({ vendor }) => vendor !== null)) {
      const other = row.vendor === 'amd' ? 'intel' : 'amd';
      expect([row.name, file({ vendor: other }).has(row.index)]).toEqual([row.name, false]);
    }
  });
});

/** Written by hand from the instruction subset and the FRED and WAITPKG notes: not derived from the table. */
const WRITABLE: readonly (readonly [name: string, writable: bigint, index: number])[] = [
  ['IA32_UMWAIT_CONTROL', 0xffff_fffdn, 0xe1],
  ['IA32_TSX_CTRL', 0x3n, 0x122],
  ['IA32_SPEC_CTRL', 0x5ffn, 0x48],
  ['IA32_FRED_RSP0', 0xffff_ffff_ffff_ffc0n, 0x1cc],
  ['IA32_FRED_RSP3', 0xffff_ffff_ffff_ffc0n, 0x1cf],
  ['IA32_FRED_STKLVLS', 0xffff_ffff_ffff_ffffn, 0x1d0],
  ['IA32_FRED_SSP1', 0xffff_ffff_ffff_fff8n, 0x1d1],
  ['IA32_FRED_CONFIG', 0xffff_ffff_ffff_f7cbn, 0x1d4],
  ['IA32_PL0_SSP', 0xffff_ffff_ffff_fffcn, 0x6a4],
  ['IA32_PKRS', 0xffff_ffffn, 0x6e1],
  ['IA32_XFD', 0x4_0000n, 0x1c4],
  ['IA32_XFD_ERR', 0x4_0000n, 0x1c5],
  ['IA32_XSS', 0x1_d900n, 0xda0],
  ['IA32_EFER', 0x901n, 0xc000_0080],
  ['IA32_STAR', 0xffff_ffff_ffff_ffffn, 0xc000_0081],
  ['IA32_FMASK', 0xffff_ffffn, 0xc000_0084],
  ['IA32_TSC_AUX', 0xffff_ffffn, 0xc000_0103],
  ['IA32_UARCH_MISC_CTL', 0x1n, 0x1b01],
  ['IA32_LBR_DEPTH', 0x7fn, 0x14cf],
];

/** Names of AMD's bits that Intel's parts do not have. */
const AMD_ONLY = ['FXSR_OPT', 'TCE', 'AUTOIBRS', 'SVM', 'MCOMMIT', 'WBINVD_INT', 'UPPER_ADDR_IGNORE'];

describe('each reserved bit', () => {
  test.each(WRITABLE)('%s', (name, writable, at) => {
    expect(index(name)).toBe(at);
    const part = { without: AMD_ONLY };
    // EFER.LMA is ignored, not reserved.
    const ignored = name === 'IA32_EFER' ? 1n << 10n : 0n;
    for (let bit = 0n; bit < 64n; bit++) {
      const msrs = file(part);
      const before = msrs.snapshot();
      const faults = ((writable | ignored) & (1n << bit)) === 0n;
      if (faults) {
        expect([bit, msrs.set(at, 1n << bit)]).toEqual([bit, false]);
        expect(diffMsrs(before, msrs.snapshot())).toEqual([]);
      } else if (msrNamed(name).rule === 'none') {
        expect([bit, msrs.set(at, 1n << bit)]).toEqual([bit, true]);
        expect(msrs.get(at)).toBe((1n << bit) & writable);
      }
    }
  });

  test.each(MSR_ROWS.map((row) => [row.name, row] as const))('%s, from its row', (_, row) => {
    const vendor = vendorOf(row);
    const part = silicon({ vendor });
    const msrs = new MsrFile(part);
    if (row.writable === null) {
      expect(msrs.set(row.index, msrs.get(row.index) ?? 0n)).toBe(false);
      return;
    }
    const writable = part.mask(row.writable);
    const taken = writable | part.mask(row.ignored);
    const before = msrs.snapshot();
    for (let bit = 0n; bit < 64n; bit++) {
      if ((taken & (1n << bit)) !== 0n) continue;
      expect([bit, msrs.set(row.index, 1n << bit)]).toEqual([bit, false]);
    }
    expect(diffMsrs(before, msrs.snapshot())).toEqual([]);
  });

  test('a bit of SPEC_CTRL comes with its feature', () => {
    const bits: readonly (readonly [bit: bigint, intel: string, amd: string | null])[] = [
      [0n, 'SPEC_CTRL', 'AMD_IBRS'],
      [2n, 'SPEC_CTRL_SSBD', 'AMD_SSBD'],
      [3n, 'IPRED_CTRL', null],
      [6n, 'RRSBA_CTRL', null],
      [7n, 'INTEL_PSFD', 'AMD_PSFD'],
      [8n, 'DDPD_U', null],
      [10n, 'BHI_CTRL', null],
    ];
    for (const [bit, intel, amd] of bits) {
      const without = amd === null ? [intel] : [intel, amd];
      expect(file().set(0x48, 1n << bit)).toBe(true);
      expect(file({ without }).set(0x48, 1n << bit)).toBe(false);
    }
    // STIBP is ignored where only IBRS is there.
    const msrs = file({ without: ['INTEL_STIBP', 'AMD_STIBP'] });
    expect(msrs.set(0x48, 3n)).toBe(true);
    expect(msrs.get(0x48)).toBe(1n);
  });
});

describe('rules', () => {
  type Case = readonly [name: string, value: bigint, taken: boolean, part?: Part];
  const cases: readonly Case[] = [
    ['IA32_LSTAR', 0x7fff_ffff_ffffn, true, { without: ['LA57'] }],
    ['IA32_LSTAR', 0x8000_0000_0000n, false, { without: ['LA57'] }],
    ['IA32_LSTAR', 0xffff_8000_0000_0000n, true, { without: ['LA57'] }],
    ['IA32_LSTAR', 0xffff_7fff_ffff_ffffn, false, { without: ['LA57'] }],
    ['IA32_LSTAR', 0x00ff_ffff_ffff_ffffn, true],
    ['IA32_LSTAR', 0x0100_0000_0000_0000n, false],
    ['IA32_KERNEL_GS_BASE', 0x0100_0000_0000_0000n, false],
    ['IA32_FRED_CONFIG', 0x0100_0000_0000_0000n, false],
    ['IA32_UINTR_HANDLER', 0x0100_0000_0000_0000n, false],
    ['IA32_PAT', 0x0007_0406_0007_0406n, true],
    ['IA32_PAT', 0x0007_0406_0007_0402n, false],
    ['IA32_PAT', 0x0307_0406_0007_0406n, false],
    ['IA32_MTRR_DEF_TYPE', 0xc06n, true],
    ['IA32_MTRR_DEF_TYPE', 0xc07n, false],
    ['IA32_MTRR_DEF_TYPE', 0xc02n, false],
    ['IA32_MTRR_FIX64K_00000', 0x0606_0606_0606_0606n, true],
    ['IA32_MTRR_FIX64K_00000', 0x0706_0606_0606_0606n, false],
    ['IA32_U_CET', 0x400n, true],
    ['IA32_U_CET', 0xc00n, false],
    ['IA32_U_CET', 0x3n, false, { without: ['SHSTK'] }],
    ['IA32_U_CET', 0x4n, false, { without: ['IBT'] }],
    ['IA32_LBR_DEPTH', 8n, true],
    ['IA32_LBR_DEPTH', 64n, true],
    ['IA32_LBR_DEPTH', 12n, false],
    ['IA32_LBR_DEPTH', 0n, false],
    ['IA32_LBR_DEPTH', 64n, false, { registers: { '1c.0.eax': 0x0f } }],
    ['IA32_APIC_BASE', 0xfee0_0d00n, true],
    ['IA32_APIC_BASE', 0xfee0_0500n, false],
    ['IA32_APIC_BASE', 0xfee0_0d00n, false, { without: ['X2APIC'] }],
    ['IA32_APIC_BASE', 0x40_0000_0900n, true, { physicalBits: 39 }],
    ['IA32_APIC_BASE', 0x80_0000_0900n, false, { physicalBits: 39 }],
    ['IA32_MC3_STATUS', 0n, true],
    ['IA32_MC3_STATUS', 1n, false],
    ['MSR_VM_HSAVE_PA', 0x1000n, true, { vendor: 'amd' }],
    ['MSR_VM_HSAVE_PA', 0x800n, false, { vendor: 'amd' }],
    ['IA32_SYSENTER_EIP', 1n << 63n, false],
  ];

  test.each(cases.map((row) => [row[0], row] as const))('%s', (_, [name, value, taken, part = {}]) => {
    const msrs = file(part);
    const before = msrs.get(index(name));
    expect(msrs.set(index(name), value)).toBe(taken);
    expect(msrs.get(index(name))).toBe(taken ? value : before);
  });

  test('FEATURE_CONTROL stays as it is once locked', () => {
    const msrs = file();
    expect(msrs.set(0x3a, 0x4n)).toBe(true);
    expect(msrs.set(0x3a, 0x5n)).toBe(true);
    expect(msrs.set(0x3a, 0x4n)).toBe(false);
    expect(msrs.set(0x3a, 0x5n)).toBe(false);
  });

  test('x2APIC mode is left through off only', () => {
    const msrs = file();
    expect(msrs.set(0x1b, 0xfee0_0d00n)).toBe(true);
    expect(msrs.set(0x1b, 0xfee0_0900n)).toBe(false);
    expect(msrs.set(0x1b, 0xfee0_0100n)).toBe(true);
    expect(msrs.set(0x1b, 0xfee0_0d00n)).toBe(false);
    expect(msrs.set(0x1b, 0xfee0_0900n)).toBe(true);
  });

  test('a locked VM_CR keeps SVMDIS', () => {
    const msrs = file({ vendor: 'amd' });
    expect(msrs.set(0xc001_0114, 0x18n)).toBe(true);
    expect(msrs.set(0xc001_0114, 0x1n)).toBe(true);
    expect(msrs.get(0xc001_0114)).toBe(0x19n);
  });

  test('commands are taken and cannot be read; discarded values read as zero', () => {
    const msrs = file();
    expect(msrs.set(0x49, 1n)).toBe(true);
    expect(msrs.get(0x49)).toBeUndefined();
    expect(msrs.set(0x390, 1n)).toBe(true);
    expect(msrs.get(0x390)).toBe(0n);
  });

  test('counters: the old name sign-extends, the full-width name of the same counter does not', () => {
    const msrs = file();
    expect(msrs.set(0xc1, 0x1234_8000_0000n)).toBe(true);
    expect(msrs.get(0xc1)).toBe(0xffff_8000_0000n);
    expect(msrs.get(0x4c1)).toBe(0xffff_8000_0000n);
    expect(msrs.set(0x4c1, 0x1234_8000_0000n)).toBe(true);
    expect(msrs.get(0xc1)).toBe(0x1234_8000_0000n);
  });

  test('AMD keeps the low halves of SYSENTER_EIP and TSC_AUX', () => {
    const msrs = file({ vendor: 'amd' });
    for (const at of [0x176, 0xc000_0103]) {
      expect(msrs.set(at, 0x1234_5678_9abc_def0n)).toBe(true);
      expect(msrs.get(at)).toBe(0x9abc_def0n);
    }
  });

  test('CR4_FIXED1 is what CR4 may have', () => {
    expect((file().get(0x489)! >> 32n) & 1n).toBe(1n);
    expect((file({ without: ['FRED'] }).get(0x489)! >> 32n) & 1n).toBe(0n);
  });

  test('gates are decided anew when asked', () => {
    const msrs = file();
    msrs.set(0xe1, 0x186a0n);
    msrs.evaluate(silicon({ without: ['WAITPKG'] }));
    expect(msrs.get(0xe1)).toBeUndefined();
    msrs.evaluate(silicon());
    expect(msrs.get(0xe1)).toBe(0x186a0n);
  });
});

describe('side effects', () => {
  function cpu(part: Part = {}) {
    const chip = silicon(part);
    const msrs = new MsrFile(chip);
    const control = new ControlRegisters(chip, msrs);
    const tsc = new Tsc(new Clock());
    const events = new EventQueue();
    const hooks = new CpuMsrHooks(msrs, control, tsc, events, 3, 0);
    msrs.hooks = hooks;
    return { msrs, control, tsc, events, hooks };
  }

  test('TSC and TSC_ADJUST move together', () => {
    const { msrs, tsc } = cpu();
    tsc.clock.advance(500);
    expect(msrs.get(0x10)).toBe(500n);
    expect(msrs.set(0x10, 2000n)).toBe(true);
    expect(msrs.get(0x3b)).toBe(1500n);
    expect(msrs.set(0x3b, 0n)).toBe(true);
    expect(msrs.get(0x10)).toBe(500n);
  });

  test('the deadline timer schedules an event, moves it with the TSC, and disarms', () => {
    const { msrs, tsc, events, hooks } = cpu();
    expect(msrs.set(0x6e0, 1000n)).toBe(true);
    expect(events.next[0]).toBe(1000);
    expect(msrs.set(0x10, 600n)).toBe(true);
    expect(events.next[0]).toBe(400);
    tsc.clock.advanceTo(400);
    expect(events.pop()).toBe(true);
    expect(events.popped).toEqual({ cycle: 400, kind: 3, argument: 0 });
    hooks.deadlineReached();
    expect(msrs.get(0x6e0)).toBe(0n);
    msrs.set(0x6e0, 5000n);
    msrs.set(0x6e0, 0n);
    expect(events.size).toBe(0);
  });

  test('LME cannot change under paging, SVME not against SVMDIS', () => {
    const { msrs, control } = cpu();
    expect(msrs.set(0xc000_0080, 0x901n)).toBe(true);
    control.load(0, 0x8000_0011 | 0, 0);
    expect(msrs.set(0xc000_0080, 0x801n)).toBe(false);
    expect(msrs.get(0xc000_0080)).toBe(0x901n);
    expect(msrs.set(0xc000_0080, 0x900n)).toBe(true);
    const amd = cpu({ vendor: 'amd' });
    expect(amd.msrs.set(0xc000_0080, 0x1000n)).toBe(true);
    expect(amd.msrs.set(0xc000_0080, 0n)).toBe(true);
    expect(amd.msrs.set(0xc001_0114, 0x10n)).toBe(true);
    expect(amd.msrs.set(0xc000_0080, 0x1000n)).toBe(false);
  });
});

const values = fc.array(fc.record({ row: fc.constantFrom(...MSR_ROWS), value: fc.bigInt(0n, (1n << 64n) - 1n) }), {
  maxLength: 80,
});

test('law: restoring a snapshot leaves no difference, and a difference names what was changed', () => {
  fc.assert(
    fc.property(fc.constantFrom('intel', 'amd'), values, (vendor, writes) => {
      const part = silicon({ vendor });
      const msrs = new MsrFile(part);
      const start = msrs.snapshot();
      const expected = new Map<number, bigint>();
      for (const { row, value } of writes) {
        // Most values have a reserved bit: cut them to what is writable half of the time.
        const fitting = value & part.mask(row.writable ?? '');
        msrs.set(row.index, (value & 1n) === 0n ? value : fitting);
        const home = row.alias ?? row.index;
        const now = msrs.get(row.index);
        if (now !== undefined && msrs.has(home)) expected.set(home, now);
      }
      const end = msrs.snapshot();
      const changes = diffMsrs(start, end);
      for (const { index: at, after, before } of changes) {
        expect(after).not.toBe(before);
        if (at !== 0x10) expect(expected.get(at)).toBe(after);
      }
      msrs.restore(start);
      expect(diffMsrs(start, msrs.snapshot())).toEqual([]);
      msrs.restore(end);
      expect(diffMsrs(start, msrs.snapshot())).toEqual(changes);
    }),
    runs(60),
  );
});

test('law: a refused write changes nothing, an accepted one changes writable bits only', () => {
  const part = silicon();
  fc.assert(
    fc.property(values, (writes) => {
      const msrs = new MsrFile(part);
      for (const { row, value } of writes) {
        const before = msrs.snapshot();
        const old = msrs.get(row.index) ?? 0n;
        if (!msrs.set(row.index, value)) expect(diffMsrs(before, msrs.snapshot())).toEqual([]);
        else if (row.rule !== 'command') expect((msrs.get(row.index)! ^ old) & ~part.mask(row.writable!)).toBe(0n);
      }
    }),
    runs(20),
  );
});

test('a difference tells the MSR by name', () => {
  const msrs = file();
  const before = msrs.snapshot();
  msrs.set(0xe1, 100_000n);
  expect(diffMsrs(before, msrs.snapshot())).toEqual([
    { index: 0xe1, name: 'IA32_UMWAIT_CONTROL', before: 0n, after: 100_000n },
  ]);
});

test('every built-in host has the MSRs of its features', () => {
  for (const host of builtInHosts()) {
    const msrs = new MsrFile(new Silicon(new RawCpuid(host.rows, 'basic'), host.msrs));
    expect(msrs.has(0xc000_0082)).toBe(true);
    expect(msrs.has(0x480)).toBe(host.technology === 'vmx');
    expect(msrs.has(0xc001_0117)).toBe(host.technology === 'svm');
    expect([host.name, msrs.has(0xe1)]).toEqual([host.name, /sapphire|emerald|granite/.test(host.name)]);
    expect(msrs.has(0x1d4)).toBe(false);
  }
});

test('the law bites: a file that stores before it checks is found', () => {
  class Hasty extends MsrFile {
    override write(at: number, lo: number, hi: number) {
      const slot = msrSlot(at);
      if (slot !== NO_SLOT && this.exists[slot] === 1) this.put(slot, lo, this.hi[slot]!);
      return super.write(at, lo, hi);
    }
  }
  const part = silicon();
  const found = fc.check(
    fc.property(values, (writes) => {
      const msrs = new Hasty(part);
      return writes.every(({ row, value }) => {
        const before = msrs.snapshot();
        return msrs.set(row.index, value) || diffMsrs(before, msrs.snapshot()).length === 0;
      });
    }),
    { ...runs(60), numRuns: 60 },
  );
  expect(found.failed).toBe(true);
});
