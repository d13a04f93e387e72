import {
  bootKvm,
  builtInHost,
  describeBuiltIn,
  type HostDescription,
  impliedByVmType,
  KERNEL_LINES,
  type KernelLine,
  type KvmModule,
  type KvmOptions,
  type Policy,
  VM_TYPES,
  type VmTypeName,
  withInputs,
} from '../../src/index.js';

type Placement = NonNullable<KvmOptions['placement']>;

const named = new Map<string, HostDescription>();

/** A built-in host. */
export function hostNamed(name: string): HostDescription {
  const host = named.get(name) ?? describeBuiltIn(builtInHost(name)!);
  named.set(name, host);
  return host;
}

/** A kind of VM that a host offers on one kernel line. */
export interface Platform {
  readonly host: HostDescription;
  readonly line: KernelLine;
  readonly vmType: VmTypeName;
  readonly name: string;
  /** KVM on that host, booted once for each policy and placement. */
  kvm(policy: Policy, placement?: Placement): KvmModule;
}

/** The host with what the VM type asks for. Every host with VMX counts as able to run TDs here. */
export function hostFor(host: HostDescription, line: KernelLine, vmType: VmTypeName) {
  return impliedByVmType({ ...withInputs(host, { kernel: line }), tdxCapable: true }, vmType);
}

function platform(host: HostDescription, line: KernelLine, vmType: VmTypeName): Platform {
  const booted = new Map<string, KvmModule>();
  return {
    host,
    line,
    vmType,
    name: `${host.name}, ${line}, ${vmType}`,
    kvm(policy, placement = 'separate') {
      const known = booted.get(`${policy} ${placement}`);
      if (known) return known;
      const implied = hostFor(host, line, vmType);
      const module = bootKvm(implied.host, { ...implied.options, policy, placement });
      booted.set(`${policy} ${placement}`, module);
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
