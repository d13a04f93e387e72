import { featureNamed } from '../cpuid/features.js';
import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import { hasFlag } from '../linux/scope.js';
import type { Address } from '../linux/user-memory.js';
import { MSR_DATA, MSR_ENTRY_SIZE, MSRS_HEADER_SIZE } from './abi.js';
import { setApicBase } from './apic-base.js';
import { plus } from './get-cpuid.js';
import type { GuestRunner } from './guest-run.js';
import type { TdVcpu } from './td.js';
import type { VcpuCpuid } from './vcpu-cpuid.js';
import { MISC_ENABLE_MWAIT, type VcpuState } from './vcpu-state.js';
import type { Vm } from './vm.js';

/** What an MSR is read from and written to. */
interface MsrFile {
  readonly state: VcpuState;
  readonly cpuid: VcpuCpuid;
  readonly vm: Vm;
  /** Of a TD's vCPU: which MSRs KVM emulates. */
  readonly td?: TdVcpu | null;
  /** What the vendor module keeps, on a host that executes. */
  readonly vendorMsrs?: Pick<GuestRunner, 'readMsr' | 'writeMsr'> | null;
}

/**
 * One MSR, as userspace reads and writes it (`host_initiated`). `undefined` or `false`: the access is refused.
 * MSRs without a row are refused too, which is a limit of this simulator for those that KVM knows.
 */
interface MsrRow {
  readonly index: number;
  readonly name: string;
  /** It describes features: not to be changed after the first run (`kvm_is_immutable_feature_msr()`). */
  readonly describesFeatures?: boolean;
  /** What a guest's WRMSR does, where that differs from userspace's: it is #GP, or it changes nothing. */
  readonly guestWrite?: 'refused' | 'ignored';
  read(file: MsrFile): bigint | undefined;
  write(file: MsrFile, value: bigint): boolean;
}

/** As many as one ioctl takes. */
const MAX_IO_MSRS = 256;

export const PLATFORM_INFO_CPUID_FAULT = 1n << 31n;
const MISC_FEATURES_CPUID_FAULT = 1n;
export const TSX_CTRL_RTM_DISABLE = 1n;
export const TSX_CTRL_CPUID_CLEAR = 2n;
const ARCH_CAP_TSX_CTRL = 1n << 7n;
const MSR_ARCH_CAPABILITIES = 0x10a;
const MSR_XSS = 0xda0;

const XMM3 = featureNamed('XMM3');
const XSAVES = featureNamed('XSAVES');
const RTM = featureNamed('RTM');

const MSR_ROWS: readonly MsrRow[] = [
  {
    index: 0x1b,
    name: 'IA32_APIC_BASE',
    read: ({ state }) => state.apicBase,
    write: ({ state, cpuid }, value) => setApicBase(state, cpuid, value),
  },
  {
    index: 0x8b,
    name: 'IA32_BIOS_SIGN_ID',
    guestWrite: 'ignored',
    read: ({ state }) => state.microcodeVersion,
    write: ({ state }, value) => {
      state.microcodeVersion = value;
      return true;
    },
  },
  {
    index: 0xce,
    name: 'MSR_PLATFORM_INFO',
    guestWrite: 'refused',
    describesFeatures: true,
    read: ({ state }) => state.platformInfo,
    write: ({ state }, value) => {
      // CPUID faulting cannot go away while the guest uses it.
      if ((value & PLATFORM_INFO_CPUID_FAULT) === 0n && (state.miscFeaturesEnables & MISC_FEATURES_CPUID_FAULT) !== 0n)
        return false;
      state.platformInfo = value;
      return true;
    },
  },
  {
    index: 0x122,
    name: 'IA32_TSX_CTRL',
    read: readTsxCtrl,
    write: (file, value) => {
      if (!hasTsxCtrl(file.cpuid)) return false;
      if ((value & ~(TSX_CTRL_RTM_DISABLE | TSX_CTRL_CPUID_CLEAR)) !== 0n) return false;
      file.state.tsxCtrl = value;
      return true;
    },
  },
  {
    index: 0x140,
    name: 'MSR_MISC_FEATURES_ENABLES',
    read: ({ state }) => state.miscFeaturesEnables,
    write: ({ state }, value) => {
      if ((value & ~MISC_FEATURES_CPUID_FAULT) !== 0n) return false;
      if (value !== 0n && (state.platformInfo & PLATFORM_INFO_CPUID_FAULT) === 0n) return false;
      state.miscFeaturesEnables = value;
      return true;
    },
  },
  {
    index: 0x1a0,
    name: 'IA32_MISC_ENABLE',
    read: ({ state }) => state.miscEnable,
    write: writeMiscEnable,
  },
  {
    index: 0xda0,
    name: 'IA32_XSS',
    read: ({ state, cpuid }) => (isXssThere(cpuid) || isXssAdvertised(cpuid) ? BigInt(state.xss) : undefined),
    write: writeXss,
  },
];

const rows = new Map(MSR_ROWS.map((row) => [row.index, row]));

function writeMiscEnable({ state, cpuid }: MsrFile, value: bigint): boolean {
  const follows = cpuid.mwaitFollowsMiscEnable && ((state.miscEnable ^ value) & MISC_ENABLE_MWAIT) !== 0n;
  if (follows && !cpuid.guestCaps.has(XMM3)) return false;
  state.miscEnable = value;
  if (follows) cpuid.stateChanged();
  return true;
}

/** Since 6.18 the MSR is only there for a guest whose table has XSAVES. */
function isXssThere(cpuid: VcpuCpuid): boolean {
  return !cpuid.caps.scope.parameters.xssFollowsGuest || cpuid.guestCaps.tableHas(XSAVES);
}

/** KVM_GET_MSR_INDEX_LIST has it. Userspace may then read it and write 0, there or not (`kvm_do_msr_access()`). */
function isXssAdvertised(cpuid: VcpuCpuid): boolean {
  return cpuid.caps.supportedXss !== 0;
}

function writeXss({ state, cpuid }: MsrFile, value: bigint): boolean {
  if (!isXssThere(cpuid)) return value === 0n && isXssAdvertised(cpuid);
  const { parameters } = cpuid.caps.scope;
  const supported = parameters.xssFollowsGuest ? cpuid.guestCaps.supportedXss : cpuid.caps.supportedXss;
  if ((value & ~BigInt(supported)) !== 0n) return false;
  const xss = Number(value);
  if (state.xss === xss) return true;
  state.xss = xss;
  cpuid.stateChanged();
  return true;
}

/** Intel hosts with TSX keep a guest value of IA32_TSX_CTRL. */
function hasTsxCtrl({ caps }: VcpuCpuid): boolean {
  const { scope } = caps;
  const capabilities = scope.cpu.msrs.get(MSR_ARCH_CAPABILITIES) ?? 0n;
  return (
    scope.variables.get('vendor') === 'intel' && hasFlag(scope, 'RTM') && (capabilities & ARCH_CAP_TSX_CTRL) !== 0n
  );
}

function readTsxCtrl({ state, cpuid }: MsrFile): bigint | undefined {
  if (!hasTsxCtrl(cpuid)) return undefined;
  return state.tsxCtrl ?? (cpuid.guestCaps.tableHas(RTM) ? 0n : TSX_CTRL_RTM_DISABLE);
}

/** Whether HLE and RTM are hidden from the guest's CPUID by IA32_TSX_CTRL. */
export function isTsxHidden(file: MsrFile): boolean {
  return ((readTsxCtrl(file) ?? 0n) & TSX_CTRL_CPUID_CLEAR) !== 0n;
}

function read(file: MsrFile, index: number): bigint | undefined {
  if (file.td && !file.td.emulatesMsr(index, false)) return undefined;
  const row = rows.get(index);
  return row ? row.read(file) : readVendor(file, index);
}

const half = new Int32Array(2);

function readVendor({ vendorMsrs }: MsrFile, index: number): bigint | undefined {
  if (!vendorMsrs?.readMsr(index, half)) return undefined;
  return (BigInt(half[1]! >>> 0) << 32n) | BigInt(half[0]! >>> 0);
}

/** RDMSR of a guest, of an MSR that common code keeps; `undefined`: #GP. */
export function guestReadMsr(file: MsrFile, index: number): bigint | undefined {
  if (index === MSR_XSS && !isXssThere(file.cpuid)) return undefined;
  return rows.get(index)?.read(file);
}

/** WRMSR of a guest, likewise. @returns whether it is taken; otherwise #GP */
export function guestWriteMsr(file: MsrFile, index: number, value: bigint): boolean {
  const row = rows.get(index);
  if (!row || row.guestWrite === 'refused') return false;
  if (index === MSR_XSS && !isXssThere(file.cpuid)) return false;
  return row.guestWrite === 'ignored' || row.write(file, value);
}

/** `do_set_msr()` */
function write(file: MsrFile, index: number, value: bigint): boolean {
  if (file.td && !file.td.emulatesMsr(index, true)) return false;
  const row = rows.get(index);
  if (!row)
    return (
      file.vendorMsrs?.writeMsr(index, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))) ===
      true
    );
  const { hasRun, caps } = file.cpuid;
  if (row.describesFeatures && hasRun && caps.scope.parameters.featureMsrsFreeze) return row.read(file) === value;
  return row.write(file, value);
}

/**
 * The array of an MSR ioctl (`msr_io()`).
 *
 * @returns its offset in the process's memory, past the header; -EFAULT when header or entries cannot be read; -E2BIG
 *   for 256 entries or more
 */
function entriesOf(process: Process, argument: Address): { at: number; count: number } | number {
  const { memory } = process;
  const header = memory.readable(argument, MSRS_HEADER_SIZE);
  if (header < 0) return -ERRNO.EFAULT;
  const count = memory.view.getUint32(header, true);
  if (count >= MAX_IO_MSRS) return -ERRNO.E2BIG;
  const at = count === 0 ? 0 : memory.readable(plus(argument, MSRS_HEADER_SIZE), count * MSR_ENTRY_SIZE);
  return at < 0 ? -ERRNO.EFAULT : { at, count };
}

/**
 * KVM_GET_MSRS.
 *
 * @returns how many were read, up to the first that is refused; what {@link entriesOf} says; -EFAULT when the entries
 *   cannot be written back
 */
export function getMsrs(file: MsrFile, process: Process, argument: Address): number {
  const entries = entriesOf(process, argument);
  if (typeof entries === 'number') return entries;
  const { memory } = process;
  const copy = memory.bytes.slice(entries.at, entries.at + entries.count * MSR_ENTRY_SIZE);
  const view = new DataView(copy.buffer);
  let done = 0;
  for (; done < entries.count; done++) {
    const value = read(file, view.getUint32(done * MSR_ENTRY_SIZE, true));
    if (value === undefined) break;
    view.setBigUint64(done * MSR_ENTRY_SIZE + MSR_DATA, value, true);
  }
  return memory.copyOut(plus(argument, MSRS_HEADER_SIZE), copy) ? done : -ERRNO.EFAULT;
}

/**
 * KVM_SET_MSRS.
 *
 * @returns how many were written, up to the first that is refused; what {@link entriesOf} says
 */
export function setMsrs(file: MsrFile, process: Process, argument: Address): number {
  const entries = entriesOf(process, argument);
  if (typeof entries === 'number') return entries;
  const { view } = process.memory;
  let done = 0;
  for (; done < entries.count; done++) {
    const at = entries.at + done * MSR_ENTRY_SIZE;
    if (!write(file, view.getUint32(at, true), view.getBigUint64(at + MSR_DATA, true))) break;
  }
  return done;
}
