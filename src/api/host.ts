import type { HostDump } from '../cpuid/dump.js';
import type { CpuidRow } from '../cpuid/entry.js';
import { featureNamed } from '../cpuid/features.js';
import type { OutOfRange } from '../emu/raw-cpuid.js';
import type { BuiltInHost } from '../hosts/index.js';
import { VM_TYPES, type VmTypeName } from '../kvm/abi.js';
import { loadKvm } from '../kvm/load.js';
import type { KvmModule, KvmOptions } from '../kvm/module.js';
import type { TdxModel } from '../kvm/td.js';
import { inputsOfCapture, msrsOfCapture, outOfRangeOfCapture } from '../linux/capture-inputs.js';
import { machineOf } from '../linux/host.js';
import { defaultInputs, type HostInputs } from '../linux/host-inputs.js';
import { HostKernel } from '../linux/host-kernel.js';
import { signature, vendorString } from '../linux/scope.js';
import { kvmAmd } from '../svm/svm.js';
import { resolveModel } from '../tdx/kvm-models.js';
import { withNativeBits } from '../tdx/module.js';
import { kvmIntel } from '../vmx/vmx.js';

/** Everything that is known of a host before it boots. */
export interface HostDescription {
  readonly name: string;
  /** The rows of each logical CPU. */
  readonly cpus: readonly (readonly CpuidRow[])[];
  readonly msrs: ReadonlyMap<number, bigint>;
  readonly outOfRange?: OutOfRange | undefined;
  readonly inputs: HostInputs;
  /** The platform can run TDs. */
  readonly tdxCapable: boolean;
  /** What was assumed or is odd about the host. */
  readonly notes: readonly string[];
}

/** Intel family 6 models whose server parts have a TDX module (5th generation and, in part, 4th; Xeon 6). */
const TDX_MODELS: readonly number[] = [0x8f, 0xcf, 0xad, 0xae, 0xaf];

const VENDORS_WITH_VMX: readonly string[] = ['GenuineIntel', 'CentaurHauls', '  Shanghai  '];
const VENDORS_WITH_SVM: readonly string[] = ['AuthenticAMD', 'HygonGenuine'];

/** Describes a built-in host. */
export function describeBuiltIn(host: BuiltInHost): HostDescription {
  const inputs = defaultInputs();
  const facts = new Map(host.microcode === undefined ? [] : [['microcode', host.microcode] as const]);
  return {
    name: host.name,
    cpus: [host.rows],
    msrs: host.msrs,
    inputs: { ...inputs, facts },
    tdxCapable: host.tdx,
    notes: [],
  };
}

/**
 * Describes the host of a dump. A capture brings its own inputs; for other dumps the defaults hold, and virtualization
 * counts as switched on even if the dump was taken with VMX or SVM disabled.
 *
 * @throws FormatError when a capture's kernel is none that is modelled
 */
export function describeDump(dump: HostDump, name: string): HostDescription {
  const cpus = sharedRows(dump);
  const rows = cpus[0] ?? [];
  const tdxCapable = isTdxModel(rows);
  const notes =
    cpus.length > 1
      ? [...dump.warnings, `the dump has ${cpus.length} CPUs; ${dump.cpus[0]!.label} answers unless another is chosen`]
      : dump.warnings;
  if (dump.document && dump.format === 'capture') {
    return {
      name,
      cpus,
      msrs: msrsOfCapture(dump.document),
      outOfRange: outOfRangeOfCapture(dump.document, rows),
      inputs: inputsOfCapture(dump.document),
      tdxCapable,
      notes,
    };
  }
  const assumed = assumedVirtualization(rows);
  const inputs = defaultInputs();
  return {
    name,
    cpus,
    msrs: dump.msrs ?? new Map(),
    inputs: assumed ? { ...inputs, flags: { set: [featureNamed(assumed)], clear: [] } } : inputs,
    tdxCapable,
    notes: assumed ? [...notes, `${assumed} is off in the dump and assumed to be on`] : notes,
  };
}

/** CPUs with equal rows share one array, so that they share their silicon too. */
function sharedRows(dump: HostDump): (readonly CpuidRow[])[] {
  const seen = new Map<string, readonly CpuidRow[]>();
  return dump.cpus.map(({ rows }) => {
    const key = rows.map((row) => [row.function, row.index, row.eax, row.ebx, row.ecx, row.edx].join()).join(' ');
    const known = seen.get(key);
    if (known) return known;
    seen.set(key, rows);
    return rows;
  });
}

const rowAt = (rows: readonly CpuidRow[], fn: number) => rows.find((row) => row.function === fn && row.index === 0);

function vendorOf(rows: readonly CpuidRow[]): string {
  const zero = rowAt(rows, 0);
  return zero ? vendorString(zero.ebx, zero.ecx, zero.edx) : '';
}

function isTdxModel(rows: readonly CpuidRow[]): boolean {
  const one = rowAt(rows, 1);
  if (!one || vendorOf(rows) !== 'GenuineIntel') return false;
  const { family, model } = signature(one.eax);
  return family === 6 && TDX_MODELS.includes(model);
}

/** The virtualization flag that the vendor's CPUs have and this dump lacks. */
function assumedVirtualization(rows: readonly CpuidRow[]): 'VMX' | 'SVM' | null {
  const vendor = vendorOf(rows);
  const has = (flag: 'VMX' | 'SVM') => {
    const { word, mask } = featureNamed(flag);
    return ((rowAt(rows, word.function)?.ecx ?? 0) & mask) !== 0;
  };
  if (VENDORS_WITH_VMX.includes(vendor) && !has('VMX')) return 'VMX';
  if (VENDORS_WITH_SVM.includes(vendor) && !has('SVM')) return 'SVM';
  return null;
}

/** Changes a host's inputs. */
export function withInputs(
  host: HostDescription,
  change: Partial<HostInputs>,
  notes: readonly string[] = [],
): HostDescription {
  return { ...host, inputs: { ...host.inputs, ...change }, notes: [...host.notes, ...notes] };
}

/**
 * What asking for a VM type implies about host and kernel, where the user did not say: a platform that can run TDs has
 * kvm_intel.tdx=1 and a module, and under a module of the future a CPU that has its features; SEV is enabled in the
 * firmware of a CPU that has it; CONFIG_KVM_SW_PROTECTED_VM=y.
 *
 * @throws RangeError for a TDX module that is not known
 */
export function impliedByVmType(
  described: HostDescription,
  type: VmTypeName,
  tdxModule?: TdxModel,
): { readonly host: HostDescription; readonly options: KvmOptions } {
  const host = type === 'tdx' ? withFutureCpu(described, tdxModule) : described;
  const { parameters, facts } = host.inputs;
  if (type === 'tdx' && host.tdxCapable && !parameters.has('kvm_intel.tdx')) {
    const change = {
      parameters: new Map(parameters).set('kvm_intel.tdx', 1),
      facts: new Map([['tdx_platform', 1], ...facts]),
    };
    return { host: withInputs(host, change, ['kvm_intel.tdx=1 and a TDX module are assumed']), options: {} };
  }
  if ((type === 'sev' || type === 'sev-es' || type === 'snp') && !facts.has('sev_bios_enabled')) {
    const change = { facts: new Map(facts).set('sev_bios_enabled', 1) };
    return { host: withInputs(host, change, ['SEV is assumed to be enabled in the firmware']), options: {} };
  }
  if (type === 'sw-protected') {
    return {
      host: withInputs(host, {}, ['CONFIG_KVM_SW_PROTECTED_VM=y is assumed']),
      options: { swProtectedVm: true },
    };
  }
  return { host, options: {} };
}

/** The host with CPUs that have what a TDX module of the future makes configurable; for other modules as it is. */
function withFutureCpu(host: HostDescription, tdxModule: TdxModel | undefined): HostDescription {
  const model = resolveModel(tdxModule);
  if (typeof model === 'string') return host;
  const changed = new Map(host.cpus.map((rows) => [rows, withNativeBits(rows, model)]));
  const cpus = host.cpus.map((rows) => changed.get(rows)!);
  const names = model.features.map(({ name }) => name).join(', ');
  return { ...host, cpus, notes: [...host.notes, `a CPU with ${names} is assumed, and a TDX module that allows it`] };
}

/** What is to be said about a kernel on which a VM of this type is to run. */
export function tdNotes(type: VmTypeName, { tdx, tdxRefusal, policy }: KvmModule): readonly string[] {
  if (type !== 'tdx') return [];
  if (!tdx) return tdxRefusal === null ? [] : [`no TDs: ${tdxRefusal}`];
  const counterfactual = 'a kernel that lets TDs have whatever the module allows: counterfactual';
  return [`TDX module ${tdx.moduleName}`, ...(policy === 'off' ? [counterfactual] : [])];
}

/** Builds the machine and boots its kernel; KVM is not loaded yet. */
export function bootKernel(host: HostDescription): HostKernel {
  return new HostKernel(machineOf(host.cpus, { outOfRange: host.outOfRange, msrs: host.msrs }), host.inputs);
}

/**
 * Boots a host and loads KVM.
 *
 * @throws KvmNotLoaded when no module is for the CPU or the module refuses
 */
export function bootKvm(host: HostDescription, options: KvmOptions = {}): KvmModule {
  return loadKvm(bootKernel(host), [kvmIntel, kvmAmd], options);
}

export const vmTypeNumber = (type: VmTypeName): number => VM_TYPES[type];
