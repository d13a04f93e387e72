import { CR4_ROWS } from '../control-rows.js';
import { GATE_SETS } from '../isa/forms.js';
import type { Gate } from '../isa/op-rows.js';
import type { Silicon } from '../silicon.js';

/**
 * Which operations are there at the moment. A gate is open by silicon (CPUID bits, capability MSRs), by CR4 and EFER, and
 * in a VMX guest by controls. What a guest's CPUID says has no part in it.
 */

const EFER_BITS: Readonly<Record<string, number>> = { SCE: 1 << 0, SVME: 1 << 12 };

interface CompiledSet {
  /** Alternatives that silicon decides, all of which must hold. */
  readonly silicon: readonly (readonly string[])[];
  readonly world: readonly string[];
  readonly cr4Lo: number;
  readonly cr4Hi: number;
  readonly cr4NotLo: number;
  readonly cr4NotHi: number;
  readonly efer: number;
}

function compile(set: (typeof GATE_SETS)[number]): CompiledSet {
  const made = {
    silicon: [] as (readonly string[])[],
    world: [] as string[],
    cr4Lo: 0,
    cr4Hi: 0,
    cr4NotLo: 0,
    cr4NotHi: 0,
    efer: 0,
  };
  for (const alternatives of set) {
    const name = alternatives[0]!;
    if (isSilicon(name)) {
      made.silicon.push(alternatives.map(siliconName));
      continue;
    }
    if (alternatives.length > 1) throw new Error(`alternatives of ${name} are not all of silicon`);
    const [where, what] = name.replace('!', '').split('.') as [string, string];
    if (where === 'VMX') made.world.push(name);
    else if (where === 'EFER') made.efer |= EFER_BITS[what]!;
    else if (where === 'CR4') {
      const bit = CR4_ROWS.find((row) => row.name === what)!.bit;
      const lo = bit < 32 ? 1 << bit : 0;
      const hi = bit < 32 ? 0 : 1 << (bit - 32);
      if (name.startsWith('!')) {
        made.cr4NotLo |= lo;
        made.cr4NotHi |= hi;
      } else {
        made.cr4Lo |= lo;
        made.cr4Hi |= hi;
      }
    } else throw new Error(`${name}: a gate of which nothing is known`);
  }
  return made;
}

const isSilicon = (gate: Gate): boolean => gate.startsWith('CPUID.') || gate.startsWith('IA32_');

/** As `Silicon.allows` knows it. SEAM is there where its range registers are. */
const siliconName = (gate: Gate): string =>
  gate === 'IA32_MTRRCAP.SEAMRR' ? 'IA32_MTRRCAP[15]' : gate.slice('CPUID.'.length);

const SETS = GATE_SETS.map(compile);

/** MSRLIST has no bit that `Silicon` would know: the ISE's bit 27 of CPUID.(EAX=7,ECX=1):EAX. */
function siliconHas(silicon: Silicon, name: string): boolean {
  return name === 'MSRLIST' ? silicon.field(7, 1, 'eax', 27, 27) === 1 : silicon.allows(name);
}

const bySilicon = new WeakMap<Silicon, Uint8Array>();

function staticGates(silicon: Silicon): Uint8Array {
  const known =
    bySilicon.get(silicon) ??
    Uint8Array.from(SETS, (set) =>
      set.silicon.every((names) => names.some((name) => siliconHas(silicon, name))) ? 1 : 0,
    );
  bySilicon.set(silicon, known);
  return known;
}

const CR4_NEED_LO = Int32Array.from(SETS, (set) => set.cr4Lo);
const CR4_NEED_HI = Int32Array.from(SETS, (set) => set.cr4Hi);
const CR4_NOT_LO = Int32Array.from(SETS, (set) => set.cr4NotLo);
const CR4_NOT_HI = Int32Array.from(SETS, (set) => set.cr4NotHi);
const EFER_NEED = Int32Array.from(SETS, (set) => set.efer);

/** Which sets are open under one setting of the registers. */
interface Setting {
  readonly cr4Lo: number;
  readonly cr4Hi: number;
  readonly efer: number;
  readonly closed: Uint8Array | null;
  readonly open: Uint8Array;
}

/** World switches go to and fro between few settings. */
const SETTINGS = 4;

/** The gates of one core. */
export class Gates {
  /** 1 where a set is open, by its index in `GATE_SETS`. */
  open: Uint8Array;
  private readonly silicon: Uint8Array;
  private readonly known: Setting[] = [];
  private oldest = 0;

  constructor(silicon: Silicon) {
    this.silicon = staticGates(silicon);
    this.open = new Uint8Array(SETS.length);
  }

  /**
   * Goes to another setting. `closed`: 1 where controls of the guest's world close a set; `null` in the host. Whoever
   * changes the array makes a new one.
   */
  update(cr4Lo: number, cr4Hi: number, efer: number, closed: Uint8Array | null): void {
    const { known } = this;
    for (let n = 0; n < known.length; n++) {
      const setting = known[n]!;
      if (setting.cr4Lo === cr4Lo && setting.cr4Hi === cr4Hi && setting.efer === efer && setting.closed === closed) {
        this.open = setting.open;
        return;
      }
    }
    this.open = this.workOut(cr4Lo, cr4Hi, efer, closed);
    known[this.oldest] = { cr4Lo, cr4Hi, efer, closed, open: this.open };
    this.oldest = (this.oldest + 1) % SETTINGS;
  }

  private workOut(cr4Lo: number, cr4Hi: number, efer: number, closed: Uint8Array | null): Uint8Array {
    const { silicon } = this;
    const open = new Uint8Array(SETS.length);
    for (let set = 0; set < open.length; set++) {
      const shut =
        (CR4_NEED_LO[set]! & ~cr4Lo) |
        (CR4_NEED_HI[set]! & ~cr4Hi) |
        (CR4_NOT_LO[set]! & cr4Lo) |
        (CR4_NOT_HI[set]! & cr4Hi) |
        (EFER_NEED[set]! & ~efer);
      open[set] = shut === 0 && (closed === null || closed[set] === 0) ? silicon[set]! : 0;
    }
    return open;
  }
}

/** For a guest's world: the sets that it closes, by its answers about names such as `VMX.ENABLE_RDTSCP`. */
export function closedSets(gate: (name: string) => boolean): Uint8Array {
  return Uint8Array.from(SETS, (set) => (set.world.every(gate) ? 0 : 1));
}
