import { bootKernel, describeBuiltIn, type HostDescription, impliedByVmType, withInputs } from '../api/host.js';
import { hostConfiguration, minimalConfiguration } from '../api/td.js';
import { IoctlFailed, type TdStep, Vmm } from '../api/vmm.js';
import type { CpuidEntry2 } from '../cpuid/entry.js';
import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../cpuid/entry.js';
import { type Feature, featureNamed } from '../cpuid/features.js';
import { isIndexed } from '../cpuid/indexed.js';
import type { KernelLine } from '../cpuid/kernel-line.js';
import type { Assembler } from '../emu/isa/asm.js';
import { builtInHost } from '../hosts/index.js';
import { KVM_MEMORY_ENCRYPT_OP, KVM_RUN, KVM_TDX_INIT_MEM_REGION, TDX_CMD, TDX_CMD_SIZE } from '../kvm/abi.js';
import { loadKvm } from '../kvm/load.js';
import type { KvmModule } from '../kvm/module.js';
import { Vcpu } from '../kvm/vcpu.js';
import { errnoName } from '../linux/errno.js';
import type { HostCpu } from '../linux/host-cpu.js';
import { HostMachine } from '../linux/host-machine.js';
import { diffHostState, type HostChange, type HostState, hostState } from '../linux/host-state.js';
import { kvmAmd } from '../svm/svm.js';
import { KvmTdVcpu } from '../tdx/kvm-vcpu.js';
import { kvmIntel } from '../vmx/vmx.js';
import { type GuestImage, guestImage } from './guest-image.js';
import type { Probe } from './probes.js';
import type { Changed, Moment, Outcome, Sample, Scenario, ScenarioRun, Variant } from './scenario.js';

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** An ioctl has refused what the scenario needs: it ends here. */
class Refused extends Error {}

/** What a scenario plays on: a booted host, its KVM, a VMM, and what has been seen so far. */
export class Stage {
  readonly scenario: Scenario;
  readonly variant: Variant;
  readonly machine: HostMachine;
  readonly kvm: KvmModule;
  readonly vmm: Vmm;
  readonly notes: string[] = [];
  private readonly states: HostState[];
  private readonly observations = new Map<Probe, Readonly<Record<string, string>>>();
  private readonly changes = new Map<string, Changed>();
  private readonly moments: Moment[] = [];
  private readonly samples: Sample[] = [];
  private refusal: { readonly ioctl: string; readonly errno: string } | null = null;
  private harmed: number | null = null;

  constructor(scenario: Scenario, variant: Variant) {
    this.scenario = scenario;
    this.variant = variant;
    const host = describe(scenario, variant.kernel);
    this.notes.push(...host.notes);
    const kernel = bootKernel(host);
    this.machine = new HostMachine(kernel, { cpus: scenario.cpus ?? 1 });
    this.kvm = loadKvm(kernel, [kvmIntel, kvmAmd], {
      policy: variant.policy,
      defects: [...(scenario.defects ?? []), ...(variant.defects ?? [])],
      ...(variant.module === null ? {} : { tdxModule: variant.module }),
    });
    this.vmm = new Vmm(this.kvm);
    this.states = this.machine.cpus.map(({ core }) => hostState(core));
    if (variant.policy === 'off' && scenario.guest === 'td')
      this.notes.push('policy off with a TD is a counterfactual kernel: none without any check was released');
  }

  /** CPU 0, where the VMM runs. */
  get cpu(): HostCpu {
    return this.machine.cpus[0]!;
  }

  get cycle(): number {
    return this.cpu.core.clock.now[0]!;
  }

  /** Says what happens now. */
  tell(lane: Moment['lane'], text: string, cpu: HostCpu = this.cpu): void {
    this.moments.push({ cpu: cpu.id, cycle: cpu.core.clock.now[0]!, lane, text });
  }

  /** Notes the value of an MSR for the timeline. */
  sample(name: string, cpu: HostCpu = this.cpu): void {
    const state = hostState(cpu.core);
    const change = diffHostState(this.states[cpu.id]!, state).find((item) => item.name === name);
    const value = change ? hex(change.after) : 'as booted';
    this.samples.push({ cycle: cpu.core.clock.now[0]!, name, value });
  }

  /** Lets the host try something. The first time it is how things should be; what differs later is harm. */
  probe(probe: Probe, cpu: HostCpu = this.cpu): void {
    this.tell('host', probe.name, cpu);
    const seen = probe.observe(cpu);
    this.tell(
      'host',
      Object.entries(seen)
        .map(([name, value]) => `${name}: ${value}`)
        .join(', '),
      cpu,
    );
    const before = this.observations.get(probe);
    if (!before) {
      this.observations.set(probe, seen);
      // What the host itself changes while it tries is not the guest's doing.
      this.states[cpu.id] = hostState(cpu.core);
      return;
    }
    for (const [name, value] of Object.entries(seen)) {
      if (before[name] === value) continue;
      this.change(`${probe.name}: ${name}`, before[name]!, value, cpu);
    }
  }

  /** Compares the host with what it was. Called after every run of the guest, and at the end. */
  inspect(cpu: HostCpu = this.cpu): readonly HostChange[] {
    const found = diffHostState(this.states[cpu.id]!, hostState(cpu.core));
    for (const { name, before, after } of found) this.change(name, hex(before), hex(after), cpu);
    return found;
  }

  private change(what: string, before: string, after: string, cpu: HostCpu): void {
    const name = cpu.id === 0 ? what : `CPU ${cpu.id}: ${what}`;
    this.harmed ??= cpu.core.clock.now[0]!;
    this.changes.set(name, { what: name, before, after });
  }

  /** A TD whose configuration has these features on top of the least that a TD needs. Ends the scenario when refused. */
  td(features: readonly string[], program: (a: Assembler) => void, options: TdOptions = {}): Guest {
    const image = guestImage(program);
    const { vmm } = this;
    const capabilities = this.capabilities();
    const supported = vmm.supported().entries;
    const base = options.everything
      ? hostConfiguration(capabilities, supported)
      : minimalConfiguration(capabilities, supported);
    const cpuid = options.raw ?? withFeatures(base, features.map(featureNamed));
    const created = vmm.createTd({ cpuid, xfam: options.xfam ?? 0n }, 1, (_, [vcpu = -1]) =>
      addMemory(vmm, vcpu, image),
    );
    for (const { ioctl, errno } of created.steps) this.tell('kvm', `${ioctl}: ${errno}`);
    const { failed } = created;
    if (failed) this.refuse(failed.ioctl, failed.errno);
    const fd = created.vcpus[0]!;
    const file = vmm.process.file(fd);
    if (!(file instanceof Vcpu) || !(file.td instanceof KvmTdVcpu)) throw new Error('not a vCPU of a TD');
    file.td.start = { rip: image.rip, rsp: image.rsp, cr3: image.cr3, cr4: options.cr4 ?? 0n };
    return new Guest(this, fd, file);
  }

  private capabilities(): readonly CpuidEntry2[] {
    const vm = this.vmm.createVm(5);
    const { entries } = this.vmm.tdxCapabilities(vm);
    return entries;
  }

  /** Ends the scenario: the kernel has said no. */
  refuse(ioctl: string, errno: string): never {
    this.refusal = { ioctl, errno };
    throw new Refused(ioctl);
  }

  /** Plays it. */
  run(): ScenarioRun {
    try {
      this.scenario.play(this);
    } catch (error) {
      if (error instanceof IoctlFailed) this.refusal = { ioctl: error.ioctl, errno: error.errno };
      else if (!(error instanceof Refused)) throw error;
    }
    if (this.refusal === null) for (const cpu of this.machine.cpus) this.inspect(cpu);
    const outcome: Outcome = this.refusal ? 'prevented' : this.changes.size > 0 ? 'clobbered' : 'harmless';
    return {
      scenario: this.scenario.name,
      ...this.variant,
      outcome,
      ioctl: this.refusal?.ioctl ?? null,
      errno: this.refusal?.errno ?? null,
      cycle: this.harmed,
      changed: [...this.changes.values()],
      moments: this.moments,
      samples: this.samples,
      notes: this.notes,
      traceHash: this.cpu.core.trace.value.toString(16).padStart(8, '0'),
    };
  }
}

export interface TdOptions {
  /** Everything that KVM and module offer, as QEMU's `-cpu host`, not only what a TD needs. */
  readonly everything?: boolean;
  readonly xfam?: bigint;
  readonly cr4?: bigint;
  /** The table itself. */
  readonly raw?: readonly CpuidEntry2[];
}

/** A guest that can run. */
export class Guest {
  readonly fd: number;
  readonly vcpu: Vcpu;
  private readonly stage: Stage;

  constructor(stage: Stage, fd: number, vcpu: Vcpu) {
    this.stage = stage;
    this.fd = fd;
    this.vcpu = vcpu;
  }

  /** KVM_RUN. @returns the exit reason in `struct kvm_run`, or the errno */
  run(): string {
    const { stage, fd } = this;
    stage.tell('kvm', 'KVM_RUN');
    stage.tell('guest', 'runs');
    const result = stage.vmm.process.ioctl(fd, KVM_RUN, 0);
    const reason = result < 0 ? errnoName(result) : exitName(this.vcpu.page.get8(8));
    stage.tell('kvm', `KVM_RUN: ${reason}`);
    stage.inspect();
    return reason;
  }
}

const EXIT_NAMES: Readonly<Record<number, string>> = {
  5: 'KVM_EXIT_HLT',
  6: 'KVM_EXIT_MMIO',
  8: 'KVM_EXIT_SHUTDOWN',
  9: 'KVM_EXIT_FAIL_ENTRY',
  10: 'KVM_EXIT_INTR',
  17: 'KVM_EXIT_INTERNAL_ERROR',
  24: 'KVM_EXIT_SYSTEM_EVENT',
};

const exitName = (reason: number): string => EXIT_NAMES[reason] ?? `exit reason ${reason}`;

/** A configuration with some features on top. */
export function withFeatures(base: readonly CpuidEntry2[], features: readonly Feature[]): CpuidEntry2[] {
  const entries = base.map((entry) => ({ ...entry }));
  for (const { word, mask } of features) {
    if (word.kind === 'linux' || word.kind === 'pv') throw new Error('not a bit of hardware');
    let entry = entries.find((item) => item.function === word.function && item.index === word.index);
    if (!entry) {
      const flags = isIndexed(word.function) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
      entry = { function: word.function, index: word.index, flags, eax: 0, ebx: 0, ecx: 0, edx: 0 };
      entries.push(entry);
    }
    entry[word.register] = (entry[word.register] | mask) >>> 0;
  }
  return entries;
}

/** KVM_TDX_INIT_MEM_REGION for every page of the guest. */
function addMemory({ process }: Vmm, vcpu: number, { pages }: GuestImage): TdStep[] {
  const { memory } = process;
  const source = memory.mmap(0x1000);
  const command = memory.mmap(0x1000);
  const { view, bytes, base } = memory;
  const steps: TdStep[] = [];
  for (const [address, contents] of pages) {
    bytes.set(contents, source - base);
    const at = command - base;
    view.setUint32(at + TDX_CMD.id, KVM_TDX_INIT_MEM_REGION, true);
    view.setUint32(at + TDX_CMD.flags, 0, true);
    view.setBigUint64(at + TDX_CMD.data, BigInt(command + TDX_CMD_SIZE), true);
    view.setBigUint64(at + TDX_CMD.hwError, 0n, true);
    [source, address, 1].forEach((word, index) => {
      view.setBigUint64(at + TDX_CMD_SIZE + index * 8, BigInt(word), true);
    });
    const errno = errnoName(process.ioctl(vcpu, KVM_MEMORY_ENCRYPT_OP, command));
    const last = steps.at(-1);
    if (last?.errno !== 'OK') steps.push({ ioctl: 'KVM_TDX_INIT_MEM_REGION', errno, hwError: 0n });
    else if (errno !== 'OK') steps.push({ ioctl: 'KVM_TDX_INIT_MEM_REGION', errno, hwError: 0n });
  }
  return steps;
}

/** The host of a scenario. */
function describe(scenario: Scenario, kernel: KernelLine): HostDescription {
  const model = builtInHost(scenario.host);
  if (!model) throw new Error(`no built-in host is called ${scenario.host}`);
  const described = describeBuiltIn(model);
  const { cmdline = '', flags = [], msrs = new Map(), parameters = {} } = scenario.boot ?? {};
  const host: HostDescription = { ...described, msrs: new Map([...described.msrs, ...msrs]) };
  const set = withInputs(host, {
    kernel,
    cmdline,
    flags: { set: flags.map(featureNamed), clear: [] },
    parameters: new Map(Object.entries(parameters)),
  });
  return scenario.guest === 'td' ? impliedByVmType(set, 'tdx').host : set;
}
