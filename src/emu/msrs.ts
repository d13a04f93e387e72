import { areMtrrTypes, isPat } from './memory-types.js';
import type { MsrMoves } from './msr-moves.js';
import { MSR_HOOKS, MSR_ROWS, MSR_RULES, type MsrHook, type MsrRow, msrNamed } from './msr-rows.js';
import type { Silicon } from './silicon.js';

/**
 * The MSRs of one CPU. Values lie in dense typed arrays; a slot is the same for all CPUs. RDMSR and WRMSR find their
 * slot in one step and answer with a status; nothing is allocated.
 */

/** What an access came to. After #GP(0) nothing has changed. */
export const MSR_OK = 0;
export const MSR_GP = 1;

/** A slot that no MSR has. */
export const NO_SLOT = -1;

/** What belongs to the values of some MSRs; see {@link MSR_HOOKS}. */
export interface MsrHooks {
  /** Before a read: brings the value in {@link MsrFile.lo} and {@link MsrFile.hi} up to date. */
  read(hook: number, slot: number): void;
  /** Before a write that has passed all checks: its effect. MSR_GP refuses it, and then nothing may have happened. */
  write(hook: number, slot: number, lo: number, hi: number): number;
}

/** Names for what {@link MsrHooks} gets. */
export const HOOK = Object.fromEntries(MSR_HOOKS.map((name, at) => [name, at])) as Readonly<Record<MsrHook, number>>;
const RULE = Object.fromEntries(MSR_RULES.map((name, at) => [name, at])) as Readonly<
  Record<(typeof MSR_RULES)[number], number>
>;

/** Values whose MSR the clock keeps: they say nothing about who changed what. */
const VOLATILE = new Set<MsrHook>(['tsc']);

// Architectural MSRs lie in three ranges of 2000H, as in the permission maps of VMX and SVM.
const RANGE = 0x2000;
const RANGES = 3;

/** 0, 1, 2 for the three ranges, else -1. */
function rangeOf(index: number): number {
  const base = index & ~(RANGE - 1);
  return base === 0 ? 0 : base === (0xc000_0000 | 0) ? 1 : base === (0xc001_0000 | 0) ? 2 : -1;
}

const slots = new Int16Array(RANGE * RANGES).fill(NO_SLOT);
MSR_ROWS.forEach(({ index }, slot) => {
  slots[rangeOf(index) * RANGE + (index & (RANGE - 1))] = slot;
});

/** The slot of the MSR with that index, whether or not a CPU has it; `NO_SLOT` when the table has no such MSR. */
export function msrSlot(index: number): number {
  const range = rangeOf(index);
  return range < 0 ? NO_SLOT : slots[range * RANGE + (index & (RANGE - 1))]!;
}

/** The slot of the MSR with that name, for constants. Throws on a name that is not in the table. */
export function slotNamed(name: string): number {
  return msrSlot(msrNamed(name).index);
}

/** Of each slot: where its value lies, which is elsewhere for aliases. */
const homes = Int16Array.from(MSR_ROWS, ({ alias }, slot) => (alias === null ? slot : msrSlot(alias)));
const rules = Uint8Array.from(MSR_ROWS, ({ rule }) => RULE[rule]);
const hooks = Uint8Array.from(MSR_ROWS, ({ hook }) => HOOK[hook]);

const readOnly = Uint8Array.from(MSR_ROWS, ({ writable }) => (writable === null ? 1 : 0));

/** What the table comes to on one kind of CPU, by slot. */
interface Facts {
  readonly exists: Uint8Array;
  readonly writableLo: Int32Array;
  readonly writableHi: Int32Array;
  /** Bits that must be zero. */
  readonly reservedLo: Int32Array;
  readonly reservedHi: Int32Array;
  readonly resetLo: Int32Array;
  readonly resetHi: Int32Array;
  /** Bits of the upper half below the sign of a canonical address. */
  readonly canonicalShift: number;
  /** CPUID.(EAX=1CH,ECX=0):EAX[7:0] */
  readonly lbrDepths: number;
  /** Upper half of the widest value of a performance counter. */
  readonly counterMaskHi: number;
}

/** CPUs of one kind share them: a machine is set up often. */
const known = new WeakMap<Silicon, Facts>();

function factsOf(silicon: Silicon): Facts {
  const facts = known.get(silicon) ?? compileFacts(silicon);
  known.set(silicon, facts);
  return facts;
}

function compileFacts(silicon: Silicon): Facts {
  const writable = MSR_ROWS.map((row) => silicon.mask(row.writable ?? ''));
  const reserved = MSR_ROWS.map((row, slot) => ~(writable[slot]! | silicon.mask(row.ignored)));
  const resets = MSR_ROWS.map((row) => (row.alias === null ? silicon.reset(row) : 0n));
  const width = silicon.field(0xa, 0, 'eax', 23, 16);
  return {
    exists: Uint8Array.from(MSR_ROWS, ({ gate }) => (silicon.allows(gate) ? 1 : 0)),
    writableLo: Int32Array.from(writable, low),
    writableHi: Int32Array.from(writable, high),
    reservedLo: Int32Array.from(reserved, low),
    reservedHi: Int32Array.from(reserved, high),
    resetLo: Int32Array.from(resets, low),
    resetHi: Int32Array.from(resets, high),
    canonicalShift: silicon.linearBits - 33,
    lbrDepths: silicon.field(0x1c, 0, 'eax', 7, 0),
    counterMaskHi: width > 32 && width < 64 ? 2 ** (width - 32) - 1 : 0xffff,
  };
}

/** All values at one time. */
export interface MsrSnapshot {
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  /** 1 where the CPU has the MSR. */
  readonly exists: Uint8Array;
}

/** An MSR that two snapshots disagree about. */
export interface MsrDifference {
  readonly index: number;
  readonly name: string;
  readonly before: bigint;
  readonly after: bigint;
}

/** Values by slot, to be read. */
export interface MsrWords extends Iterable<number> {
  readonly length: number;
  readonly [slot: number]: number;
}

export class MsrFile {
  /** The values by slot. To write them without checks, as hardware does, use {@link put}, {@link load}. */
  readonly lo: MsrWords;
  readonly hi: MsrWords;
  /** 1 where the CPU has the MSR, by slot. */
  readonly exists = new Uint8Array(MSR_ROWS.length);
  /** What {@link read} found: low and high half. */
  readonly value = new Int32Array(2);
  /** Whoever has more to do than to keep values; without it all MSRs are plain storage. */
  hooks: MsrHooks | null = null;

  private facts: Facts;
  private readonly valuesLo = new Int32Array(MSR_ROWS.length);
  private readonly valuesHi = new Int32Array(MSR_ROWS.length);

  constructor(silicon: Silicon) {
    this.lo = this.valuesLo;
    this.hi = this.valuesHi;
    this.facts = factsOf(silicon);
    this.exists.set(this.facts.exists);
    this.reset(silicon);
  }

  /** Decides anew which MSRs and bits are there. Values stay. */
  evaluate(silicon: Silicon): void {
    this.facts = factsOf(silicon);
    this.exists.set(this.facts.exists);
  }

  /** Brings all values back to what they are at reset. */
  reset(silicon: Silicon): void {
    const { resetLo, resetHi } = factsOf(silicon);
    this.valuesLo.set(resetLo);
    this.valuesHi.set(resetHi);
  }

  /** Writes a value without checks or side effects. */
  put(slot: number, lo: number, hi: number): void {
    this.valuesLo[slot] = lo;
    this.valuesHi[slot] = hi;
  }

  /**
   * Takes values from elsewhere, without checks, as world switches do.
   *
   * @param lo their low halves; `hi`: their upper halves
   * @param at where the places that the moves name begin
   */
  load(moves: MsrMoves, lo: Int32Array, hi: Int32Array, at = 0): void {
    moves.load(this.valuesLo, this.valuesHi, lo, hi, at);
  }

  /** The other way. */
  store(moves: MsrMoves, lo: Int32Array, hi: Int32Array, at = 0): void {
    moves.store(this.valuesLo, this.valuesHi, lo, hi, at);
  }

  /** Whether the CPU has the MSR. */
  has(index: number): boolean {
    const slot = msrSlot(index);
    return slot !== NO_SLOT && this.exists[slot] === 1;
  }

  /** RDMSR: into {@link value}. */
  read(index: number): number {
    const slot = msrSlot(index);
    if (slot === NO_SLOT || this.exists[slot] === 0) return MSR_GP;
    if (rules[slot] === RULE.command) return MSR_GP;
    const home = homes[slot]!;
    if (hooks[slot] !== 0 && this.hooks !== null) this.hooks.read(hooks[slot]!, home);
    this.value[0] = this.lo[home]!;
    this.value[1] = this.hi[home]!;
    return MSR_OK;
  }

  /** WRMSR. */
  write(index: number, lo: number, hi: number): number {
    const slot = msrSlot(index);
    if (slot === NO_SLOT || this.exists[slot] === 0 || readOnly[slot] === 1) return MSR_GP;
    const { facts } = this;
    if ((lo & facts.reservedLo[slot]!) !== 0 || (hi & facts.reservedHi[slot]!) !== 0) return MSR_GP;
    const home = homes[slot]!;
    const writableLo = facts.writableLo[slot]!;
    const writableHi = facts.writableHi[slot]!;
    const oldLo = this.lo[home]!;
    const oldHi = this.hi[home]!;
    let newLo = (lo & writableLo) | (oldLo & ~writableLo);
    let newHi = (hi & writableHi) | (oldHi & ~writableHi);
    const rule = rules[slot]!;
    if (rule !== 0) {
      if (!this.fits(rule, oldLo, newLo, newHi)) return MSR_GP;
      if (rule === RULE.counter) newHi = (newLo >> 31) & facts.counterMaskHi;
      // SVM_LOCK keeps itself and SVMDIS.
      else if (rule === RULE['vm-cr'] && (oldLo & 8) !== 0) newLo = (newLo & ~0x18) | (oldLo & 0x18);
    }
    if (hooks[slot] !== 0 && this.hooks !== null && this.hooks.write(hooks[slot]!, home, newLo, newHi) !== MSR_OK)
      return MSR_GP;
    if (rule === RULE.command || rule === RULE.discard) return MSR_OK;
    this.put(home, newLo, newHi);
    return MSR_OK;
  }

  /** The value of an MSR; `undefined` when RDMSR would fault. */
  get(index: number): bigint | undefined {
    return this.read(index) === MSR_OK ? join(this.value[0]!, this.value[1]!) : undefined;
  }

  /** WRMSR, for tests and set-up. @returns whether it was taken */
  set(index: number, value: bigint): boolean {
    return this.write(index, low(value), high(value)) === MSR_OK;
  }

  /** A copy of all values. The time-stamp counter is not in it. */
  snapshot(): MsrSnapshot {
    return { lo: this.valuesLo.slice(), hi: this.valuesHi.slice(), exists: this.exists.slice() };
  }

  /** Brings back all values, without checks or side effects. */
  restore(snapshot: MsrSnapshot): void {
    this.valuesLo.set(snapshot.lo);
    this.valuesHi.set(snapshot.hi);
  }

  private isCanonical(hi: number): boolean {
    const top = hi >> this.facts.canonicalShift;
    return top === 0 || top === -1;
  }

  /** Whether a value satisfies the rule of its MSR. */
  private fits(rule: number, oldLo: number, lo: number, hi: number): boolean {
    switch (rule) {
      case RULE.canonical:
        return this.isCanonical(hi);
      case RULE.cet:
        return this.isCanonical(hi) && (lo & 0xc00) !== 0xc00;
      case RULE.pat:
        return isPat(lo, hi);
      case RULE['mtrr-types']:
        return areMtrrTypes(lo) && areMtrrTypes(hi);
      case RULE['mtrr-type']:
        return areMtrrTypes(lo & 7);
      case RULE.lock:
        return (oldLo & 1) === 0;
      case RULE['apic-base']:
        return isApicTransition((oldLo >> 10) & 3, (lo >> 10) & 3);
      case RULE['lbr-depth']:
        return (lo & 7) === 0 && lo > 0 && ((this.facts.lbrDepths >> (lo / 8 - 1)) & 1) === 1;
      default:
        return true;
    }
  }
}

/** Bits 11 (enable) and 10 (x2APIC) of IA32_APIC_BASE: off 0, xAPIC 2, x2APIC 3; 1 is no state. */
function isApicTransition(from: number, to: number): boolean {
  if (to === 1) return false;
  return !(from === 3 && to === 2) && !(from === 0 && to === 3);
}

/** The MSRs that differ, by index. MSRs that neither side has, other names and the time-stamp counter are left out. */
export function diffMsrs(before: MsrSnapshot, after: MsrSnapshot): readonly MsrDifference[] {
  return MSR_ROWS.flatMap((row: MsrRow, slot) => {
    if (row.alias !== null || VOLATILE.has(row.hook)) return [];
    if (before.exists[slot] === 0 && after.exists[slot] === 0) return [];
    if (before.lo[slot] === after.lo[slot] && before.hi[slot] === after.hi[slot]) return [];
    const values = [before, after].map(({ lo, hi }) => join(lo[slot]!, hi[slot]!)) as [bigint, bigint];
    return [{ index: row.index, name: row.name, before: values[0], after: values[1] }];
  });
}

function low(value: bigint): number {
  return Number(value & 0xffff_ffffn) | 0;
}

function high(value: bigint): number {
  return Number((value >> 32n) & 0xffff_ffffn) | 0;
}

function join(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
