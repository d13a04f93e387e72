// The host kernel at boot: which capability flags and bugs it ends up with, and its XSAVE state.
import type { RawCpuid } from './cpuid.js';
import { evaluateTruth, type Scope, type Value } from './expression.js';
import { appliesTo, byKernel, exists, hostCaps, type Register } from './reference.js';

export interface BootOptions {
  kernel: string;
  cmdline: string;
  flagsSet: string[];
  flagsClear: string[];
}

export interface BootKernel {
  /** The flag as KVM tests it by name. */
  has(flag: string): boolean;
  /** The flag as the capability words hold it. */
  bit(flag: string): boolean;
  /** The 32-bit capability word that KVM ANDs with. */
  word(name: string): number;
  /** Every flag of this kernel line that has a name in /proc/cpuinfo. */
  cpuinfo(): Record<string, boolean>;
}

// Tests of these are decided when a 64-bit kernel is compiled; the capability word still holds the real bit.
const COMPILED_IN = new Set(['FPU', 'PSE', 'MSR', 'PGE', 'PAE', 'CX8', 'CMOV', 'FXSR', 'XMM', 'XMM2', 'LM']);

// Flags that the notes of a forced step name beside its own flag.
const FORCED_TOGETHER: Record<string, string[]> = {
  'force_set LS_CFG_SSBD': ['SSBD'],
  'force_clear SPEC_CTRL': ['SPEC_CTRL_SSBD', 'INTEL_STIBP', 'IBRS', 'IBPB', 'STIBP', 'SSBD'],
  'force_clear SEV': ['SEV_ES', 'SEV_SNP'],
};

const PLACES = new Map(hostCaps.flags.map((entry) => [entry.flag, entry]));

export function cmdlineWords(cmdline: string): string[] {
  return cmdline.split(/\s+/).filter((word) => word !== '');
}

/** Values of every `option=a,b` on the command line. */
function cmdlineList(cmdline: string, option: string): string[] {
  return cmdlineWords(cmdline)
    .filter((word) => word.startsWith(`${option}=`))
    .flatMap((word) => word.slice(option.length + 1).split(','));
}

/** The scope in which steps of the boot program, and later the bugs, are evaluated. */
export function bootScope(
  raw: RawCpuid,
  cmdline: string,
  inputs: Record<string, Value>,
  has: (flag: string) => boolean,
): Scope {
  return {
    variable(name) {
      const value = inputs[name];
      if (value === undefined) throw new Error(`no input '${name}'`);
      return value;
    },
    call(name, args) {
      const [first = '', second = 0, third = ''] = args;
      switch (name) {
        case 'kernel':
          return has(first as string) ? 1 : 0;
        case 'cmdline':
          return cmdlineWords(cmdline).includes(first as string) ? 1 : 0;
        case 'raw_reg':
          return raw.inRange(first as number, second as number)[third as Register];
        case 'raw_ext_bit':
          return (raw.inRange(first as number, 0)[second as Register] >>> (third as number)) & 1;
        default:
          throw new Error(`unknown function '${name}'`);
      }
    },
  };
}

function levelReached(raw: RawCpuid, fn: number): boolean {
  if (fn < 0x80000000) return fn <= raw.inRange(0, 0).eax;
  const base = fn < 0xc0000000 ? 0x80000000 : 0xc0000000;
  const maximum = raw.inRange(base, 0).eax;
  return maximum >>> 16 === base >>> 16 && fn <= maximum;
}

/** The flag and everything that needs it, through any number of steps. */
function withDependents(flag: string, kernel: string): string[] {
  const found = [flag];
  for (const name of found) {
    for (const dependency of hostCaps.deps) {
      if (dependency.needs !== name || !exists(dependency, kernel)) continue;
      if (!found.includes(dependency.flag)) found.push(dependency.flag);
    }
  }
  return found;
}

/** Flags by name: a bit of a word, or a plain name for those that Linux keeps elsewhere. */
function flagStore(kernel: string) {
  const words: Record<string, number> = {};
  const elsewhere = new Set<string>();

  function place(flag: string): { word: string; bit: number } | 'elsewhere' | 'absent' {
    const entry = PLACES.get(flag);
    if (entry === undefined) return 'elsewhere';
    if (!exists(entry, kernel)) return 'absent';
    const word = entry.place_by_kernel?.[kernel] ?? entry.word;
    return word === 'linux' || entry.bit === undefined ? 'elsewhere' : { word, bit: entry.bit };
  }

  return {
    words,
    has(flag: string): boolean {
      const where = place(flag);
      if (where === 'absent') return false;
      if (where === 'elsewhere') return elsewhere.has(flag);
      return (((words[where.word] ?? 0) >>> where.bit) & 1) === 1;
    },
    put(flag: string, value: boolean): void {
      const where = place(flag);
      if (where === 'absent') return;
      if (where === 'elsewhere') {
        if (value) elsewhere.add(flag);
        else elsewhere.delete(flag);
        return;
      }
      const word = words[where.word] ?? 0;
      const mask = 1 << where.bit;
      words[where.word] = (value ? word | mask : word & ~mask) >>> 0;
    },
  };
}

export function bootKernel(raw: RawCpuid, inputs: Record<string, Value>, options: BootOptions): BootKernel {
  const { kernel, cmdline } = options;
  const store = flagStore(kernel);
  const forcedSet: string[] = [];
  const forcedClear: string[] = [];
  const has = (flag: string): boolean => COMPILED_IN.has(flag) || store.has(flag);
  const scope = bootScope(raw, cmdline, inputs, has);
  const holds = (condition: string | undefined): boolean => condition === undefined || evaluateTruth(condition, scope);

  function clear(flag: string): void {
    for (const name of withDependents(flag, kernel)) store.put(name, false);
  }

  function apply(op: string, flag: string): void {
    if (op === 'set') store.put(flag, true);
    else if (op === 'clear') clear(flag);
    else if (op === 'force_set') {
      store.put(flag, true);
      forcedSet.push(flag);
    } else if (op === 'force_clear') {
      clear(flag);
      forcedClear.push(...withDependents(flag, kernel));
    } else throw new Error(`unknown step '${op}'`);
  }

  function flagsNamed(name: string): string[] {
    return hostCaps.flags.filter((flag) => flag.cpuinfo === name && exists(flag, kernel)).map((flag) => flag.flag);
  }

  for (const word of hostCaps.words) {
    const fn = Number(word.function);
    const visible = levelReached(raw, fn) && holds(word.if);
    store.words[word.word] = visible ? raw.inRange(fn, word.index)[word.register] : 0;
  }
  for (const flag of hostCaps.scattered) {
    const fn = Number(flag.function);
    if (!appliesTo(flag, kernel) || !levelReached(raw, fn)) continue;
    if ((raw.inRange(fn, flag.index)[flag.register] >>> flag.bit) & 1) store.put(flag.flag, true);
  }
  for (const step of hostCaps.probe) {
    if (appliesTo(step, kernel) && holds(step.if)) apply(step.op, step.flag);
  }
  for (const step of hostCaps.early_forced) {
    if (!appliesTo(step, kernel)) continue;
    if (step.each !== undefined) {
      for (const flag of cmdlineList(cmdline, step.each).flatMap(flagsNamed)) apply(step.op, flag);
    } else if (holds(step.if)) {
      for (const flag of [step.flag, ...(FORCED_TOGETHER[`${step.op} ${step.flag}`] ?? [])]) apply(step.op, flag);
    }
  }
  for (const step of [...hostCaps.vendor, ...hostCaps.late]) {
    if (appliesTo(step, kernel) && holds(step.if)) apply(step.op, step.flag);
  }
  for (const flag of forcedClear) store.put(flag, false);
  for (const flag of forcedSet) store.put(flag, true);
  for (const flag of options.flagsSet) store.put(flag, true);
  for (const flag of options.flagsClear) store.put(flag, false);

  return {
    has,
    bit: store.has,
    word: (name) => store.words[name] ?? 0,
    cpuinfo() {
      const shown: Record<string, boolean> = {};
      for (const flag of hostCaps.flags) {
        if (flag.cpuinfo !== undefined && exists(flag, kernel)) shown[flag.cpuinfo] = store.has(flag.flag);
      }
      return shown;
    },
  };
}

export function bootBugs(scope: Scope): Record<string, 0 | 1> {
  const bugs: Record<string, 0 | 1> = {};
  for (const bug of hostCaps.bugs) bugs[bug.bug] = evaluateTruth(bug.expr, scope) ? 1 : 0;
  return bugs;
}

/** XCR0 and XSS of the host. Every component Linux knows is below 32, so the low halves are enough. */
export function hostXstate(raw: RawCpuid, kernel: string, boot: BootKernel): { xcr0: number; xss: number } {
  if (!boot.has('XSAVE')) return { xcr0: 0, xss: 0 };
  let supported = 0;
  for (const component of hostCaps.xstate.components) {
    // Linux walks this table with a variable flag, so even a compiled-in flag is looked up in the words.
    if (!exists(component, kernel) || !boot.bit(byKernel(component.flag, kernel))) continue;
    if (component.bit === 18 && !boot.bit('XFD')) continue;
    supported |= 1 << component.bit;
  }
  const available = (raw.inRange(0xd, 0).eax | raw.inRange(0xd, 1).ecx) & supported;
  const { user_supported, supervisor_supported } = hostCaps.xstate;
  return {
    xcr0: (available & Number(byKernel(user_supported, kernel))) >>> 0,
    xss: boot.has('XSAVES') ? (available & Number(byKernel(supervisor_supported, kernel))) >>> 0 : 0,
  };
}
