import { CR0_ROWS, CR4_ROWS } from '../emu/control-rows.js';
import type { Core, Segments, TableRegister } from '../emu/core/core.js';
import { executeCpuid } from '../emu/core/cpuid-instruction.js';
import { diffMsrs, type MsrSnapshot } from '../emu/msrs.js';

/**
 * Everything on a CPU that the host owns, at one time, and what has changed between two times. What a guest was and what
 * it did, this does not know.
 */
export interface HostState {
  readonly msrs: MsrSnapshot;
  /** Registers that are no MSRs, by name. */
  readonly registers: ReadonlyMap<string, bigint>;
  /** What the CPUID instruction answers, by function and sub-leaf: EAX, EBX, ECX, EDX. */
  readonly cpuid: ReadonlyMap<string, Uint32Array>;
}

/** Something that is not as it was. */
export interface HostChange {
  /** An MSR by its name, `CR4`, `XCR0`, `PKRU`, `DR7`, `IDTR.base`, `CS`, `CPUID.(EAX=7,ECX=0):EBX`, … */
  readonly name: string;
  /** MSR index; `null` for everything else. */
  readonly msr: number | null;
  readonly before: bigint;
  readonly after: bigint;
}

const CONTROL_NUMBERS = [0, 3, 4, 8] as const;
const DEBUG_NAMES = ['DR0', 'DR1', 'DR2', 'DR3', 'DR6', 'DR7'];
const DEBUG_SLOTS = [0, 1, 2, 3, 6, 7];
const CPUID_REGISTERS = ['EAX', 'EBX', 'ECX', 'EDX'] as const;

const join = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);

/** Reads everything. CR2, time and general registers are not the host's: they change all the time. */
export function hostState(core: Core): HostState {
  return { msrs: core.msrs.snapshot(), registers: registersOf(core), cpuid: cpuidOf(core) };
}

function registersOf(core: Core): Map<string, bigint> {
  const { control, segments, ssp } = core;
  const registers = new Map<string, bigint>();
  for (const number of CONTROL_NUMBERS) registers.set(`CR${number}`, join(control.lo[number]!, control.hi[number]!));
  registers.set('XCR0', join(control.xcr0[0]!, control.xcr0[1]!));
  registers.set('PKRU', join(control.pkru, 0));
  DEBUG_NAMES.forEach((name, at) => {
    const slot = DEBUG_SLOTS[at]!;
    registers.set(name, join(core.drLo[slot]!, core.drHi[slot]!));
  });
  const tables: readonly (readonly [name: string, table: TableRegister])[] = [
    ['GDTR', core.gdtr],
    ['IDTR', core.idtr],
    ['TR', core.tss],
  ];
  for (const [name, { baseLo, baseHi, limit }] of tables) {
    registers.set(`${name}.base`, join(baseLo, baseHi));
    registers.set(`${name}.limit`, BigInt(limit));
  }
  for (const name of Object.keys(segments) as (keyof Segments)[])
    registers.set(name.toUpperCase(), BigInt(segments[name]));
  registers.set('SSP', join(ssp[0]!, ssp[1]!));
  registers.set('UIF', core.uif ? 1n : 0n);
  return registers;
}

/** Every function and sub-leaf that the silicon has; what follows control registers and MSRs follows. */
function cpuidOf(core: Core): Map<string, Uint32Array> {
  const answers = new Map<string, Uint32Array>();
  for (const { function: fn, index } of core.cpuid.rows()) {
    const answer = new Uint32Array(4);
    executeCpuid(core, fn, index, answer);
    answers.set(`CPUID.(EAX=${fn.toString(16).toUpperCase()}H,ECX=${index})`, answer);
  }
  return answers;
}

/** What is not as it was: MSRs by index, then registers, then CPUID. */
export function diffHostState(before: HostState, after: HostState): readonly HostChange[] {
  const msrs = diffMsrs(before.msrs, after.msrs).map((change) => ({
    name: change.name,
    msr: change.index,
    before: change.before,
    after: change.after,
  }));
  const registers = [...before.registers].flatMap(([name, value]) => changeOf(name, value, after.registers.get(name)));
  const cpuid = [...before.cpuid].flatMap(([name, answer]) =>
    CPUID_REGISTERS.flatMap((register, at) =>
      changeOf(`${name}:${register}`, BigInt(answer[at]!), BigInt(after.cpuid.get(name)?.[at] ?? 0)),
    ),
  );
  return [...msrs, ...registers, ...cpuid];
}

function changeOf(name: string, before: bigint, after: bigint | undefined): readonly HostChange[] {
  return after === undefined || after === before ? [] : [{ name, msr: null, before, after }];
}

const BIT_NAMES: Readonly<Record<string, ReadonlyMap<number, string>>> = {
  CR0: new Map(CR0_ROWS.map(({ bit, name }) => [bit, name])),
  CR4: new Map(CR4_ROWS.map(({ bit, name }) => [bit, name])),
};

/** The bits that a change of CR0 or CR4 has set and cleared, by name: `+SMAP -PKE`; '' for other registers. */
export function changedBits({ name, before, after }: HostChange): string {
  const names = BIT_NAMES[name];
  if (!names) return '';
  return [...names]
    .filter(([bit]) => (((before ^ after) >> BigInt(bit)) & 1n) === 1n)
    .map(([bit, text]) => `${((after >> BigInt(bit)) & 1n) === 1n ? '+' : '-'}${text}`)
    .join(' ');
}
