/**
 * The public API: describe a host, boot it with KVM, ask. Everything is synchronous and pure; nothing here reads files.
 *
 * ```ts
 * import { builtInHost, Checker, describeBuiltIn } from 'kvm-cpuid';
 *
 * const checker = new Checker(describeBuiltIn(builtInHost('sapphire-rapids')!), { policy: 'paranoid' });
 * const verdict = checker.check(entries);
 * ```
 */
export { Checker, type CheckOptions, type Verdict } from './api/check.js';
export {
  bootKernel,
  bootKvm,
  describeBuiltIn,
  describeDump,
  type HostDescription,
  impliedByVmType,
  tdNotes,
  withInputs,
} from './api/host.js';
export { applyHostFile } from './api/host-file.js';
export { hostConfiguration, mergeTdCpuid, minimalConfiguration, type TdConfiguration } from './api/td.js';
export {
  type CreatedTd,
  type Errno,
  IoctlFailed,
  type TableAnswer,
  type TdRefusal,
  type TdStep,
  type TdxAnswer,
  type TdxCapabilities,
  Vmm,
} from './api/vmm.js';
export type { FormatName, HostDump, Payload, PayloadTable } from './cpuid/dump.js';
export {
  type CpuidEntry2,
  type CpuidRow,
  formatEntry,
  hex8,
  KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
  sdmName,
} from './cpuid/entry.js';
export { FormatError } from './cpuid/errors.js';
export {
  parseEntry,
  readHost,
  readPayload,
  writeCpuidR,
  writeKvmCpuid2,
  writeLibvirt,
  writePayload,
} from './cpuid/formats/index.js';
export { KERNEL_LINES, type KernelLine } from './cpuid/kernel-line.js';
export { type BuiltInHost, builtInHost, builtInHosts } from './hosts/index.js';
export { VM_TYPES, type VmTypeName } from './kvm/abi.js';
export { KvmNotLoaded, loadKvm } from './kvm/load.js';
export type { KvmModule, KvmOptions } from './kvm/module.js';
export type { Finding, Reason, RefusedBit } from './kvm/paranoid/findings.js';
export {
  DEFECTS,
  type Defect,
  PLACEMENTS,
  type Placement,
  POLICIES,
  type Policy,
  type Reserved,
} from './kvm/policy.js';
export { ERRNO, type ErrnoName, errnoName } from './linux/errno.js';
export type { HostCpu } from './linux/host-cpu.js';
export type { HostInputs } from './linux/host-inputs.js';
export { HostKernel } from './linux/host-kernel.js';
export { HostMachine, type HostMachineOptions } from './linux/host-machine.js';
export { diffHostState, type HostChange, type HostState, hostState } from './linux/host-state.js';
export { Process, type ProcessOptions } from './linux/process.js';
export type { LoggedEvent, Program, ProgramOptions, ProgramResult } from './linux/programs.js';
export { TDX_MODULE_NAMES } from './tdx/kvm-models.js';
