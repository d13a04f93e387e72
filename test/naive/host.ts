// A host as KVM sees it after its modules are loaded, from its CPUID table and what the table does not say.
import { bootBugs, bootKernel, bootScope, hostXstate } from './boot.js';
import { rawCpuid } from './cpuid.js';
import type { Value } from './expression.js';
import { bootInputs, kvmInputs, type Vendor, vendorOf } from './inputs.js';
import { type NaiveHost, runPrograms, vendorModuleOf } from './kvm.js';
import { parametersOf } from './reference.js';

export { inputsFromCapture } from './capture.js';
export type { NaiveHost } from './kvm.js';
export { naiveEmulated, naiveSupported } from './supported.js';

export interface NaiveOptions {
  rows: readonly (readonly number[])[];
  kernel?: string;
  cmdline?: string;
  /** Overrides of any input or derived input by the name the reference files use. */
  vars?: Record<string, Value>;
  /** Kernel flags forced by name after everything else, without their dependents. */
  flagsSet?: string[];
  flagsClear?: string[];
  bugs?: Record<string, 0 | 1>;
  guestPermAmx?: boolean;
}

export function naiveHost(options: NaiveOptions): NaiveHost {
  const kernel = options.kernel ?? '7.3';
  const cmdline = options.cmdline ?? '';
  const overrides = options.vars ?? {};
  const parameters = parametersOf(kernel);

  const vendorBeforeRange = vendorOf(rawCpuid(options.rows, 'zero').inRange(0, 0));
  const range = overrides.out_of_range ?? (vendorBeforeRange === 'intel' ? 'basic' : 'zero');
  if (range !== 'basic' && range !== 'zero') throw new Error(`out_of_range is '${range}'`);
  const raw = rawCpuid(options.rows, range);

  const inputs = bootInputs(raw, kernel, cmdline, overrides);
  const boot = bootKernel(raw, inputs, {
    kernel,
    cmdline,
    flagsSet: options.flagsSet ?? [],
    flagsClear: options.flagsClear ?? [],
  });
  const bugs = { ...bootBugs(bootScope(raw, cmdline, inputs, boot.has)), ...options.bugs };
  const xstate = hostXstate(raw, kernel, boot);
  const vendor = inputs.vendor as Vendor;

  const host: NaiveHost = {
    kernel,
    parameters,
    raw,
    vendor,
    vendorModule: vendorModuleOf(raw, vendor),
    boot,
    bugs,
    ...xstate,
    vars: {
      ...inputs,
      ...kvmInputs(raw, inputs, xstate, boot.has),
      max_basic_leaf: Number(parameters.max_basic_leaf),
      max_extended_leaf: Number(parameters.max_extended_leaf),
      max_centaur_leaf: Number(parameters.max_centaur_leaf),
      sgx_attr_mask: Number(parameters.sgx_attr_mask),
      ...overrides,
    },
    caps: {},
    guestPermAmx: options.guestPermAmx ?? false,
  };
  if (host.vendorModule !== null) runPrograms(host, host.vendorModule, overrides);
  return host;
}
