import { compileExpression, type Expression } from '../cpuid/expression.js';
import { type KernelLine, onLine } from '../cpuid/kernel-line.js';
import type { Process } from '../linux/process.js';
import { VM_TYPES } from './abi.js';
import { CAPABILITY_ROWS } from './capability-rows.js';
import { dialectOf } from './caps.js';
import type { KvmModule } from './module.js';
import type { KvmScope } from './scope.js';
import { permittedXcr0 } from './supported.js';
import type { VendorModule } from './vendor.js';
import type { Vm } from './vm.js';

interface CapabilityScope extends KvmScope {
  readonly module: KvmModule;
  readonly vm: Vm | null;
  readonly process: Process;
}

/** Names that only capability rows use. */
const NAMES: Readonly<Record<string, (scope: CapabilityScope) => number>> = {
  is_vm: (scope) => (scope.vm ? 1 : 0),
  is_vmx: (scope) => (scope.module.vendor.name === 'kvm_intel' ? 1 : 0),
  is_td: (scope) => (scope.vm?.td ? 1 : 0),
  td_max_vcpus: (scope) => scope.vm?.td?.maxVcpus ?? 0,
  split_irqchip: (scope) => (scope.vm?.splitIrqchip ? 1 : 0),
  online_cpus: (scope) => scope.kernel.machine.cpus.length,
  vm_types: ({ module }) =>
    Object.values(VM_TYPES).reduce<number>(
      (mask, type) => (module.overlayOfVmType(type) ? mask | (1 << type) : mask),
      0,
    ),
  permitted_xsave_size: ({ module, process, vm }) => {
    const caps = module.caps(module.decidingOverlay(vm?.overlay ?? module.defaultOverlay));
    const layout = module.layout(module.kernel.machine.cpus[process.cpu]!);
    return layout.size(permittedXcr0(caps, process.guestPermissions), false);
  },
  // Header of 128 bytes, then the VMCB page or the two pages of VMCS12 and its shadow.
  nested_state_size: (scope) => 128 + 4096 * scope.module.vendor.nestedStatePages,
};

const compiled = new Map<string, ReadonlyMap<number, Expression<CapabilityScope>>>();

function rowsOf(vendor: VendorModule, line: KernelLine): ReadonlyMap<number, Expression<CapabilityScope>> {
  const key = `${vendor.name} ${line}`;
  const known = compiled.get(key);
  if (known) return known;
  const inner = dialectOf(vendor);
  const dialect = {
    variable: (name: string) => NAMES[name] ?? inner.variable(name),
    call: inner.call as never,
  };
  const rows = new Map<number, Expression<CapabilityScope>>();
  for (const [number, , value] of CAPABILITY_ROWS) {
    const text = typeof value === 'string' ? value : onLine(value, line);
    if (text !== null) rows.set(number, compileExpression<CapabilityScope>(text, dialect));
  }
  compiled.set(key, rows);
  return rows;
}

/**
 * KVM_CHECK_EXTENSION, on /dev/kvm (`vm` null) or on a VM. Returns 0 for what it does not know; never fails.
 */
export function checkExtension(module: KvmModule, vm: Vm | null, process: Process, number: number): number {
  if (number === module.paranoidCapability) return module.policy === 'paranoid' ? 1 : 0;
  const { scope, words } = module.caps(module.decidingOverlay(vm?.overlay ?? module.defaultOverlay));
  const row = rowsOf(module.vendor, scope.line).get(number);
  return row ? row.number({ ...scope, caps: words, module, vm, process }) : 0;
}
