import type { HostCpu } from '../linux/host-cpu.js';
import { msrIndex } from '../linux/user-return-rows.js';

/**
 * Intel PT for guests (`pt_mode=1`, host/guest mode): `struct pt_desc` of a vCPU. What is in its MSRs is modelled, and how
 * KVM moves it; nothing is traced, neither in the host nor in the guest.
 */

const CTL = msrIndex('IA32_RTIT_CTL');
const OUTPUT_BASE = msrIndex('IA32_RTIT_OUTPUT_BASE');
const OUTPUT_MASK = msrIndex('IA32_RTIT_OUTPUT_MASK_PTRS');
const STATUS = msrIndex('IA32_RTIT_STATUS');
const CR3_MATCH = msrIndex('IA32_RTIT_CR3_MATCH');
const ADDRESSES = msrIndex('IA32_RTIT_ADDR0_A');
/** RTIT_ADDR_RANGE */
const MOST_RANGES = 4;

const TRACE_ENABLE = 1n << 0n;
const TOPA = 1n << 8n;
/** ADDRn_CFG, from bit 32 on. */
const RANGE_BITS = 4n;
const FIRST_RANGE_BIT = 32n;
/** MSR_IA32_RTIT_STATUS_MASK */
const STATUS_RESERVED = ~((0x1_ffffn << 32n) | 0x37n);
/** The table of outputs is aligned to 128 bytes. */
const OUTPUT_ALIGNMENT = 0x7fn;
const OUTPUT_MASK_FIXED = 0x7fn;

/** Bits of IA32_RTIT_CTL and the bit of CPUID.(EAX=14H,ECX=0) that a guest must have for them (`update_intel_pt_cfg()`). */
const CTL_ROWS: readonly (readonly [bits: bigint, needs: Need | null])[] = [
  // TraceEn, OS, User, TSCEn, DisRETC, BranchEn
  [TRACE_ENABLE | (3n << 2n) | (3n << 10n) | (1n << 13n), null],
  // CR3Filter
  [1n << 7n, ['ebx', 0]],
  // CYCEn, CycThresh, PSBFreq
  [(1n << 1n) | (0xfn << 19n) | (0xfn << 24n), ['ebx', 1]],
  // MTCEn, MTCFreq
  [(1n << 9n) | (0xfn << 14n), ['ebx', 3]],
  // FUPonPTW, PTWEn
  [(1n << 5n) | (1n << 12n), ['ebx', 4]],
  // PwrEvtEn
  [1n << 4n, ['ebx', 5]],
  [TOPA, ['ecx', 0]],
  // FabricEn
  [1n << 6n, ['ecx', 3]],
];

/** A sub-leaf of a guest's leaf 14H. */
export interface PtLeaf {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
}

type Need = readonly [register: 'ebx' | 'ecx', bit: number];

export class GuestPt {
  private readonly cpu: HostCpu;
  private readonly leaf: (index: number) => PtLeaf | undefined;
  /** `num_address_ranges`: the number that the guest's CPUID says, whatever the CPU has. */
  private ranges = 0;
  private ctlReserved = -1n;
  private ctl = 0n;
  private hostCtl = 0n;
  /** By MSR index. */
  private readonly guest = new Map<number, bigint>();
  private readonly host = new Map<number, bigint>();

  /** @param leaf the guest's; `undefined` where its table has no entry */
  constructor(cpu: HostCpu, leaf: (index: number) => PtLeaf | undefined) {
    this.cpu = cpu;
    this.leaf = leaf;
  }

  /** `update_intel_pt_cfg()` */
  cpuidChanged(): void {
    const main = this.leaf(0);
    this.ranges = (this.leaf(1)?.eax ?? 0) & 7;
    let allowed = 0n;
    for (const [bits, needs] of CTL_ROWS) if (needs === null || has(main, needs)) allowed |= bits;
    for (let range = 0; range < this.ranges; range++)
      allowed |= ((1n << RANGE_BITS) - 1n) << (FIRST_RANGE_BIT + RANGE_BITS * BigInt(range));
    this.ctlReserved = ~allowed;
  }

  /** What the guest reaches without an exit while it traces, and only then (`pt_update_intercept_for_msr()`). */
  get passed(): readonly number[] {
    return this.tracing ? this.moved : [];
  }

  private get tracing(): boolean {
    return (this.ctl & TRACE_ENABLE) !== 0n;
  }

  /** The MSRs of `pt_save_msr()` and `pt_load_msr()`, in their order. */
  private get moved(): readonly number[] {
    const addresses = Array.from({ length: 2 * this.ranges }, (_, number) => ADDRESSES + number);
    return [STATUS, OUTPUT_BASE, OUTPUT_MASK, CR3_MATCH, ...addresses];
  }

  // Guest MSRs: vmx_get_msr(), vmx_set_msr().

  /** The guest's value; `undefined`: #GP; `null`: not an MSR of Intel PT. */
  read(index: number): bigint | undefined | null {
    if (!isPtMsr(index)) return null;
    if (!this.isThere(index)) return undefined;
    return index === CTL ? this.ctl : (this.guest.get(index) ?? (index === OUTPUT_MASK ? OUTPUT_MASK_FIXED : 0n));
  }

  /** @returns whether it was taken, otherwise #GP; `null`: not an MSR of Intel PT */
  write(index: number, value: bigint): boolean | null {
    if (!isPtMsr(index)) return null;
    if (index === CTL) return this.writeCtl(value);
    if (!this.isThere(index) || this.tracing) return false;
    if (index === STATUS && (value & STATUS_RESERVED) !== 0n) return false;
    if (index === OUTPUT_BASE && (value & OUTPUT_ALIGNMENT) !== 0n) return false;
    this.guest.set(index, index === OUTPUT_MASK ? value | OUTPUT_MASK_FIXED : value);
    return true;
  }

  /** `vmx_rtit_ctl_check()`, without the tables of frequencies. */
  private writeCtl(value: bigint): boolean {
    if ((value & this.ctlReserved) !== 0n) return false;
    if (this.tracing && (value & TRACE_ENABLE) !== 0n && value !== this.ctl) return false;
    const singleRange = has(this.leaf(0), ['ecx', 2]);
    if ((value & TRACE_ENABLE) !== 0n && (value & TOPA) === 0n && !singleRange) return false;
    this.ctl = value;
    return true;
  }

  /** By the guest's CPUID. */
  private isThere(index: number): boolean {
    const main = this.leaf(0);
    if (index === CR3_MATCH) return has(main, ['ebx', 0]);
    if (index === OUTPUT_BASE || index === OUTPUT_MASK) return has(main, ['ecx', 0]) || has(main, ['ecx', 2]);
    return index < ADDRESSES || index < ADDRESSES + 2 * this.ranges;
  }

  // In and out.

  /** `pt_guest_enter()` */
  enter(): void {
    this.hostCtl = this.readHost(CTL);
    if (!this.tracing) return;
    this.writeHost(CTL, 0n);
    this.save(this.host);
    this.load(this.guest);
  }

  /** `pt_guest_exit()` */
  exit(): void {
    if (this.tracing) {
      this.save(this.guest);
      this.load(this.host);
    }
    if (this.hostCtl !== 0n) this.writeHost(CTL, this.hostCtl);
  }

  /** `pt_save_msr()` */
  private save(values: Map<number, bigint>): void {
    for (const index of this.moved) values.set(index, this.readHost(index));
  }

  /** `pt_load_msr()` */
  private load(values: ReadonlyMap<number, bigint>): void {
    for (const index of this.moved) this.writeHost(index, values.get(index) ?? 0n);
  }

  private readHost(index: number): bigint {
    const { value } = this.cpu.core.msrs;
    this.cpu.rdmsr(index);
    return (BigInt(value[1]! >>> 0) << 32n) | BigInt(value[0]! >>> 0);
  }

  private writeHost(index: number, value: bigint): void {
    this.cpu.wrmsr(index, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
  }
}

function isPtMsr(index: number): boolean {
  if (index >= ADDRESSES && index < ADDRESSES + 2 * MOST_RANGES) return true;
  return index === CTL || index === OUTPUT_BASE || index === OUTPUT_MASK || index === STATUS || index === CR3_MATCH;
}

function has(leaf: PtLeaf | undefined, [register, bit]: Need): boolean {
  return leaf !== undefined && ((leaf[register] >>> bit) & 1) === 1;
}
