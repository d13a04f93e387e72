import type { Core, TableRegister } from '../emu/core/core.js';
import { msrNamed } from '../emu/msr-rows.js';
import { msrSlot, NO_SLOT } from '../emu/msrs.js';
import type { ExitRow } from './exit.js';

/** State by the names of the exit table: MSRs, and what is none. Values are bigints: this is not the hot path. */

interface Access {
  read(core: Core): bigint;
  write(core: Core, value: bigint): void;
}

const low = (value: bigint): number => Number(BigInt.asIntN(32, value));
const high = (value: bigint): number => Number(BigInt.asIntN(32, value >> 32n));
const join = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);

function msrAt(index: number): Access | null {
  const slot = msrSlot(index);
  if (slot === NO_SLOT) return null;
  return {
    read: ({ msrs }) => join(msrs.lo[slot]!, msrs.hi[slot]!),
    write: ({ msrs, control }, value) => {
      if (msrs.exists[slot] === 0) return;
      msrs.put(slot, low(value), high(value));
      control.version++;
    },
  };
}

function controlRegister(number: 0 | 2 | 3 | 4): Access {
  return {
    read: ({ control }) => join(control.lo[number]!, control.hi[number]!),
    write: ({ control }, value) => {
      control.lo[number] = low(value);
      control.hi[number] = high(value);
      control.version++;
    },
  };
}

function debugRegister(number: number): Access {
  return {
    read: ({ drLo, drHi }) => join(drLo[number]!, drHi[number]!),
    write: ({ drLo, drHi }, value) => {
      drLo[number] = low(value);
      drHi[number] = high(value);
    },
  };
}

/** Base and limit as one number: the limit above the 64 bits of the base. */
function table(of: (core: Core) => TableRegister): Access {
  return {
    read: (core) => join(of(core).baseLo, of(core).baseHi) | (BigInt(of(core).limit) << 64n),
    write: (core, value) => {
      const register = of(core);
      register.baseLo = low(value);
      register.baseHi = high(value);
      register.limit = Number(value >> 64n);
    },
  };
}

const OTHERS: Readonly<Record<string, Access>> = {
  CR0: controlRegister(0),
  CR2: controlRegister(2),
  CR3: controlRegister(3),
  CR4: controlRegister(4),
  XCR0: {
    read: ({ control }) => join(control.xcr0[0]!, control.xcr0[1]!),
    write: ({ control }, value) => {
      control.xcr0[0] = low(value);
      control.xcr0[1] = high(value);
    },
  },
  PKRU: {
    read: ({ control }) => BigInt(control.pkru >>> 0),
    write: ({ control }, value) => {
      control.pkru = low(value);
    },
  },
  GDTR: table(({ gdtr }) => gdtr),
  IDTR: table(({ idtr }) => idtr),
  TR: table(({ tss }) => tss),
  DR0: debugRegister(0),
  DR1: debugRegister(1),
  DR2: debugRegister(2),
  DR3: debugRegister(3),
  DR6: debugRegister(6),
  DR7: debugRegister(7),
};

/** How a row's state is read and written; `null` when the machine does not have it (the contents of XSAVE areas). */
export function accessOf(row: ExitRow): Access | null {
  return row.msr === null ? (OTHERS[row.state] ?? null) : msrAt(row.msr);
}

/** How a state is reached by its name. */
export function stateAccess(name: string): Access | null {
  return OTHERS[name] ?? msrAt(msrNamed(name).index);
}

/** What a processor keeps that no row speaks of, because every switch of worlds moves it. */
export interface Frame {
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  rflags: number;
  cpl: number;
  shadow: boolean;
  nmiBlocked: boolean;
  uif: boolean;
  readonly segments: Core['segments'];
  readonly ssp: Int32Array;
  space: number;
  globals: number;
}

const REGISTERS = 17;

export function emptyFrame(core: Core): Frame {
  return {
    lo: new Int32Array(REGISTERS),
    hi: new Int32Array(REGISTERS),
    rflags: 2,
    cpl: 0,
    shadow: false,
    nmiBlocked: false,
    uif: false,
    segments: { cs: 0x10, ss: 0x18, ds: 0x18, es: 0x18, fs: 0, gs: 0, tr: 0, ldtr: 0 },
    ssp: new Int32Array(2),
    space: core.mmu.tlb.fresh(),
    globals: core.mmu.tlb.fresh(),
  };
}

export function saveFrame(core: Core, frame: Frame): void {
  frame.lo.set(core.lo.subarray(0, REGISTERS));
  frame.hi.set(core.hi.subarray(0, REGISTERS));
  frame.rflags = core.rflags;
  frame.cpl = core.cpl;
  frame.shadow = core.shadow;
  frame.nmiBlocked = core.nmiBlocked;
  frame.uif = core.uif;
  Object.assign(frame.segments, core.segments);
  frame.ssp.set(core.ssp);
  frame.space = core.mmu.tlb.current;
  frame.globals = core.mmu.tlb.globals;
}

/** Everything but the address spaces, which the paging unit gets together with its tables. */
export function loadFrame(core: Core, frame: Frame): void {
  core.lo.set(frame.lo);
  core.hi.set(frame.hi);
  Object.assign(core.segments, frame.segments);
  core.cpl = frame.cpl;
  core.rflags = frame.rflags;
  core.shadow = frame.shadow;
  core.nmiBlocked = frame.nmiBlocked;
  core.uif = frame.uif;
  core.ssp.set(frame.ssp);
}
