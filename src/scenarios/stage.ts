import { bootKernel, describeBuiltIn, type HostDescription, impliedByVmType, withInputs } from '../api/host.js';
import { minimalConfiguration } from '../api/td.js';
import { IoctlFailed, Vmm } from '../api/vmm.js';
import type { CpuidEntry2 } from '../cpuid/entry.js';
import { featureNamed } from '../cpuid/features.js';
import { ACTIVITY } from '../emu/core/status.js';
import type { TraceSink } from '../emu/core/trace.js';
import type { Assembler } from '../emu/isa/asm.js';
import { builtInHost } from '../hosts/index.js';
import { KVM_RUN, VM_TYPES } from '../kvm/abi.js';
import { loadKvm } from '../kvm/load.js';
import type { KvmModule } from '../kvm/module.js';
import type { Defect } from '../kvm/policy.js';
import type { Vcpu } from '../kvm/vcpu.js';
import { errnoName } from '../linux/errno.js';
import type { HostCpu } from '../linux/host-cpu.js';
import { HostMachine } from '../linux/host-machine.js';
import { diffHostState, type HostChange, type HostState, hostState } from '../linux/host-state.js';
import type { LogLine } from '../linux/kernel-log.js';
import { kvmAmd } from '../svm/svm.js';
import type { TdRunner } from '../tdx/kvm-run.js';
import { KvmTdVcpu } from '../tdx/kvm-vcpu.js';
import { kvmIntel } from '../vmx/vmx.js';
import type { Probe } from './probes.js';
import type { Changed, Moment, Outcome, Scenario, ScenarioRun, Span, Variant } from './scenario.js';
import { withFeatures } from './td-entries.js';
import { createTdGuest, type RestoreOptions, type StageOptions } from './td-guest.js';
import { Watcher } from './timeline.js';

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** An ioctl has refused what the scenario needs: it ends here. */
class Refused extends Error {}

/** What a scenario plays on: a booted host, its KVM, VMMs, and what has been seen so far. */
export class Stage {
  readonly scenario: Scenario;
  readonly variant: Variant;
  readonly defects: readonly Defect[];
  readonly machine: HostMachine;
  readonly kvm: KvmModule;
  readonly notes: string[] = [];
  readonly options: RestoreOptions;
  private readonly vmms = new Map<number, Vmm>();
  private readonly states: HostState[];
  private readonly observations = new Map<string, Readonly<Record<string, string>>>();
  private readonly changes = new Map<string, Found>();
  private readonly moments: Moment[] = [];
  private readonly spans: Span[] = [];
  private readonly watcher: Watcher;
  private refusal: { readonly ioctl: string; readonly errno: string } | null = null;
  private harmed: number | null = null;
  /** A guest has run: from here on, what is not as it was is harm. */
  private guestRan = false;

  /** @throws KvmNotLoaded when the host has no KVM; RangeError for a module that is not known */
  constructor(scenario: Scenario, variant: Variant, options: StageOptions = {}) {
    this.scenario = scenario;
    this.variant = variant;
    this.options = options;
    this.defects = variant.defects ?? scenario.defects ?? [];
    const cpus = scenario.cpus ?? 1;
    const host = describe(scenario, variant, cpus);
    this.notes.push(...host.notes);
    const kernel = bootKernel(host);
    this.machine = new HostMachine(kernel, { cpus, ...(options.engine ? { engine: options.engine } : {}) });
    this.kvm = loadKvm(kernel, [kvmIntel, kvmAmd], {
      policy: variant.policy,
      defects: this.defects,
      ...(variant.module === null ? {} : { tdxModule: variant.module }),
    });
    this.states = this.machine.cpus.map(({ core }) => hostState(core));
    this.watcher = new Watcher(scenario.watch ?? []);
    this.record(null);
    if (variant.policy === 'off' && scenario.guest === 'td')
      this.notes.push('policy off with a TD is a counterfactual kernel: none without any check was released');
  }

  /** Somebody who is told of every instruction and event as well. */
  record(sink: TraceSink | null): void {
    this.watcher.pass(sink);
    for (const { core } of this.machine.cpus) core.sink = this.watcher;
  }

  /** CPU 0, where most stories happen. */
  get cpu(): HostCpu {
    return this.machine.cpus[0]!;
  }

  /** The VMM of CPU 0. */
  get vmm(): Vmm {
    return this.vmmOn(this.cpu);
  }

  /** A VMM that runs on a CPU: its guests run there. */
  vmmOn({ id }: HostCpu): Vmm {
    const { permissions: guestPermissions = [] } = this.scenario;
    const vmm = this.vmms.get(id) ?? new Vmm(this.kvm, { cpu: id, guestPermissions });
    this.vmms.set(id, vmm);
    return vmm;
  }

  /** Says what happens now. */
  tell(lane: Moment['lane'], text: string, cpu: HostCpu = this.cpu): void {
    this.watcher.look(cpu.core);
    this.moments.push({ cpu: cpu.id, cycle: cpu.core.clock.now[0]!, lane, text });
  }

  /** The host does something of its own accord; before any guest has run, that is how things should be. */
  host(text: string, act: (cpu: HostCpu) => void, cpu: HostCpu = this.cpu): void {
    this.tell('host', text, cpu);
    this.during('host', text, cpu, () => act(cpu));
    if (this.guestRan) return;
    this.states[cpu.id] = hostState(cpu.core);
    this.watcher.guests.length = 0;
  }

  private during<T>(lane: Span['lane'], text: string, cpu: HostCpu, act: () => T): T {
    const from = cpu.core.clock.now[0]!;
    const result = act();
    this.watcher.look(cpu.core);
    this.spans.push({ cpu: cpu.id, lane, from, to: cpu.core.clock.now[0]!, text });
    return result;
  }

  /** Lets the host try something. The first time it is how things should be; what differs later is harm. */
  probe(probe: Probe, cpu: HostCpu = this.cpu): void {
    if (!isAlive(cpu)) {
      this.tell('host', `${probe.name}: nothing runs on this CPU any more`, cpu);
      return;
    }
    this.tell('host', probe.name, cpu);
    const seen = this.during('host', probe.name, cpu, () => probe.observe(cpu));
    const words = Object.entries(seen).map(([name, value]) => `${name}: ${value}`);
    this.tell('host', words.join(', '), cpu);
    const isFirst = this.compare(`${cpu.id} ${probe.name}`, probe.name, seen, cpu);
    // What the host itself changes while it tries is not the guest's doing.
    if (isFirst && !this.guestRan) this.states[cpu.id] = hostState(cpu.core);
  }

  /**
   * What a guest finds. The first time, be it on another CPU or without any guest, it is how things should be; what differs
   * later is harm done to the guest.
   */
  guestFinds(what: string, seen: Readonly<Record<string, string>>, cpu: HostCpu = this.cpu): void {
    const words = Object.entries(seen).map(([name, value]) => `${name}: ${value}`);
    this.tell('guest', `${what}: ${words.join(', ')}`, cpu);
    this.compare(what, `guest: ${what}`, seen, cpu);
  }

  /** @returns whether there was nothing to compare with */
  private compare(key: string, what: string, seen: Readonly<Record<string, string>>, cpu: HostCpu): boolean {
    const before = this.observations.get(key);
    if (!before) {
      this.observations.set(key, seen);
      return true;
    }
    for (const [name, value] of Object.entries(seen)) {
      if (before[name] !== value) this.change(null, `${what}: ${name}`, before[name]!, value, cpu);
      else this.recovered(`${what}: ${name}`, cpu);
    }
    return false;
  }

  /**
   * Compares a CPU with what it was: after every run of a guest there, and at the end.
   *
   * @param since the cycle from which on it is as it is now. Default: now
   */
  inspect(cpu: HostCpu, since: number = cpu.core.clock.now[0]!): readonly HostChange[] {
    const found = diffHostState(this.states[cpu.id]!, hostState(cpu.core));
    if (found.length > 0) this.harmed ??= since;
    for (const { name, before, after } of found) this.change(name, name, hex(before), hex(after), cpu);
    return found;
  }

  /** A probe finds as it was what another one has found changed. */
  private recovered(what: string, cpu: HostCpu): void {
    const name = nameOn(what, cpu);
    const found = this.changes.get(name);
    if (found) this.changes.set(name, { ...found, over: true });
  }

  private change(state: string | null, what: string, before: string, after: string, cpu: HostCpu): void {
    const name = nameOn(what, cpu);
    this.harmed ??= cpu.core.clock.now[0]!;
    this.changes.set(name, { what: name, before, after, cpu, state, over: false });
  }

  /** A TD whose configuration has these features on top of the least that a TD needs. Ends the scenario when refused. */
  td(features: readonly string[], program: (a: Assembler) => void, options: TdOptions = {}): Guest {
    const { cpu = this.cpu, xfam = 0n, attributes = 0n } = options;
    const vmm = this.vmmOn(cpu);
    const { created, vcpu } = this.during('kvm', 'the TD is set up', cpu, () => {
      const offered = vmm.tdxCapabilities(vmm.createVm(VM_TYPES.tdx));
      const base = minimalConfiguration(offered.entries, vmm.supported().entries);
      const cpuid = options.entries?.(base) ?? withFeatures(base, features.map(featureNamed));
      const configuration = { cpuid, attributes, xfam: xfam === 'all' ? offered.xfam : xfam };
      return createTdGuest(vmm, cpu, configuration, () => program, this.options);
    });
    for (const { ioctl, errno } of created.steps) this.tell('kvm', `${ioctl}: ${errno}`, cpu);
    for (const { bits } of vmm.tdRefusal(created.vm)?.findings ?? [])
      for (const { name, bit } of bits) this.tell('kvm', `refused: ${name ?? `bit ${bit}`}`, cpu);
    if (created.failed || !vcpu) {
      const { ioctl, errno } = created.failed!;
      this.refuse(ioctl, errno);
    }
    return new Guest(this, created.vcpus[0]!, vcpu, cpu);
  }

  /** Ends the scenario: the kernel has said no. */
  refuse(ioctl: string, errno: string): never {
    this.refusal = { ioctl, errno };
    throw new Refused(ioctl);
  }

  /** Runs a guest, and looks at the host afterwards. */
  enter(cpu: HostCpu, run: () => string): string {
    this.guestRan = true;
    this.tell('kvm', 'KVM_RUN', cpu);
    const began = cpu.core.clock.now[0]!;
    const { lines } = this.machine.log;
    const printed = lines.length;
    const reason = this.during('kvm', 'KVM_RUN', cpu, run);
    for (let number = printed; number < lines.length; number++) this.printed(lines[number]!, number + 1);
    this.tell('kvm', `KVM_RUN: ${reason}`, cpu);
    this.inspect(cpu, this.watcher.leftAfter(cpu.id, began) ?? undefined);
    return reason;
  }

  /** The kernel has something to say while it runs a guest: it is not well. */
  private printed({ cpu, cycle, text }: LogLine, number: number): void {
    this.moments.push({ cpu, cycle, lane: 'host', text: `the kernel prints: ${text}` });
    this.harmed ??= cycle;
    this.change(null, `line ${number} of the kernel log`, 'none', text, this.machine.cpus[cpu]!);
  }

  /** Plays it. */
  run(): ScenarioRun {
    try {
      this.scenario.play(this);
    } catch (error) {
      if (error instanceof IoctlFailed) this.refusal = { ioctl: error.ioctl, errno: error.errno };
      else if (!(error instanceof Refused)) throw error;
    }
    const changed = this.refusal ? [] : this.finalChanges();
    const outcome: Outcome = this.refusal ? 'prevented' : changed.length > 0 ? 'clobbered' : 'harmless';
    return {
      scenario: this.scenario.name,
      ...this.variant,
      defects: this.defects,
      outcome,
      ioctl: this.refusal?.ioctl ?? null,
      errno: this.refusal?.errno ?? null,
      cycle: this.harmed,
      changed,
      moments: this.moments,
      spans: [...this.spans, ...this.watcher.guests].sort((a, b) => a.from - b.from),
      samples: this.watcher.samples,
      notes: this.notes,
      traceHash: this.cpu.core.trace.value.toString(16).padStart(8, '0'),
    };
  }

  /** What was found changed, what still is first. A CPU on which nothing runs any more stays as it was found last. */
  private finalChanges(): readonly Changed[] {
    const left = new Map<HostCpu, readonly string[]>();
    for (const cpu of this.machine.cpus) {
      if (isAlive(cpu))
        left.set(
          cpu,
          this.inspect(cpu).map(({ name }) => name),
        );
    }
    return [...this.changes.values()]
      .map(({ cpu, state, over, ...change }) => ({
        ...change,
        lasting: state === null ? !over : (left.get(cpu)?.includes(state) ?? true),
      }))
      .sort((a, b) => Number(b.lasting) - Number(a.lasting));
  }
}

/** A change, and where: a state by its name, or `null` for what a probe has seen. */
interface Found extends Omit<Changed, 'lasting'> {
  readonly cpu: HostCpu;
  readonly state: string | null;
  /** A later probe has found it as it was. */
  readonly over: boolean;
}

const nameOn = (what: string, { id }: HostCpu): string => (id === 0 ? what : `CPU ${id}: ${what}`);

/** Whether anything still runs on a CPU: no panic, no triple fault, no program that does not end. */
function isAlive({ core, panicked }: HostCpu): boolean {
  return panicked === null && core.activity === ACTIVITY.ACTIVE;
}

export interface TdOptions {
  /** Where it runs. Default: CPU 0. */
  readonly cpu?: HostCpu;
  /** `all`: whatever KVM offers. Default: nothing beyond x87 and SSE. */
  readonly xfam?: bigint | 'all';
  readonly attributes?: bigint;
  /** The whole table, made from the least that a TD needs. */
  readonly entries?: (base: readonly CpuidEntry2[]) => readonly CpuidEntry2[];
}

/** A guest that can run. */
export class Guest {
  readonly fd: number;
  readonly vcpu: Vcpu;
  private readonly stage: Stage;
  private readonly cpu: HostCpu;

  constructor(stage: Stage, fd: number, vcpu: Vcpu, cpu: HostCpu) {
    this.stage = stage;
    this.fd = fd;
    this.vcpu = vcpu;
    this.cpu = cpu;
  }

  /** KVM_RUN. @returns the exit reason in `struct kvm_run`, or the errno */
  run(): string {
    const { stage, fd, cpu } = this;
    return stage.enter(cpu, () => {
      const result = stage.vmmOn(cpu).process.ioctl(fd, KVM_RUN, 0);
      return result < 0 ? errnoName(result) : exitName(this.vcpu.page.get8(8));
    });
  }

  /** R8 to R15 of the guest, by number, while it does not run. */
  register(number: number): bigint {
    return this.vcpu.state.regs[number]!;
  }

  /** The TDX module's zero-step filter answers the next entry: it only pretends an exit, and the guest does not run. */
  pretendNextExit(): void {
    this.runner.state.synthesizeNext = true;
  }

  /** A signal for the VMM: KVM_RUN returns after the next exit. */
  signal(): void {
    this.runner.signalPending = true;
  }

  private get runner(): TdRunner {
    const { td } = this.vcpu;
    if (!(td instanceof KvmTdVcpu) || !td.runner) throw new Error('only a TD has that');
    return td.runner;
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

/** The host of a scenario. Under a module of the future its CPUs have what that module makes configurable. */
function describe(scenario: Scenario, { kernel, module }: Variant, cpus: number): HostDescription {
  const model = builtInHost(scenario.host);
  if (!model) throw new Error(`no built-in host is called ${scenario.host}`);
  const described = describeBuiltIn(model);
  const { cmdline = '', msrs = new Map(), parameters = {} } = scenario.boot ?? {};
  const host: HostDescription = {
    ...described,
    cpus: Array.from({ length: cpus }, () => described.cpus[0]!),
    msrs: new Map([...described.msrs, ...msrs]),
  };
  const set = withInputs(host, { kernel, cmdline, parameters: new Map(Object.entries(parameters)) });
  return scenario.guest === 'td' ? impliedByVmType(set, 'tdx', module ?? undefined).host : set;
}
