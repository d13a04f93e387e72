import type { CpuidEntry2 } from '../cpuid/entry.js';
import type { Overlay } from '../cpuid/features.js';
import type { VmTypeName } from '../kvm/abi.js';
import { ENTRY2_WORDS } from '../kvm/abi.js';
import { LINEAR_ADDRESS_WIDTHS } from '../kvm/check-cpuid.js';
import { ANY_INDEX, findEntry, putEntry } from '../kvm/cpuid-table.js';
import type { KvmModule, KvmOptions } from '../kvm/module.js';
import { AllowedTable } from '../kvm/paranoid/allowed-table.js';
import { Explainer, type Finding } from '../kvm/paranoid/findings.js';
import type { Policy } from '../kvm/policy.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import type { ProcessOptions } from '../linux/process.js';
import { bootKvm, type HostDescription, impliedByVmType, tdNotes, vmTypeNumber, withInputs } from './host.js';
import { type Errno, Vmm } from './vmm.js';

export interface CheckOptions extends Omit<KvmOptions, 'policy'> {
  /** Default: `paranoid`. */
  readonly policy?: Policy;
  /** Default: `default`. */
  readonly vmType?: VmTypeName;
  readonly process?: ProcessOptions;
}

/** What KVM_SET_CPUID2 says to one table, and why. */
export interface Verdict {
  readonly accepted: boolean;
  readonly errno: Errno;
  readonly policy: Policy;
  readonly overlay: Overlay;
  /** What the same kernel without the policy says. */
  readonly off: { readonly accepted: boolean; readonly errno: Errno };
  /** Every refusal, in the order of the table. */
  readonly findings: readonly Finding[];
  /** The nearest table that is accepted. */
  readonly acceptedTable: readonly CpuidEntry2[];
}

/** Judges tables on one host: boots it once, with the policy and without. */
export class Checker {
  readonly module: KvmModule;
  readonly host: HostDescription;
  readonly policy: Policy;
  private readonly off: KvmModule;
  private readonly vmType: VmTypeName;
  private readonly processOptions: ProcessOptions;
  private readonly explainer: Explainer;
  private readonly overlay: Overlay;

  /**
   * @throws KvmNotLoaded when KVM does not load on the host
   * @throws IoctlFailed when a VM of the type cannot be created there
   */
  constructor(description: HostDescription, options: CheckOptions = {}) {
    const { policy = 'paranoid', vmType = 'default', process = {}, ...kvmOptions } = options;
    const implied = impliedByVmType(description, vmType, options.tdxModule);
    this.policy = policy;
    this.vmType = vmType;
    this.processOptions = process;
    this.module = bootKvm(implied.host, { ...kvmOptions, ...implied.options, policy });
    this.host = withInputs(implied.host, {}, tdNotes(vmType, this.module));
    this.off = bootKvm(implied.host, { ...kvmOptions, ...implied.options, policy: 'off' });
    const vmm = new Vmm(this.module, process);
    vmm.createVm(vmTypeNumber(vmType));
    this.overlay = this.module.overlayOfVmType(vmTypeNumber(vmType))!;
    const allowedOptions = this.module.allowedOptions(this.overlay, vmm.process);
    this.explainer = new Explainer(new AllowedTable(allowedOptions), allowedOptions);
  }

  /** The verdict on one table. */
  check(entries: readonly CpuidEntry2[]): Verdict {
    const errno = this.set(this.module, entries);
    const off = this.set(this.off, entries);
    return {
      accepted: errno === 'OK',
      errno,
      policy: this.policy,
      overlay: this.overlay,
      off: { accepted: off === 'OK', errno: off },
      findings: errno === 'OK' ? [] : this.findings(entries),
      acceptedTable: this.nearest(entries),
    };
  }

  private set(module: KvmModule, entries: readonly CpuidEntry2[]): Errno {
    const vmm = new Vmm(module, this.processOptions, Math.min(entries.length, KVM_MAX_CPUID_ENTRIES + 1) + 8);
    return vmm.setCpuid2(vmm.createVcpu(vmm.prepareVm(vmTypeNumber(this.vmType))), entries);
  }

  private get verifies(): boolean {
    return this.policy === 'paranoid';
  }

  private findings(entries: readonly CpuidEntry2[]): Finding[] {
    if (entries.length > KVM_MAX_CPUID_ENTRIES) return [tooManyEntries(entries.length)];
    const found = this.verifies ? this.explainer.findings(entries) : [];
    const seen = new Set(found.map(({ entry, register }) => `${entry} ${register}`));
    const more = this.baseFindings(entries).filter(({ entry, register }) => !seen.has(`${entry} ${register}`));
    return [...found, ...more].sort((a, b) => a.entry - b.entry);
  }

  /** What every kernel refuses, whatever its policy (`kvm_check_cpuid()`). */
  private baseFindings(entries: readonly CpuidEntry2[]): Finding[] {
    const findings: Finding[] = [];
    const width = positionOf(entries, 0x8000_0008, ANY_INDEX);
    const sizes = entries[width];
    if (sizes && !LINEAR_ADDRESS_WIDTHS.includes((sizes.eax >>> 8) & 0xff)) {
      findings.push(
        baseFinding(
          width,
          sizes,
          0xff00,
          'address-width',
          `[15:8] in {${LINEAR_ADDRESS_WIDTHS}}`,
          'linear address width',
        ),
      );
    }
    const xsave = positionOf(entries, 0xd, 0);
    const components = entries[xsave];
    if (components && (components.eax & XTILE_DATA) !== 0 && !this.processOptions.guestPermissions?.includes(18)) {
      findings.push(
        baseFinding(
          xsave,
          components,
          XTILE_DATA,
          'no-permission',
          'without bit 18',
          'XTILEDATA needs ARCH_REQ_XCOMP_GUEST_PERM',
        ),
      );
    }
    return findings;
  }

  private nearest(entries: readonly CpuidEntry2[]): CpuidEntry2[] {
    const cut = entries.slice(0, KVM_MAX_CPUID_ENTRIES);
    const verified = this.verifies ? this.explainer.nearest(cut) : [...cut];
    return this.baseFindings(verified).reduce((table, finding) => {
      const entry = table[finding.entry]!;
      const eax =
        finding.bits[0]?.reason === 'address-width' ? withNearestWidth(entry.eax) : entry.eax & ~finding.offending;
      return table.with(finding.entry, { ...entry, eax: eax >>> 0 });
    }, verified);
  }
}

const XTILE_DATA = 1 << 18;

function positionOf(entries: readonly CpuidEntry2[], fn: number, index: number): number {
  const words = new Uint32Array(entries.length * ENTRY2_WORDS);
  for (const [position, entry] of entries.entries()) putEntry(words, position, entry);
  return Math.floor(findEntry(words, entries.length, fn, index) / ENTRY2_WORDS);
}

function withNearestWidth(eax: number): number {
  const width = (eax >>> 8) & 0xff;
  const nearest = LINEAR_ADDRESS_WIDTHS.reduce((best, item) =>
    Math.abs(item - width) < Math.abs(best - width) ? item : best,
  );
  return (eax & ~0xff00) | (nearest << 8);
}

function baseFinding(
  position: number,
  entry: CpuidEntry2,
  mask: number,
  reason: 'address-width' | 'no-permission',
  allowed: string,
  why: string,
): Finding {
  const offending = (entry.eax & mask) >>> 0;
  const name = reason === 'address-width' ? 'virt_addr_bits' : 'XTILEDATA';
  const set = [...Array(32).keys()].filter((bit) => (offending >>> bit) & 1);
  return {
    entry: position,
    function: entry.function,
    index: entry.index,
    register: 'eax',
    value: entry.eax,
    allowed,
    offending,
    rule: 'kvm_check_cpuid',
    bits: set.map((bit) => ({ bit, name, reason, clobbers: [] })),
    source: 'kvm_check_cpuid()',
    why,
  };
}

function tooManyEntries(count: number): Finding {
  return {
    entry: KVM_MAX_CPUID_ENTRIES,
    function: 0,
    index: 0,
    register: 'nent',
    value: count,
    allowed: `<=${KVM_MAX_CPUID_ENTRIES}`,
    offending: count,
    rule: 'nent',
    bits: [{ bit: 0, name: 'nent', reason: 'too-many-entries', clobbers: [] }],
    source: 'KVM_MAX_CPUID_ENTRIES',
    why: 'a table holds at most 256 entries',
  };
}
