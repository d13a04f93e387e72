import type { HostKernel } from '../linux/host-kernel.js';
import { Kvm } from './kvm.js';
import { KvmModule, type KvmOptions } from './module.js';
import type { VendorModule } from './vendor.js';

/** Why /dev/kvm is not there. */
export class KvmNotLoaded extends Error {
  override readonly name = 'KvmNotLoaded';
}

/**
 * Loads KVM: the first vendor module that matches the CPU, as `modprobe` would find it. On success /dev/kvm opens.
 *
 * @throws KvmNotLoaded when no module matches, or the one that does refuses to load
 */
export function loadKvm(kernel: HostKernel, vendors: readonly VendorModule[], options: KvmOptions = {}): KvmModule {
  const vendor = vendors.find((candidate) => candidate.matches(kernel));
  if (!vendor) throw new KvmNotLoaded('no kvm module is for this CPU: neither VMX nor SVM');
  const refusal = vendor.refuses(kernel);
  if (refusal !== null) throw new KvmNotLoaded(`${vendor.name.replace('_', '-')} does not load: ${refusal}`);
  const module = new KvmModule(kernel, vendor, options);
  for (const cpu of kernel.executing?.cpus ?? []) vendor.enable?.(cpu, kernel.inputs.kernel);
  kernel.devices.set('/dev/kvm', () => new Kvm(module));
  return module;
}
