import type { KvmModule } from '../kvm/module.js';
import type { TdVm, TdxModel, TdxSupport } from '../kvm/td.js';
import type { Vm } from '../kvm/vm.js';
import { resolveModel } from './kvm-models.js';
import { configPolicy } from './kvm-policy.js';
import { supportedAttributes, supportedXfam } from './kvm-support.js';
import { KvmTd } from './kvm-vm.js';
import { TdxModule } from './module.js';
import type { TdxError } from './params.js';

/**
 * `tdx_bringup()`: initialises the host's TDX module and looks whether KVM and it fit together.
 *
 * @returns KVM's TDX half, or a sentence that says why there is none
 * @throws RangeError for a module name that is not known
 */
export function bringUpTdx(kvm: KvmModule, model: TdxModel | undefined): TdxSupport | string {
  const { bootCpu } = kvm.kernel.machine;
  const initialised = TdxModule.init(bootCpu.cpuid, (index) => bootCpu.msrs.get(index), resolveModel(model));
  if (!initialised.ok) return `TDH.SYS.INIT fails with ${describe(initialised.error)}`;
  const module = initialised.value;
  if (supportedAttributes(module) === 0n) return 'the TDX module insists on attributes that KVM does not support';
  if (supportedXfam(kvm, module) === 0n) return 'the TDX module insists on XFAM bits that KVM does not support';
  return new KvmTdx(kvm, module);
}

function describe({ name, leaf, bits }: TdxError): string {
  if (leaf === null) return name;
  const place = `CPUID.(EAX=${leaf.leaf.toString(16).toUpperCase()}H${leaf.subleaf === null ? '' : `,ECX=${leaf.subleaf}`})`;
  const registers = bits.map(({ register, mask }) => `${register.toUpperCase()} ${(mask >>> 0).toString(16)}`);
  return `${name}: ${place} ${registers.join(', ')}`.trim();
}

/** KVM's TDX half over an initialised module. */
export class KvmTdx implements TdxSupport {
  readonly kvm: KvmModule;
  readonly module: TdxModule;

  constructor(kvm: KvmModule, module: TdxModule) {
    this.kvm = kvm;
    this.module = module;
  }

  get moduleName(): string {
    return this.module.name;
  }

  createVm(vm: Vm): TdVm {
    return new KvmTd(vm, this.kvm, this.module, configPolicy(this.kvm, vm));
  }
}
