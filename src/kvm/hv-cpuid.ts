import { type CpuidEntry2, REGISTERS } from '../cpuid/entry.js';
import { compileExpression, type Dialect, type Evaluate, type Expression } from '../cpuid/expression.js';
import { type KernelLine, onLine } from '../cpuid/kernel-line.js';
import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import { CPUID2_HEADER_SIZE, KVM_CAP_MAX_VCPUS } from './abi.js';
import { checkExtension } from './capabilities.js';
import { dialectOf } from './caps.js';
import { copyOutList } from './get-cpuid.js';
import { EVMCS_VERSION, HV_LEAF_ROWS, SMT_POSSIBLE } from './hv-cpuid-rows.js';
import type { KvmModule } from './module.js';
import type { KvmScope } from './scope.js';
import type { Vcpu } from './vcpu.js';
import type { VendorModule } from './vendor.js';

interface HvScope extends KvmScope {
  readonly module: KvmModule;
  readonly process: Process;
  readonly vcpu: Vcpu | null;
}

interface CompiledLeaf {
  readonly function: number;
  readonly rules: readonly (Expression<HvScope> | null)[];
}

const compiled = new Map<string, readonly CompiledLeaf[]>();

function leavesOf(vendor: VendorModule, line: KernelLine): readonly CompiledLeaf[] {
  const key = `${vendor.name} ${line}`;
  const known = compiled.get(key);
  if (known) return known;
  const dialect = hvDialect(vendor, line);
  const leaves = HV_LEAF_ROWS.map((row) => ({
    function: row.function,
    rules: REGISTERS.map((register) => {
      const rule = row[register];
      const text = typeof rule === 'object' ? onLine(rule, line) : rule;
      return text === undefined || text === null ? null : compileExpression<HvScope>(text, dialect);
    }),
  }));
  compiled.set(key, leaves);
  return leaves;
}

function hvDialect(vendor: VendorModule, line: KernelLine): Dialect<HvScope> {
  const inner = dialectOf(vendor);
  const names: Record<string, Evaluate<HvScope>> = {
    is_vmx: ({ module }) => (module.vendor.name === 'kvm_intel' ? 1 : 0),
    is_vcpu: ({ vcpu }) => (vcpu ? 1 : 0),
    lapic_in_kernel: ({ vcpu }) => (!vcpu || vcpu.vm.irqchipInKernel ? 1 : 0),
    online_cpus: ({ kernel }) => kernel.machine.cpus.length,
    max_vcpus: ({ module, process }) => checkExtension(module, null, process, KVM_CAP_MAX_VCPUS),
  };
  const dialect: Dialect<HvScope> = {
    variable: (name) => names[name] ?? inner.variable(name),
    // The calls take a KvmScope, which an HvScope is.
    call: inner.call as Dialect<HvScope>['call'],
  };
  names.smt_possible = compileExpression(onLine(SMT_POSSIBLE, line)!, dialect).number;
  names.evmcs_version = compileExpression(EVMCS_VERSION, dialect).number;
  return dialect;
}

function hvEntries(module: KvmModule, vcpu: Vcpu | null, process: Process): readonly CpuidEntry2[] {
  const { scope, words } = module.caps(vcpu?.vm.overlay ?? module.defaultOverlay);
  const hvScope: HvScope = { ...scope, caps: words, module, process, vcpu };
  return leavesOf(module.vendor, scope.line).map(({ function: fn, rules }) => {
    const [eax = 0, ebx = 0, ecx = 0, edx = 0] = rules.map((rule) => rule?.number(hvScope) ?? 0);
    return { function: fn, index: 0, flags: 0, eax, ebx, ecx, edx };
  });
}

/**
 * KVM_GET_SUPPORTED_HV_CPUID on /dev/kvm (`vcpu` null) or on a vCPU (`kvm_ioctl_get_supported_hv_cpuid()`).
 *
 * @returns 0; -EFAULT when the header cannot be read or the result not be written; -E2BIG when `nent` is too small,
 *   which is not reported then
 */
export function getSupportedHvCpuid(module: KvmModule, vcpu: Vcpu | null, process: Process, argument: Address): number {
  const { memory } = process;
  const header = memory.readable(argument, CPUID2_HEADER_SIZE);
  if (header < 0) return -ERRNO.EFAULT;
  const entries = hvEntries(module, vcpu, process);
  if (memory.view.getUint32(header, true) < entries.length) return -ERRNO.E2BIG;
  return copyOutList(process, argument, header, entries);
}
