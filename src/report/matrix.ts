import type { CpuidEntry2, Register } from '../cpuid/entry.js';
import {
  Checker,
  type CheckOptions,
  type Errno,
  type Finding,
  type HostDescription,
  type PayloadTable,
  type RefusedBit,
  VM_TYPES,
  Vmm,
  type VmTypeName,
} from '../index.js';
import { vendorString } from '../linux/scope.js';
import { Attribution, type Cause } from './matrix-changes.js';
import { filterAsQemu, type QemuHost } from './matrix-qemu.js';
import { refusedRanges } from './verdict.js';

/** A table that some VMM would pass to KVM_SET_CPUID2: a CPU model, a variant, a fingerprint. */
export interface Model {
  readonly name: string;
  /** Where it was read: `FILE#path`. */
  readonly source: string;
  /** One per vCPU. */
  readonly tables: readonly PayloadTable[];
}

/**
 * What happens to a table before it is judged: nothing, or what QEMU takes away from its models on a real host
 * (`matrix-qemu.ts`).
 */
export const FILTERS = ['none', 'qemu'] as const;
export type Filter = (typeof FILTERS)[number];

/** Something refused: a bit, a run of bits refused alike, or a multi-bit field. */
export interface Refusal {
  /** In SDM notation; the same for the same thing in every table. */
  readonly place: string;
  readonly function: number;
  readonly index: number;
  readonly register: Register | 'nent';
  readonly high: number;
  readonly low: number;
  readonly name: string | null;
  readonly reason: RefusedBit['reason'];
  readonly clobbers: readonly string[];
  /** The bits that are refused, as a mask. */
  readonly mask: number;
}

/** One thing to change in the VMM, and the refusals that go away with it. */
export interface Change {
  readonly cause: Cause;
  readonly refusals: readonly Refusal[];
}

/** A model on a host. */
export interface Cell {
  readonly model: Model;
  readonly column: Column;
  readonly errno: Errno;
  /** What the same kernel says without the policy. */
  readonly off: Errno;
  readonly refusals: readonly Refusal[];
  /** The smallest set of changes after which the table is accepted: each refusal in exactly one of them. */
  readonly changes: readonly Change[];
}

export interface ColumnOptions extends Omit<CheckOptions, 'vmType'> {
  readonly vmType: VmTypeName;
  readonly filter: Filter;
}

const XTILE_DATA = 18;

/** A host and a VM type: one booted kernel that judges models. */
export class Column {
  readonly host: HostDescription;
  readonly vmType: VmTypeName;
  /** As leaf 0 spells it. */
  readonly vendor: string;
  private readonly checker: Checker;
  private readonly checkerWithAmx: Checker;
  private readonly qemu: QemuHost | null;

  /**
   * @throws KvmNotLoaded when KVM does not load on the host
   * @throws IoctlFailed when a VM of the type cannot be created there
   */
  constructor(description: HostDescription, { vmType, filter, ...options }: ColumnOptions) {
    const process = options.process ?? {};
    const guestPermissions = [...new Set([...(process.guestPermissions ?? []), XTILE_DATA])];
    this.checker = new Checker(description, { ...options, vmType });
    this.checkerWithAmx = new Checker(description, { ...options, vmType, process: { ...process, guestPermissions } });
    this.host = this.checker.host;
    this.vmType = vmType;
    const raw = this.host.cpus[process.cpu ?? 0] ?? [];
    this.vendor = vendorOf(raw);
    this.qemu =
      filter === 'none'
        ? null
        : { raw, supported: new Vmm(this.checker.module, { ...process, guestPermissions }).supported().entries };
  }

  /** Host and, where it is not the default, VM type. */
  get name(): string {
    return this.vmType === 'default' ? this.host.name : `${this.host.name} ${this.vmType}`;
  }

  get overlay(): string {
    return this.checker.module.overlayOfVmType(VM_TYPES[this.vmType]) ?? '';
  }

  /** The verdict on a model: on all its vCPUs at once. */
  judge(model: Model): Cell {
    const refusals = new Map<string, Refusal>();
    const changes = new Map<string, { cause: Cause; refusals: Map<string, Refusal> }>();
    let [errno, off]: Errno[] = ['OK', 'OK'];
    for (const table of model.tables) {
      const { entries, checker } = this.tableOf(table.entries);
      const verdict = checker.check(entries);
      if (errno === 'OK') errno = verdict.errno;
      if (off === 'OK') off = verdict.off.errno;
      const found = verdict.findings.flatMap(refusalsOf);
      const attribution = new Attribution(entries, found);
      for (const refusal of found) {
        const key = `${refusal.place} ${refusal.reason}`;
        refusals.set(key, merged(refusals.get(key), refusal));
        const cause = attribution.causeOf(refusal);
        const change = changes.get(cause.text) ?? { cause, refusals: new Map() };
        change.refusals.set(key, merged(change.refusals.get(key), refusal));
        changes.set(cause.text, change);
      }
    }
    return {
      model,
      column: this,
      errno: errno!,
      off: off!,
      refusals: [...refusals.values()],
      changes: [...changes.values()].map((change) => ({
        cause: change.cause,
        refusals: [...change.refusals.values()],
      })),
    };
  }

  /** The table that would really be passed, and the process that passes it. */
  tableOf(entries: readonly CpuidEntry2[]): { readonly entries: readonly CpuidEntry2[]; readonly checker: Checker } {
    if (!this.qemu) return { entries, checker: this.checker };
    const filtered = filterAsQemu(entries, this.qemu);
    return { entries: filtered.entries, checker: filtered.mayUseAmx ? this.checkerWithAmx : this.checker };
  }
}

const merged = (known: Refusal | undefined, refusal: Refusal): Refusal =>
  known ? { ...known, mask: (known.mask | refusal.mask) >>> 0 } : refusal;

/** The refusals of one finding. */
export function refusalsOf(finding: Finding): Refusal[] {
  const { function: fn, index, register, offending } = finding;
  if (register === 'nent') {
    const { name, reason } = finding.bits[0]!;
    const nothing = { function: fn, index, register, high: 0, low: 0, clobbers: [], mask: 1 };
    return [{ ...nothing, place: 'nent', name, reason }];
  }
  return refusedRanges(finding).map(({ high, low, place, bits: { name, reason, clobbers } }) => {
    const mask = (offending & ((0xffff_ffff >>> (31 - high)) & (-1 << low))) >>> 0;
    return { place, function: fn, index, register, high, low, name, reason, clobbers, mask };
  });
}

/** How many bits refusals name. */
export function bitsOf(refusals: readonly Refusal[]): number {
  let count = 0;
  for (const { mask } of refusals) for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** The vendor string of leaf 0; empty when there is none. */
export function vendorOf(rows: readonly { function: number; ebx: number; ecx: number; edx: number }[]): string {
  const zero = rows.find((row) => row.function === 0);
  return zero ? vendorString(zero.ebx, zero.ecx, zero.edx) : '';
}

export const vendorOfModel = (model: Model): string => vendorOf(model.tables[0]?.entries ?? []);

/** Whether a model is for CPUs of this vendor; one that names no vendor is for all. */
export function isForVendor(model: Model, vendor: string): boolean {
  const own = vendorOfModel(model);
  return own === '' || own === vendor;
}
