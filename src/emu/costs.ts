import { type CostFamily, type CostRow, type CostRows, FAMILY_COSTS, VENDOR_COSTS } from './cost-rows.js';
import { OP_COST, OP_NAMES } from './isa/forms.js';
import type { OpName } from './isa/op-rows.js';
import type { Silicon } from './silicon.js';

/** What is charged for operations of which nobody knows a figure: an estimate, as all figures marked so. */
const UNKNOWN = 1;

/** Families by vendor and display family, newest model last. Models between two rows cost as the one below. */
// biome-ignore format: one row per fact
const FAMILIES: readonly (readonly [vendor: 'intel' | 'amd', family: number, model: number, costs: CostFamily])[] = [
  ['intel', 6, 0x00, 'skx'],
  ['intel', 6, 0x6a, 'icx'],
  ['intel', 6, 0x8f, 'spr'],
  ['intel', 6, 0xad, 'gnr'],
  ['intel', 6, 0xcf, 'spr'],
  ['intel', 19, 0x00, 'lnc'],
  ['amd', 0x00, 0x00, 'zen2'],
  ['amd', 0x19, 0x00, 'zen3'],
  ['amd', 0x19, 0x10, 'zen4'],
  ['amd', 0x1a, 0x00, 'zen5'],
];

const STEPPING_OF_CASCADE_LAKE = 5;

/** Operations whose cost key is chosen by operands, or that cost as something else does. Estimates by likeness. */
const DEFAULT_KEYS: Partial<Record<OpName, string>> = {
  CPUID: 'cpuid.default',
  MOV_TO_CR: 'mov_to_cr3',
  SFENCE: 'lfence',
  RDFSBASE: 'rdpid',
  RDGSBASE: 'rdpid',
  WRFSBASE: 'rdpid',
  WRGSBASE: 'rdpid',
};

/** The costs of one kind of CPU, in whole core cycles. */
export class Costs {
  readonly family: CostFamily;
  /** By operation id; operands, loads and stores come on top. */
  readonly op: Int32Array;
  readonly load: number;
  readonly store: number;
  readonly branchTaken: number;
  private readonly rows: CostRows;
  private readonly vendorRows: CostRows;
  private readonly cpuidRows = new Map<number, number>();
  private readonly cpuidDefault: number;

  constructor(silicon: Silicon) {
    this.family = familyOf(silicon);
    this.rows = FAMILY_COSTS[this.family];
    this.vendorRows = VENDOR_COSTS[silicon.vendor];
    this.op = Int32Array.from(OP_NAMES, (name, id) => this.base(name, OP_COST[id] ?? null));
    this.load = this.of('load_l1');
    this.store = this.of('store');
    this.branchTaken = this.of('branch_taken');
    // Where nobody gives a figure for other leaves, they cost as leaf 1 does: an estimate.
    this.cpuidDefault = this.of(this.row('cpuid.default') ? 'cpuid.default' : 'cpuid.1');
    for (const key of Object.keys(this.rows)) {
      const place = /^cpuid\.([0-9a-f]+)(?:\.(\d+))?$/.exec(key);
      if (!place) continue;
      const fn = Number.parseInt(place[1]!, 16);
      this.cpuidRows.set(fn * 64 + (place[2] === undefined ? ANY_INDEX : Number(place[2])), this.of(key));
    }
  }

  /** The row of a key, with how it is known. */
  row(key: string): CostRow | undefined {
    return this.rows[key] ?? this.vendorRows[key];
  }

  /** Whole cycles; the cost of something unknown for a key that nobody knows. */
  of(key: string): number {
    return Math.max(0, Math.round(this.row(key)?.[0] ?? UNKNOWN));
  }

  /** CPUID with that function and sub-leaf. */
  cpuid(fn: number, index: number): number {
    return (
      (index < ANY_INDEX ? this.cpuidRows.get(fn * 64 + index) : undefined) ??
      this.cpuidRows.get(fn * 64 + ANY_INDEX) ??
      this.cpuidDefault
    );
  }

  private base(name: OpName, key: string | null): number {
    const own = key === null || key.endsWith('*') ? DEFAULT_KEYS[name] : key;
    return own === undefined ? UNKNOWN : this.of(own);
  }
}

const ANY_INDEX = 63;

function familyOf(silicon: Silicon): CostFamily {
  const eax = silicon.register(1, 0, 'eax');
  const base = (eax >>> 8) & 0xf;
  const family = base === 0xf ? base + ((eax >>> 20) & 0xff) : base;
  const model = ((eax >>> 4) & 0xf) | (base >= 6 ? (eax >>> 12) & 0xf0 : 0);
  let found: CostFamily = silicon.vendor === 'intel' ? 'skx' : 'zen2';
  for (const [vendor, rowFamily, rowModel, costs] of FAMILIES) {
    if (vendor === silicon.vendor && (family > rowFamily || (family === rowFamily && model >= rowModel))) found = costs;
  }
  // Skylake-SP and Cascade Lake-SP share family and model.
  return found === 'skx' && model === 0x55 && (eax & 0xf) >= STEPPING_OF_CASCADE_LAKE ? 'clx' : found;
}
