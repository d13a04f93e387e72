import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ControlRegisters, EFER_SLOT, PKRS_SLOT } from '../../src/emu/control.js';
import { PhysicalMemory } from '../../src/emu/memory.js';
import { MsrFile } from '../../src/emu/msrs.js';
import { Mmu, PAGING_FAULT, PAGING_NESTED, PAGING_NOT_CANONICAL, PAGING_OK } from '../../src/emu/paging.js';
import { EptBuilder, type PageFlags, type PageSize, PageTableBuilder } from '../../src/emu/paging-build.js';
import {
  NESTED_FINAL,
  NESTED_MISCONFIGURATION,
  NESTED_OK,
  NESTED_TABLE,
  NESTED_VIOLATION,
  type NestedOptions,
  NestedPaging,
} from '../../src/emu/paging-nested.js';
import { ACCESS } from '../../src/emu/paging-rows.js';
import { runs } from '../support/runs.js';
import { halves, type Part, silicon } from './control-fixtures.js';
import { type Answer, type Mode, readEntry, reference, USES } from './paging-reference.js';

const PGE = 1 << 7;
const LA57 = 1 << 12;
const SMEP = 1 << 20;
const SMAP = 1 << 21;
const PKE = 1 << 22;
const PKS = 1 << 24;
const PAE = 1 << 5;
const NXE = 1 << 11;

const ram = () => new PhysicalMemory([{ base: 0, size: 0x400_0000, kind: 'ram' }], { frames: 32 });

interface Setup {
  readonly part?: Part;
  readonly cr4?: number;
  readonly wp?: boolean;
  readonly nx?: boolean;
  readonly root: number;
}

/** An MMU in IA-32e mode. */
function long(memory: PhysicalMemory, { part = {}, cr4 = 0, wp = true, nx = true, root }: Setup) {
  const chip = silicon(part);
  const msrs = new MsrFile(chip);
  const control = new ControlRegisters(chip, msrs);
  const mmu = new Mmu(memory, chip, control, msrs);
  msrs.put(EFER_SLOT, 0x500 | (nx ? NXE : 0), 0);
  control.load(4, PAE | cr4, 0);
  control.load(3, root, 0);
  control.load(0, 0x8000_0021 | (wp ? 0x1_0000 : 0) | 0, 0);
  return { mmu, control, msrs };
}

/** An answer that can be compared quickly. */
const textOf = (item: Answer) =>
  JSON.stringify(item, (_, value) => (typeof value === 'bigint' ? String(value) : value));

function answer(mmu: Mmu, linear: bigint, access: number): Answer {
  const status = mmu.translate(...halves(linear), access);
  if (status === PAGING_OK) return { physical: BigInt(mmu.physical[0]!) };
  if (status === PAGING_NOT_CANONICAL) return { notCanonical: true };
  expect([mmu.fault.lo, mmu.fault.hi]).toEqual(halves(linear));
  return { error: BigInt(mmu.fault.errorCode) };
}

const PAGE = 0x7fff_f000n;

describe('each bit of the error code', () => {
  type Row = readonly [
    what: string,
    page: PageFlags | null,
    setup: Partial<Setup> & { pkru?: number; pkrs?: number; raw?: bigint },
    access: keyof typeof ACCESS,
    error: number | null,
  ];
  const rows: readonly Row[] = [
    ['P: not present', null, {}, 'READ', 0x0],
    ['W: not present', null, {}, 'WRITE', 0x2],
    ['U: not present', null, {}, 'USER_READ', 0x4],
    ['I: not present', null, {}, 'FETCH', 0x10],
    ['I: without NX, with SMEP', null, { nx: false, cr4: SMEP }, 'FETCH', 0x10],
    ['I: not told without NX and SMEP', null, { nx: false }, 'FETCH', 0x0],
    ['a plain read', {}, {}, 'READ', null],
    ['RSVD: beyond MAXPHYADDR', {}, { raw: 1n << 46n }, 'READ', 0x9],
    ['RSVD: bit 51', {}, { raw: 1n << 51n }, 'USER_WRITE', 0xf],
    ['RSVD: NX without EFER.NXE', { execute: false }, { nx: false }, 'READ', 0x9],
    ['bits 58:52 are free', {}, { raw: 0x7fn << 52n }, 'READ', null],
    ['R/W: supervisor', {}, {}, 'WRITE', 0x3],
    ['R/W: supervisor without WP', {}, { wp: false }, 'WRITE', null],
    ['R/W: user without WP', { user: true }, { wp: false }, 'USER_WRITE', 0x7],
    ['U/S', {}, {}, 'USER_READ', 0x5],
    ['U/S: fetch', {}, {}, 'USER_FETCH', 0x15],
    ['NX', { execute: false }, {}, 'FETCH', 0x11],
    ['NX: a read', { execute: false }, {}, 'READ', null],
    ['NX: user', { execute: false, user: true }, {}, 'USER_FETCH', 0x15],
    ['SMEP', { user: true }, { cr4: SMEP }, 'FETCH', 0x11],
    ['no SMEP', { user: true }, {}, 'FETCH', null],
    ['SMAP', { user: true }, { cr4: SMAP }, 'READ', 0x1],
    ['SMAP: a write', { user: true, write: true }, { cr4: SMAP }, 'WRITE', 0x3],
    ['SMAP with AC', { user: true, write: true }, { cr4: SMAP }, 'WRITE_AC', null],
    ['SMAP with AC, not writable', { user: true }, { cr4: SMAP }, 'WRITE_AC', 0x3],
    ['SMAP: user', { user: true }, { cr4: SMAP }, 'USER_READ', null],
    ['PK: access disabled', { user: true, key: 3 }, { cr4: PKE, pkru: 1 << 6 }, 'USER_READ', 0x25],
    ['PK: of a supervisor', { user: true, key: 3 }, { cr4: PKE, pkru: 1 << 6 }, 'READ', 0x21],
    ['PK: write disabled', { user: true, write: true, key: 15 }, { cr4: PKE, pkru: 2 << 30 }, 'USER_WRITE', 0x27],
    ['PK: write disabled, a read', { user: true, key: 15 }, { cr4: PKE, pkru: 2 << 30 }, 'USER_READ', null],
    [
      'PK: write disabled, supervisor, no WP',
      { user: true, write: true, key: 1 },
      { cr4: PKE, pkru: 8, wp: false },
      'WRITE',
      null,
    ],
    ['PK: a fetch', { user: true, key: 3 }, { cr4: PKE, pkru: 1 << 6 }, 'USER_FETCH', null],
    ['PK: another key', { user: true, key: 3 }, { cr4: PKE, pkru: ~(3 << 6) }, 'USER_READ', null],
    ['PK: no PKE', { user: true, key: 3 }, { pkru: 1 << 6 }, 'USER_READ', null],
    ['PK: supervisor page, PKRU', { key: 3 }, { cr4: PKE, pkru: 1 << 6 }, 'READ', null],
    ['PK: supervisor page, PKRS', { key: 3 }, { cr4: PKS, pkrs: 1 << 6 }, 'READ', 0x21],
    ['PK: user page, PKRS', { user: true, key: 3 }, { cr4: PKS, pkrs: 1 << 6 }, 'USER_READ', null],
    ['SS: a shadow stack', { dirty: true }, {}, 'SHADOW_WRITE', null],
    ['SS: of the user', { dirty: true, user: true }, {}, 'USER_SHADOW_READ', null],
    ['SS: not dirty', {}, {}, 'SHADOW_READ', 0x41],
    ['SS: writable', { dirty: true, write: true }, {}, 'SHADOW_WRITE', 0x43],
    ['SS: user, supervisor page', { dirty: true }, {}, 'USER_SHADOW_WRITE', 0x47],
    ['SS: supervisor, user page', { dirty: true, user: true }, {}, 'SHADOW_READ', 0x41],
    ['SS: an ordinary write', { dirty: true }, {}, 'WRITE', 0x3],
  ];

  test.each(rows)('%s', (_, page, setup, access, error) => {
    const memory = ram();
    const tables = new PageTableBuilder(memory, 0x10_0000);
    if (page) tables.map(PAGE, 0x5000, page);
    if (setup.raw !== undefined) tables.change(PAGE, 1, (entry) => entry | setup.raw!);
    const { mmu, control, msrs } = long(memory, { ...setup, root: tables.root });
    control.writePkru(setup.pkru ?? 0);
    msrs.put(PKRS_SLOT, setup.pkrs ?? 0, 0);
    control.pkrsWritten();
    const expected = error === null ? { physical: 0x5abcn } : { error: BigInt(error) };
    expect(answer(mmu, PAGE + 0xabcn, ACCESS[access])).toEqual(expected);
  });
});

describe('pages', () => {
  const sizes: readonly (readonly [name: string, size: PageSize, level: number, reserved: bigint])[] = [
    ['4 KiB', 0x1000, 1, 0n],
    ['2 MiB', 0x20_0000, 2, 0x1f_e000n],
    ['1 GiB', 0x4000_0000, 3, 0x3fff_e000n],
  ];
  const LINEAR = 0xffff_8000_4000_0000n;

  test.each(sizes)('of %s, with four and five levels', (_, size, level, reserved) => {
    for (const levels of [4, 5] as const) {
      const memory = ram();
      const tables = new PageTableBuilder(memory, 0x10_0000, levels);
      tables.map(LINEAR, 0x4000_0000, {}, size);
      const { mmu } = long(memory, { cr4: levels === 5 ? LA57 : 0, root: tables.root });
      const last = BigInt(size - 1);
      expect(answer(mmu, LINEAR + last, ACCESS.READ)).toEqual({ physical: 0x4000_0000n + last });
      expect(answer(mmu, LINEAR + last + 1n, ACCESS.READ)).toEqual({ error: 0n });
      // Not in RAM.
      expect(mmu.offset).toBe(-1);
      for (let bit = 12n; bit < 30n; bit++) {
        if ((reserved & (1n << bit)) === 0n) continue;
        tables.change(LINEAR, level, (entry) => entry | (1n << bit));
        mmu.invalidate(...halves(LINEAR));
        expect(answer(mmu, LINEAR, ACCESS.READ)).toEqual({ error: 9n });
        tables.change(LINEAR, level, (entry) => entry & ~(1n << bit));
      }
    }
  });

  test('of 1 GiB need their feature', () => {
    const memory = ram();
    const tables = new PageTableBuilder(memory, 0x10_0000);
    tables.map(0n, 0, {}, 0x4000_0000);
    const { mmu } = long(memory, { part: { without: ['GBPAGES'] }, root: tables.root });
    expect(answer(mmu, 0n, ACCESS.READ)).toEqual({ error: 9n });
  });

  test('G above level 3 is reserved by AMD', () => {
    const memory = ram();
    const tables = new PageTableBuilder(memory, 0x10_0000);
    tables.map(0n, 0x1000);
    tables.change(0n, 4, (entry) => entry | 0x100n);
    expect(answer(long(memory, { root: tables.root }).mmu, 0n, ACCESS.READ)).toEqual({ physical: 0x1000n });
    expect(answer(long(memory, { part: { vendor: 'amd' }, root: tables.root }).mmu, 0n, ACCESS.READ)).toEqual({
      error: 9n,
    });
  });

  test.each([
    [0x0000_7fff_ffff_f000n, false, true],
    [0x0000_8000_0000_0000n, false, false],
    [0xffff_7fff_ffff_f000n, false, false],
    [0x0000_8000_0000_0000n, true, true],
    [0x0100_0000_0000_0000n, true, false],
  ])('%s, five levels %s: canonical %s', (linear, five, canonical) => {
    const memory = ram();
    const { mmu } = long(memory, { cr4: five ? LA57 : 0, root: 0x10_0000 });
    memory.touch(0x10_0000);
    expect(answer(mmu, linear, ACCESS.READ)).toEqual(canonical ? { error: 0n } : { notCanonical: true });
  });

  test('tables where nothing is give ones: reserved bits', () => {
    expect(answer(long(ram(), { root: 0x3f00_0000 }).mmu, 0n, ACCESS.READ)).toEqual({ error: 9n });
  });

  test('accessed and dirty are set by what is done, and by nothing that faults', () => {
    const memory = ram();
    const tables = new PageTableBuilder(memory, 0x10_0000);
    tables.map(PAGE, 0x5000, { write: true });
    const { mmu } = long(memory, { root: tables.root });
    const marks = () => [4, 3, 2, 1].map((level) => readEntry(memory, BigInt(tables.entryAt(PAGE, level))) & 0x60n);
    expect(answer(mmu, PAGE, ACCESS.USER_READ)).toEqual({ error: 5n });
    expect(marks()).toEqual([0n, 0n, 0n, 0n]);
    answer(mmu, PAGE, ACCESS.READ);
    expect(marks()).toEqual([0x20n, 0x20n, 0x20n, 0x20n]);
    answer(mmu, PAGE, ACCESS.WRITE);
    expect(marks()).toEqual([0x20n, 0x20n, 0x20n, 0x60n]);
  });

  test('without paging addresses are physical', () => {
    const memory = ram();
    const chip = silicon();
    const msrs = new MsrFile(chip);
    const mmu = new Mmu(memory, chip, new ControlRegisters(chip, msrs), msrs);
    expect(answer(mmu, 0x7c00n, ACCESS.FETCH)).toEqual({ physical: 0x7c00n });
    memory.write(0x7c05, 1, 0xf4, 0);
    mmu.translate(0x7c05, 0, ACCESS.FETCH);
    expect(memory.bytes[mmu.offset]).toBe(0xf4);
  });

  test('32-bit paging is beyond the emulator', () => {
    const { mmu, control, msrs } = long(ram(), { root: 0 });
    msrs.put(EFER_SLOT, 0, 0);
    control.load(4, PAE, 0);
    expect(() => mmu.translate(0, 0, ACCESS.READ)).toThrow('paging outside IA-32e mode is not modelled');
  });
});

describe('the TLB', () => {
  function mapped(flags: PageFlags, cr4 = 0) {
    const memory = ram();
    const tables = new PageTableBuilder(memory, 0x10_0000);
    tables.map(PAGE, 0x5000, flags);
    return { memory, tables, ...long(memory, { cr4, root: tables.root }) };
  }

  test('keeps what it has until it is told', () => {
    const { mmu, tables } = mapped({});
    answer(mmu, PAGE, ACCESS.READ);
    tables.map(PAGE, 0x6000);
    expect(answer(mmu, PAGE, ACCESS.READ)).toEqual({ physical: 0x5000n });
    mmu.invalidate(...halves(PAGE));
    expect(answer(mmu, PAGE, ACCESS.READ)).toEqual({ physical: 0x6000n });
  });

  test('a new CR3 keeps global pages only, and those only with CR4.PGE', () => {
    for (const [flags, cr4, kept] of [
      [{ global: true }, PGE, true],
      [{}, PGE, false],
      [{ global: true }, 0, false],
    ] as const) {
      const { mmu, control, tables } = mapped(flags, cr4);
      answer(mmu, PAGE, ACCESS.READ);
      tables.map(PAGE, 0x6000, flags);
      control.writeCr3(tables.root, 0);
      expect(answer(mmu, PAGE, ACCESS.READ)).toEqual({ physical: kept ? 0x5000n : 0x6000n });
    }
  });

  test('all parts of a large page go together', () => {
    const memory = ram();
    const tables = new PageTableBuilder(memory, 0x10_0000);
    tables.map(0x4000_0000n, 0x20_0000, {}, 0x20_0000);
    const { mmu } = long(memory, { root: tables.root });
    for (let at = 0n; at < 0x20_0000n; at += 0x1_1000n) answer(mmu, 0x4000_0000n + at, ACCESS.READ);
    tables.map(0x4000_0000n, 0x40_0000, {}, 0x20_0000);
    mmu.invalidate(...halves(0x4012_3456n));
    for (let at = 0n; at < 0x20_0000n; at += 0x1_1000n)
      expect(answer(mmu, 0x4000_0000n + at, ACCESS.READ)).toEqual({ physical: 0x40_0000n + at });
  });

  test('two worlds take turns by their spaces', () => {
    const { mmu, tables } = mapped({});
    answer(mmu, PAGE, ACCESS.READ);
    tables.map(PAGE, 0x6000);
    const host = mmu.tlb.current;
    mmu.tlb.current = mmu.tlb.fresh();
    expect(mmu.tlb.find(...halves(PAGE), ACCESS.READ)).toBe(-1);
    mmu.tlb.current = host;
    expect(answer(mmu, PAGE, ACCESS.READ)).toEqual({ physical: 0x5000n });
  });
});

describe('laws', () => {
  const TABLES = 4;
  /** Entries that random tables have: at the ends and in the middle. */
  const PLACES = [0, 1, 255, 511];
  const tableAt = (level: number, at: number) => 0x10_0000 + (level * TABLES + at) * 0x1000;

  const entry = fc.record({
    table: fc.nat(TABLES - 1),
    present: fc.integer({ min: 0, max: 15 }).map((at) => at > 0),
    write: fc.integer({ min: 0, max: 3 }).map((at) => at > 0),
    user: fc.integer({ min: 0, max: 3 }).map((at) => at > 0),
    execute: fc.integer({ min: 0, max: 3 }).map((at) => at > 0),
    large: fc.integer({ min: 0, max: 5 }).map((at) => at === 0),
    accessed: fc.boolean(),
    dirty: fc.boolean(),
    global: fc.integer({ min: 0, max: 5 }).map((at) => at === 0),
    key: fc.nat(3),
    stray: fc.oneof(
      { weight: 20, arbitrary: fc.constant(-1) },
      { weight: 1, arbitrary: fc.integer({ min: 12, max: 58 }) },
    ),
  });
  type Entry = typeof entry extends fc.Arbitrary<infer T> ? T : never;

  function encode(level: number, item: Entry): bigint {
    const large = item.large && (level === 2 || level === 3);
    const address =
      level === 1 || large ? BigInt(item.table) << (large ? 30n : 13n) : BigInt(tableAt(level - 1, item.table));
    const flags = [item.present, item.write, item.user, false, false, item.accessed, item.dirty, large, item.global];
    return (
      flags.reduce((sum, flag, at) => sum | (flag ? 1n << BigInt(at) : 0n), address) |
      (BigInt(item.key) << 59n) |
      (item.execute ? 0n : 1n << 63n) |
      (item.stray < 0 ? 0n : 1n << BigInt(item.stray))
    );
  }

  const world = fc.record({
    levels: fc.constantFrom<4 | 5>(4, 4, 5),
    amd: fc.boolean(),
    gigabytes: fc.boolean(),
    cr4: fc.record({ pge: fc.boolean(), smep: fc.boolean(), smap: fc.boolean(), pke: fc.boolean(), pks: fc.boolean() }),
    wp: fc.boolean(),
    nx: fc.integer({ min: 0, max: 3 }).map((at) => at > 0),
    pkru: fc.nat(255),
    pkrs: fc.nat(255),
    entries: fc.array(entry, { minLength: 5 * TABLES * PLACES.length, maxLength: 5 * TABLES * PLACES.length }),
  });
  type World = typeof world extends fc.Arbitrary<infer T> ? T : never;

  const address = fc
    .record({ at: fc.array(fc.constantFrom(...PLACES), { minLength: 5, maxLength: 5 }), within: fc.nat(0xfff) })
    .map(({ at, within }) => at.reduce((sum, place) => (sum << 9n) | BigInt(place), 0n) * 0x1000n + BigInt(within));

  const canonical = (linear: bigint, levels: number) =>
    BigInt.asUintN(64, BigInt.asIntN(levels === 5 ? 57 : 48, linear));
  const memoryOf = () => new PhysicalMemory([{ base: 0, size: 0x400_0000, kind: 'ram' }], { frames: 64 });

  function fill(memory: PhysicalMemory, { entries }: World): void {
    let next = 0;
    for (let level = 1; level <= 5; level++)
      for (let at = 0; at < TABLES; at++)
        for (const place of PLACES)
          memory.write(tableAt(level, at) + place * 8, 8, ...halves(encode(level, entries[next++]!)));
  }

  function modeOf(item: World): Mode {
    const { levels, amd, gigabytes, cr4, wp, nx, pkru, pkrs } = item;
    return {
      levels,
      root: BigInt(tableAt(levels, 0)),
      writeProtect: wp,
      smep: cr4.smep,
      smap: cr4.smap,
      noExecute: nx,
      userKeys: cr4.pke,
      supervisorKeys: cr4.pks,
      pkru: BigInt(pkru),
      pkrs: BigInt(pkrs),
      physicalBits: 46n,
      gigabytes,
      amd,
    };
  }

  function mmuOf(memory: PhysicalMemory, item: World) {
    const { levels, amd, gigabytes, cr4, wp, nx } = item;
    const bits: readonly (readonly [set: boolean, bit: number])[] = [
      [levels === 5, LA57],
      [cr4.pge, PGE],
      [cr4.smep, SMEP],
      [cr4.smap, SMAP],
      [cr4.pke, PKE],
      [cr4.pks, PKS],
    ];
    const part: Part = { vendor: amd ? 'amd' : 'intel', without: gigabytes ? [] : ['GBPAGES'] };
    const sum = bits.reduce((all, [set, bit]) => (set ? all | bit : all), 0);
    const cpu = long(memory, { part, cr4: sum, wp, nx, root: tableAt(levels, 0) });
    cpu.control.writePkru(item.pkru);
    cpu.msrs.put(PKRS_SLOT, item.pkrs, 0);
    cpu.control.pkrsWritten();
    return cpu;
  }

  const sameTables = (one: PhysicalMemory, other: PhysicalMemory) =>
    Buffer.compare(one.dump(tableAt(1, 0), 5 * TABLES * 0x1000), other.dump(tableAt(1, 0), 5 * TABLES * 0x1000)) === 0;

  test('law: the walk is the manual, and sets the same bits', () => {
    const settings = runs<[World, [bigint, number][]]>(60);
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(
        world,
        fc.array(fc.tuple(address, fc.nat(11)), { minLength: 30, maxLength: 30 }),
        (item, accesses) => {
          const [memory, copy] = [memoryOf(), memoryOf()];
          fill(memory, item);
          fill(copy, item);
          const { mmu } = mmuOf(memory, item);
          for (const [linear, access] of accesses) {
            const at = canonical(linear, item.levels);
            mmu.tlb.flushAll();
            const found = answer(mmu, at, access);
            expect(found).toEqual(reference(copy, modeOf(item), at, USES[access]!));
            const kind = 'physical' in found ? 'ok' : 'error' in found ? String(found.error) : '';
            seen.set(kind, (seen.get(kind) ?? 0) + 1);
          }
          expect(sameTables(memory, copy)).toBe(true);
        },
      ),
      settings,
    );
    // The law is worth little if all accesses fault, or in the same way.
    if (settings.numRuns! < 60) return;
    expect(seen.get('ok')).toBeGreaterThan(50);
    expect(seen.size).toBeGreaterThan(12);
  });

  type Step =
    | { readonly use: readonly [linear: bigint, access: number] }
    | { readonly change: readonly [level: number, table: number, place: number, entry: Entry] }
    | { readonly cr3: true }
    | { readonly pkru: number }
    | { readonly flip: number };

  /** Few pages and few kinds of access, so that the TLB has most of them. */
  const near = fc
    .record({ table: fc.nat(1), page: fc.nat(1) })
    .map(({ table, page }) => BigInt(table * 0x20_0000 + page * 0x1000));
  const nearUses = fc.tuple(near, fc.constantFrom(ACCESS.READ, ACCESS.WRITE, ACCESS.USER_READ, ACCESS.FETCH));
  const nearChanges = fc.tuple(fc.constantFrom(1, 1, 1, 2, 3), fc.nat(TABLES - 1), fc.constantFrom(0, 1), entry);

  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 30, arbitrary: fc.record({ use: nearUses }) },
    { weight: 5, arbitrary: fc.record({ use: fc.tuple(address, fc.nat(11)) }) },
    { weight: 12, arbitrary: fc.record({ change: nearChanges }) },
    { weight: 1, arbitrary: fc.constant({ cr3: true } as const) },
    { weight: 1, arbitrary: fc.record({ pkru: fc.nat(255) }) },
    { weight: 1, arbitrary: fc.record({ flip: fc.constantFrom(SMEP, SMAP, PKE, PKS) }) },
  );

  /** Runs steps on an MMU with its TLB and on the manual; `false` when they disagree. */
  function agrees(start: World, steps: readonly Step[], spoil: (mmu: Mmu) => void): boolean {
    const [memory, copy] = [memoryOf(), memoryOf()];
    fill(memory, start);
    fill(copy, start);
    const { mmu, control } = mmuOf(memory, start);
    spoil(mmu);
    let mode = modeOf(start);
    for (const item of steps) {
      if ('use' in item) {
        const at = canonical(item.use[0], start.levels);
        const expected = reference(copy, mode, at, USES[item.use[1]]!);
        const found = answer(mmu, at, item.use[1]);
        const same = textOf(found) === textOf(expected);
        if (!same) return false;
      } else if ('change' in item) {
        const [level, table, place, value] = item.change;
        for (const one of [memory, copy])
          one.write(tableAt(level, table) + place * 8, 8, ...halves(encode(level, value)));
        // Entries of the lowest level are invalidated address by address, others all at once.
        if (level === 1) {
          for (const linear of addressesOf(place)) mmu.invalidate(...halves(canonical(linear, start.levels)));
        } else mmu.pagingChanged(true);
      } else if ('cr3' in item) {
        control.writeCr3(control.lo[3]!, 0);
      } else if ('pkru' in item) {
        control.writePkru(item.pkru);
        mode = { ...mode, pkru: BigInt(item.pkru) };
      } else {
        control.writeCr4(control.lo[4]! ^ item.flip, control.hi[4]!);
        const cr4 = control.lo[4]!;
        mode = {
          ...mode,
          smep: (cr4 & SMEP) !== 0,
          smap: (cr4 & SMAP) !== 0,
          userKeys: (cr4 & PKE) !== 0,
          supervisorKeys: (cr4 & PKS) !== 0,
        };
      }
    }
    return sameTables(memory, copy);
  }

  /** All linear addresses whose lowest index is `place`. */
  function addressesOf(place: number): bigint[] {
    return PLACES.flatMap((a) =>
      PLACES.flatMap((b) =>
        PLACES.flatMap((c) =>
          PLACES.map((d) => [a, b, c, d, place].reduce((sum, at) => (sum << 9n) | BigInt(at), 0n) * 0x1000n),
        ),
      ),
    );
  }

  test('law: with proper invalidation the TLB never changes an answer', () => {
    fc.assert(
      fc.property(world, fc.array(step, { minLength: 40, maxLength: 100 }), (start, steps) =>
        agrees(start, steps, () => {}),
      ),
      runs(60),
    );
  });

  const spoilers: readonly (readonly [what: string, spoil: (mmu: Mmu) => void])[] = [
    ['INVLPG that does nothing', ({ tlb }) => Object.assign(tlb, { invalidate: () => {} })],
    ['a flush that does nothing', ({ tlb }) => Object.assign(tlb, { flushAll: () => {} })],
    [
      'entries for all kinds of access',
      ({ tlb }) => {
        const { enter } = tlb;
        tlb.enter = (...rest) => {
          const at = enter.apply(tlb, rest);
          tlb.allowed[at] = -1;
          return at;
        };
      },
    ],
  ];

  test.each(spoilers)('the law bites: %s is found', (_, spoil) => {
    const found = fc.check(
      fc.property(world, fc.array(step, { minLength: 40, maxLength: 100 }), (start, steps) =>
        agrees(start, steps, spoil),
      ),
      { ...runs(300), numRuns: 300, endOnFailure: true },
    );
    expect(found.failed).toBe(true);
  });
});

describe('the second walk', () => {
  const GUEST = 0x20_0000;

  function ept(map: (tables: EptBuilder) => void, options: Partial<NestedOptions> = {}) {
    const memory = ram();
    const tables = new EptBuilder(memory, 0x10_0000);
    map(tables);
    const nested = new NestedPaging(memory, silicon(), { format: 'ept', root: tables.root, ...options });
    return { memory, tables, nested };
  }

  type Row = readonly [
    what: string,
    flags: PageFlags | null,
    options: Partial<NestedOptions>,
    access: keyof typeof ACCESS,
    purpose: number,
    status: number,
    info: number,
  ];
  const rows: readonly Row[] = [
    ['a read', {}, {}, 'READ', NESTED_FINAL, NESTED_OK, 0],
    ['nothing there', null, {}, 'READ', NESTED_FINAL, NESTED_VIOLATION, 0x181],
    ['a write', { execute: true }, {}, 'WRITE', NESTED_FINAL, NESTED_VIOLATION, 0x1aa],
    ['a user write', { execute: false }, {}, 'USER_WRITE', NESTED_FINAL, NESTED_VIOLATION, 0x18a],
    ['a fetch', { execute: false }, {}, 'FETCH', NESTED_FINAL, NESTED_VIOLATION, 0x18c],
    ['a table', null, {}, 'FETCH', NESTED_TABLE, NESTED_VIOLATION, 0x81],
    ['a table that is not writable', { execute: false }, {}, 'READ', NESTED_TABLE, NESTED_OK, 0],
    [
      'the same with dirty bits',
      { execute: false },
      { accessedDirty: true },
      'READ',
      NESTED_TABLE,
      NESTED_VIOLATION,
      0x8b,
    ],
    ['execute-only', { read: false }, {}, 'FETCH', NESTED_FINAL, NESTED_OK, 0],
    ['execute-only, a read', { read: false }, {}, 'READ', NESTED_FINAL, NESTED_VIOLATION, 0x1a1],
    [
      'execute-only where there is none',
      { read: false },
      { executeOnly: false },
      'FETCH',
      NESTED_FINAL,
      NESTED_MISCONFIGURATION,
      0,
    ],
    ['write-only', { read: false, write: true, execute: false }, {}, 'READ', NESTED_FINAL, NESTED_MISCONFIGURATION, 0],
  ];

  test.each(rows)('EPT: %s', (_, flags, options, access, purpose, status, info) => {
    const { nested } = ept((tables) => flags && tables.map(0x7000n, 0x5000, flags), options);
    expect(nested.translate(0x7123, ACCESS[access], purpose)).toBe(status);
    if (status === NESTED_OK) expect(nested.physical[0]).toBe(0x5123);
    else expect(nested.fault).toEqual({ address: 0x7123, infoLo: info, infoHi: 0 });
  });

  test('EPT: reserved bits and memory types are misconfigurations', () => {
    const bad: readonly (readonly [level: number, set: bigint])[] = [
      [1, 1n << 46n],
      [1, 1n << 51n],
      [1, 2n << 3n],
      [1, 7n << 3n],
      [2, 1n << 3n],
      [4, 1n << 7n],
    ];
    for (const [level, set] of bad) {
      const { nested, tables } = ept((builder) => builder.map(0x7000n, 0x5000));
      tables.change(0x7000n, level, (entry) => (level === 1 && set < 0x40n ? (entry & ~0x38n) | set : entry | set));
      expect(nested.translate(0x7000, ACCESS.READ, NESTED_FINAL)).toBe(NESTED_MISCONFIGURATION);
    }
  });

  test('EPT: large pages, and dirty bits when they are on', () => {
    const { nested, tables, memory } = ept(
      (builder) => builder.map(0x20_0000n, 0x40_0000, { write: true }, 0x20_0000),
      { accessedDirty: true },
    );
    expect(nested.translate(0x21_2345, ACCESS.READ, NESTED_FINAL)).toBe(NESTED_OK);
    expect(nested.physical[0]).toBe(0x41_2345);
    const leaf = () => readEntry(memory, BigInt(tables.entryAt(0x20_0000n, 2))) & 0x300n;
    expect(leaf()).toBe(0x100n);
    nested.translate(0x21_2345, ACCESS.WRITE, NESTED_FINAL);
    expect(leaf()).toBe(0x300n);
    expect(nested.translate(2 ** 48, ACCESS.READ, NESTED_FINAL)).toBe(NESTED_VIOLATION);
  });

  test('NPT: everything is a user access, tables are written', () => {
    const memory = ram();
    const tables = new PageTableBuilder(memory, 0x10_0000);
    tables.map(0x1000n, 0x5000, { user: true, write: true });
    tables.map(0x2000n, 0x5000, { write: true });
    tables.map(0x3000n, 0x5000, { user: true, execute: false });
    const nested = new NestedPaging(memory, silicon({ vendor: 'amd' }), { format: 'npt', root: tables.root });
    const faultOf = (address: number, access: number, purpose: number) =>
      nested.translate(address, access, purpose) === NESTED_OK ? null : [nested.fault.infoLo, nested.fault.infoHi];
    expect(faultOf(0x1000, ACCESS.WRITE, NESTED_FINAL)).toBeNull();
    expect(faultOf(0x1000, ACCESS.READ, NESTED_TABLE)).toBeNull();
    expect(faultOf(0x2000, ACCESS.READ, NESTED_FINAL)).toEqual([5, 1]);
    expect(faultOf(0x3000, ACCESS.WRITE, NESTED_FINAL)).toEqual([7, 1]);
    expect(faultOf(0x3000, ACCESS.FETCH, NESTED_FINAL)).toEqual([0x15, 1]);
    expect(faultOf(0x3000, ACCESS.READ, NESTED_TABLE)).toEqual([7, 2]);
    expect(faultOf(0x4000, ACCESS.READ, NESTED_FINAL)).toEqual([4, 1]);
    tables.change(0x1000n, 1, (entry) => entry | (1n << 50n));
    expect(faultOf(0x1000, ACCESS.READ, NESTED_FINAL)).toEqual([0xd, 1]);
  });

  /** A guest whose tables lie at 10_0000H of its own memory, which begins at GUEST of the host's. */
  function guest(flags: PageFlags, options: Partial<NestedOptions> = {}) {
    const memory = ram();
    const inner = new PhysicalMemory([{ base: 0, size: 0x20_0000, kind: 'ram' }]);
    const guestTables = new PageTableBuilder(inner, 0x10_0000);
    guestTables.map(PAGE, 0x5000, { write: true });
    memory.load(GUEST + 0x10_0000, inner.dump(0x10_0000, guestTables.end - 0x10_0000));
    const outer = new EptBuilder(memory, 0x80_0000);
    for (let at = 0; at < 0x20_0000; at += 0x1000)
      outer.map(BigInt(at), GUEST + at, at === 0x5000 ? { write: true } : flags);
    const { mmu } = long(memory, { root: guestTables.root });
    mmu.nested = new NestedPaging(memory, silicon(), { format: 'ept', root: outer.root, ...options });
    return { mmu, outer };
  }

  test('two walks in one: linear to host-physical', () => {
    const { mmu, outer } = guest({ write: true });
    expect(answer(mmu, PAGE + 8n, ACCESS.WRITE)).toEqual({ physical: BigInt(GUEST + 0x5008) });
    expect(mmu.offset).toBeGreaterThanOrEqual(0);
    // #PF belongs to the guest.
    expect(answer(mmu, PAGE, ACCESS.USER_READ)).toEqual({ error: 5n });
    // The page itself is taken away.
    outer.put(0x5000n, 1, 0n);
    mmu.tlb.flushAll();
    expect(mmu.translate(...halves(PAGE), ACCESS.READ)).toBe(PAGING_NESTED);
    expect([mmu.nestedStatus, mmu.nested!.fault]).toEqual([
      NESTED_VIOLATION,
      { address: 0x5000, infoLo: 0x181, infoHi: 0 },
    ]);
  });

  test('accessed bits of the guest need a table that is writable', () => {
    const { mmu } = guest({});
    expect(mmu.translate(...halves(PAGE), ACCESS.READ)).toBe(PAGING_NESTED);
    expect(mmu.nested!.fault.infoLo).toBe(0x83 | (5 << 3));
    mmu.nested = null;
    expect(mmu.translate(...halves(PAGE), ACCESS.READ)).toBe(PAGING_FAULT);
  });

  test('law: EPT that maps memory to itself changes no answer', () => {
    const offsets = fc.nat(0x1f_ffff);
    const memory = ram();
    const tables = new PageTableBuilder(memory, 0x10_0000);
    tables.identity(0x4_0000, { write: true, user: true });
    const outer = new EptBuilder(memory, 0x80_0000);
    outer.identity(0x400_0000, { write: true }, 0x20_0000);
    const host = long(memory, { root: tables.root }).mmu;
    const { mmu } = long(memory, { root: tables.root });
    mmu.nested = new NestedPaging(memory, silicon(), { format: 'ept', root: outer.root });
    fc.assert(
      fc.property(offsets, fc.nat(11), (linear, access) => {
        expect(answer(mmu, BigInt(linear), access)).toEqual(answer(host, BigInt(linear), access));
      }),
      runs(500),
    );
  });
});
