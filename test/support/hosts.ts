import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import {
  bootKvm,
  builtInHosts,
  describeBuiltIn,
  describeDump,
  type HostDescription,
  impliedByVmType,
  KERNEL_LINES,
  type KernelLine,
  type KvmModule,
  type Policy,
  readHost,
  VM_TYPES,
  type VmTypeName,
  withInputs,
} from '../../src/index.js';
import { captureFile, captureNames } from './captures.js';

const DUMPS = new URL('../../../shared/dumps/', import.meta.url);

/** Dumps of real hosts are not ours to pass on: tests use them where they lie beside the checkout. */
export const dumpsPresent = existsSync(DUMPS);

const dumpFiles = dumpsPresent ? readdirSync(DUMPS).filter((file) => file.endsWith('.txt')) : [];

const described = (name: string, bytes: Uint8Array): HostDescription => describeDump(readHost(bytes, name), name);

export const captureHosts: readonly HostDescription[] = captureNames.map((name) =>
  described(name, gunzipSync(readFileSync(captureFile(name)))),
);
export const ownHosts: readonly HostDescription[] = builtInHosts().map(describeBuiltIn);
export const dumpHosts: readonly HostDescription[] = dumpFiles.map((file) =>
  described(file.replace('.txt', ''), readFileSync(new URL(file, DUMPS))),
);
export const allHosts: readonly HostDescription[] = [...captureHosts, ...ownHosts, ...dumpHosts];

export function hostNamed(name: string): HostDescription {
  return allHosts.find((host) => host.name === name)!;
}

/** A kind of VM that a host offers on one kernel line. */
export interface Platform {
  readonly host: HostDescription;
  readonly line: KernelLine;
  readonly vmType: VmTypeName;
  readonly name: string;
  /** KVM on that host, booted once for each policy. */
  kvm(policy: Policy): KvmModule;
}

/** The host with what the VM type asks for. Every host with VMX counts as able to run TDs here. */
export function hostFor(host: HostDescription, line: KernelLine, vmType: VmTypeName) {
  return impliedByVmType({ ...withInputs(host, { kernel: line }), tdxCapable: true }, vmType);
}

function platform(host: HostDescription, line: KernelLine, vmType: VmTypeName): Platform {
  const booted = new Map<Policy, KvmModule>();
  return {
    host,
    line,
    vmType,
    name: `${host.name}, ${line}, ${vmType}`,
    kvm(policy) {
      const known = booted.get(policy);
      if (known) return known;
      const implied = hostFor(host, line, vmType);
      const module = bootKvm(implied.host, { ...implied.options, policy });
      booted.set(policy, module);
      return module;
    },
  };
}

/** Of the one recording on which kvm-amd refuses to load, for want of NX. */
const WITHOUT_KVM = 'tcg-7.3.4-few-nonx';

const known = new Map<HostDescription, readonly Platform[]>();

/** What a host offers, on every kernel line. */
export function platformsOf(host: HostDescription): readonly Platform[] {
  let list = known.get(host);
  if (!list) {
    list = host.name === WITHOUT_KVM ? [] : offered(host);
    known.set(host, list);
  }
  return list;
}

function offered(host: HostDescription): Platform[] {
  return KERNEL_LINES.flatMap((line) =>
    Object.entries(VM_TYPES).flatMap(([name, number]) => {
      const candidate = platform(host, line, name as VmTypeName);
      return candidate.kvm('paranoid').overlayOfVmType(number) === null ? [] : [candidate];
    }),
  );
}
