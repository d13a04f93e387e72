import { describe, expect, test } from 'vitest';
import {
  bootKvm,
  type HostDescription,
  IoctlFailed,
  impliedByVmType,
  KERNEL_LINES,
  type KvmOptions,
  TDX_MODULE_NAMES,
  tdNotes,
  VM_TYPES,
  Vmm,
  withInputs,
} from '../../src/index.js';
import { FUTURE_MODULES, TDX_MODULE_VERSIONS } from '../../src/tdx/module.js';
import { hostNamed } from '../support/platforms.js';
import { entry, tdxHosts, WIDTH_48 } from './kvm-caller.js';

/** Which TDX module a host has, and what becomes of KVM's TDX half when it does not initialise. */

const HOST = tdxHosts[0]!;

function boot(host: HostDescription, options: KvmOptions = {}) {
  const implied = impliedByVmType(host, 'tdx', options.tdxModule);
  return bootKvm(implied.host, { ...implied.options, ...options });
}

/** A host on which somebody insists on TDs. */
const insisting = (host: HostDescription): HostDescription =>
  withInputs(host, {
    parameters: new Map([['kvm_intel.tdx', 1]]),
    facts: new Map([['tdx_platform', 1]]),
  });

describe('the module', () => {
  test('is the newest published one unless another is named', () => {
    expect(boot(HOST).tdx!.moduleName).toBe(TDX_MODULE_VERSIONS.at(-1));
    const names = TDX_MODULE_NAMES.map((tdxModule) => boot(HOST, { tdxModule }).tdx!.moduleName);
    expect(names).toEqual([...TDX_MODULE_NAMES]);
    expect(names.slice(0, TDX_MODULE_VERSIONS.length)).toEqual([...TDX_MODULE_VERSIONS]);
  });

  test('may be described instead of named', () => {
    const [future] = FUTURE_MODULES;
    expect(boot(HOST, { tdxModule: { ...future!, name: 'mine' } }).tdx!.moduleName).toBe('mine');
  });

  test('a name that nobody knows is an error that says which there are', () => {
    expect(() => boot(HOST, { tdxModule: '3.0' })).toThrow(
      /^no TDX module is called 3\.0: expected one of 1\.5\.01, .*unknown-bit$/,
    );
  });

  test('of the future comes with a CPU that has its features', () => {
    const native = (host: HostDescription) => host.cpus[0]!.find((row) => row.function === 7 && row.index === 1)!.eax;
    const { host } = impliedByVmType(HOST, 'tdx', 'fred-a');
    expect([(native(HOST) >>> 17) & 3, (native(host) >>> 17) & 3]).toEqual([0, 3]);
    expect(host.notes[0]).toBe('a CPU with FRED, LKGS is assumed, and a TDX module that allows it');
    expect(impliedByVmType(HOST, 'default', 'fred-a').host.cpus).toBe(HOST.cpus);
  });

  test('a bit that has no name is refused without one', () => {
    const vmm = new Vmm(boot(HOST, { policy: 'paranoid', tdxModule: 'unknown-bit' }));
    const vm = vmm.createVm(VM_TYPES.tdx);
    const wanted = entry(7, 1, { flags: 1, edx: 1 << 20 });
    expect(vmm.tdxInitVm(vm, { cpuid: [WIDTH_48, wanted] }).errno).toBe('EINVAL');
    expect(vmm.tdRefusal(vm)!.findings[0]!.bits).toEqual([{ bit: 20, name: null, reason: 'unknown', clobbers: [] }]);
  });
});

describe('a host whose CPU the module refuses', () => {
  const kvm = boot(insisting(hostNamed('ice-lake-sp')));

  test('has no TDs, and says why', () => {
    expect([kvm.tdx, kvm.overlayOfVmType(VM_TYPES.tdx)]).toEqual([null, null]);
    expect(kvm.tdxRefusal).toMatch(/^TDH\.SYS\.INIT fails with TDX_/);
    expect(tdNotes('tdx', kvm)).toEqual([`no TDs: ${kvm.tdxRefusal}`]);
    const vmm = new Vmm(kvm);
    expect(() => vmm.createVm(VM_TYPES.tdx)).toThrow(IoctlFailed);
    expect(() => vmm.createVm(VM_TYPES.tdx)).toThrow(`KVM_CREATE_VM(5) failed with EINVAL: ${kvm.tdxRefusal}`);
  });

  test('has every other VM all the same', () => {
    const vmm = new Vmm(kvm);
    expect(vmm.setCpuid2(vmm.createVcpu(vmm.createVm(VM_TYPES.default)), [])).toBe('OK');
  });
});

test.each(KERNEL_LINES)('Linux %s has TDs or does not know them', (kernel) => {
  const kvm = boot(withInputs(HOST, { kernel }));
  const knows = kernel !== '6.1' && kernel !== '6.12';
  expect([kvm.tdx !== null, kvm.tdxRefusal]).toEqual([knows, null]);
});

test.each([
  ['off', ['TDX module 2.0.8', 'a kernel that lets TDs have whatever the module allows: counterfactual']],
  ['denylist', ['TDX module 2.0.8']],
  ['paranoid', ['TDX module 2.0.8']],
  ['allowlist', ['TDX module 2.0.8']],
] as const)('what is said about %s', (policy, notes) => {
  expect(tdNotes('tdx', boot(HOST, { policy }))).toEqual(notes);
  expect(tdNotes('default', boot(HOST, { policy }))).toEqual([]);
});
