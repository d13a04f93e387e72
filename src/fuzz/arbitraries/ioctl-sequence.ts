import fc, { type Arbitrary } from 'fast-check';
import { type CpuidEntry2, type Errno, errnoName, type KvmModule, type Process, Vmm } from '../../index.js';
import { ENTRY2_WORDS, KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_RUN } from '../../kvm/abi.js';
import { putEntry } from '../../kvm/cpuid-table.js';
import { firstRefused } from '../../kvm/paranoid/verify.js';
import { mainlineErrno } from '../naive/mainline.js';
import { table } from './table.js';

type Table = readonly CpuidEntry2[];

/** What the model knows of a vCPU. */
interface VcpuModel {
  readonly kind: 'vcpu';
  readonly vm: VmModel;
  /** As KVM_GET_CPUID2 shows it. */
  table: readonly CpuidEntry2[];
  hasRun: boolean;
}

interface VmModel {
  readonly kind: 'vm';
  paranoid: boolean;
  readonly ids: Set<number>;
}

type FileModel = { readonly kind: 'kvm' } | VmModel | VcpuModel;

/** What the model knows: of each process its open descriptors. */
export interface IoctlModel {
  readonly processes: readonly Map<number, FileModel>[];
}

/** What the commands are performed on: a booted KVM and a VMM in each process. */
export interface IoctlSystem {
  readonly module: KvmModule;
  readonly vmms: readonly Vmm[];
}

export type IoctlCommand = fc.Command<IoctlModel, IoctlSystem>;

export interface IoctlSequenceOptions {
  /** How many processes take part. Default: 2. */
  readonly processes?: number;
  /** Tables that they set. Default: `table()`. */
  readonly tables?: Arbitrary<Table>;
  /** Default: 40. */
  readonly maxCommands?: number;
}

/**
 * What several processes do to `/dev/kvm`: open it, create VMs and vCPUs, switch paranoid mode on, set and get tables, run,
 * close. Each command knows what a kernel would answer. Shrinks to the commands that matter. Perform with
 * {@link performIoctls}.
 */
export function ioctlSequence(options: IoctlSequenceOptions = {}): Arbitrary<Iterable<IoctlCommand>> {
  const { processes = 2, tables = table(), maxCommands = 40 } = options;
  const who = fc.nat(processes - 1);
  const nth = fc.nat(9);
  return fc.commands(
    [
      who.map((process) => new OpenKvm(process)),
      fc.tuple(who, nth).map((place) => new CreateVm(...place)),
      fc.tuple(who, nth).map((place) => new EnableParanoid(...place)),
      fc.tuple(who, nth, fc.nat(3)).map((place) => new CreateVcpu(...place)),
      fc.tuple(who, nth, tables).map((place) => new SetCpuid2(...place)),
      fc.tuple(who, nth).map((place) => new GetCpuid2(...place)),
      fc.tuple(who, nth).map((place) => new Run(...place)),
      fc.tuple(who, nth).map((place) => new Close(...place)),
    ],
    // Whatever the global size: it takes a few commands to get to a table.
    { maxCommands, size: 'max' },
  );
}

/**
 * Performs a sequence on a freshly started set of processes.
 *
 * @throws Error that names the command and both answers, where KVM does not do what the model says
 */
export function performIoctls(module: KvmModule, commands: Iterable<IoctlCommand>, processes = 2): void {
  fc.modelRun(() => {
    const vmms = Array.from({ length: processes }, () => new Vmm(module, {}, 300));
    const opened = vmms.map(({ kvm }) => new Map<number, FileModel>([[kvm, { kind: 'kvm' }]]));
    return { model: { processes: opened }, real: { module, vmms } };
  }, commands);
}

/** A command on the n-th descriptor of a kind that a process has open. */
abstract class OnFile<Kind extends FileModel['kind']> implements IoctlCommand {
  protected abstract readonly kind: Kind | 'any';
  protected readonly process: number;
  protected readonly nth: number;

  constructor(process: number, nth: number) {
    this.process = process;
    this.nth = nth;
  }

  check({ processes }: Readonly<IoctlModel>): boolean {
    return this.files(processes[this.process]!).length > 0;
  }

  run({ processes }: IoctlModel, { module, vmms }: IoctlSystem): void {
    const opened = processes[this.process]!;
    const files = this.files(opened);
    const [fd, file] = files[this.nth % files.length]!;
    this.perform(fd, file as Extract<FileModel, { kind: Kind }>, opened, vmms[this.process]!, module);
  }

  protected abstract perform(
    fd: number,
    file: Extract<FileModel, { kind: Kind }>,
    opened: Map<number, FileModel>,
    vmm: Vmm,
    module: KvmModule,
  ): void;

  private files(opened: ReadonlyMap<number, FileModel>): (readonly [number, FileModel])[] {
    return [...opened].filter(([, { kind }]) => this.kind === 'any' || kind === this.kind);
  }

  /** @throws Error when the answers differ */
  protected expect(expected: string, got: string): void {
    if (expected !== got) throw new Error(`${this}: expected ${expected}, got ${got}`);
  }

  /** Takes a new descriptor. @throws Error when there is an errno instead */
  protected opened(result: number, opened: Map<number, FileModel>, file: FileModel): void {
    this.expect('OK', errnoName(result));
    if (opened.has(result)) throw new Error(`${this}: descriptor ${result} is in use`);
    opened.set(result, file);
  }

  toString(): string {
    return `${this.constructor.name}(process ${this.process}, #${this.nth})`;
  }
}

class OpenKvm implements IoctlCommand {
  private readonly process: number;

  constructor(process: number) {
    this.process = process;
  }

  check = (): boolean => true;

  run({ processes }: IoctlModel, { vmms }: IoctlSystem): void {
    const fd = vmms[this.process]!.process.open('/dev/kvm');
    if (fd < 0) throw new Error(`${this}: ${errnoName(fd)}`);
    processes[this.process]!.set(fd, { kind: 'kvm' });
  }

  toString = (): string => `OpenKvm(process ${this.process})`;
}

class CreateVm extends OnFile<'kvm'> {
  protected readonly kind = 'kvm';

  protected perform(fd: number, _: unknown, opened: Map<number, FileModel>, { process }: Vmm): void {
    this.opened(process.ioctl(fd, KVM_CREATE_VM, 0), opened, { kind: 'vm', paranoid: false, ids: new Set() });
  }
}

class EnableParanoid extends OnFile<'vm'> {
  protected readonly kind = 'vm';

  protected perform(fd: number, vm: VmModel, _: unknown, vmm: Vmm, module: KvmModule): void {
    const allowed = module.policy === 'paranoid' && (vm.paranoid || vm.ids.size === 0);
    this.expect(allowed ? 'OK' : 'EINVAL', errnoName(vmm.enableCap(fd, module.paranoidCapability, 1n)));
    if (allowed) vm.paranoid = true;
  }
}

class CreateVcpu extends OnFile<'vm'> {
  protected readonly kind = 'vm';
  private readonly id: number;

  constructor(process: number, nth: number, id: number) {
    super(process, nth);
    this.id = id;
  }

  protected perform(fd: number, vm: VmModel, opened: Map<number, FileModel>, { process }: Vmm): void {
    const result = process.ioctl(fd, KVM_CREATE_VCPU, this.id);
    if (vm.ids.has(this.id)) {
      this.expect('EEXIST', errnoName(result));
      return;
    }
    vm.ids.add(this.id);
    this.opened(result, opened, { kind: 'vcpu', vm, table: [], hasRun: false });
  }

  override toString(): string {
    return `${super.toString()} id ${this.id}`;
  }
}

class SetCpuid2 extends OnFile<'vcpu'> {
  protected readonly kind = 'vcpu';
  private readonly entries: Table;

  constructor(process: number, nth: number, entries: Table) {
    super(process, nth);
    this.entries = entries;
  }

  protected perform(fd: number, vcpu: VcpuModel, _: unknown, vmm: Vmm, module: KvmModule): void {
    const got = vmm.setCpuid2(fd, this.entries);
    if (!vcpu.hasRun) this.expect(this.verdict(vcpu, vmm.process, module), got);
    else if (got !== 'OK' && got !== 'E2BIG') this.expect('EINVAL', got);
    const { entries } = vmm.getCpuid2(fd);
    if (got === 'OK' && !vcpu.hasRun) vcpu.table = entries.slice(0, this.entries.length);
    else expectSame(this, vcpu.table, entries);
  }

  private verdict({ vm }: VcpuModel, process: Process, module: KvmModule): Errno {
    const { entries } = this;
    const words = new Uint32Array(entries.length * ENTRY2_WORDS);
    for (const [position, item] of entries.entries()) putEntry(words, position, item);
    const mainline = mainlineErrno(words, 0, entries.length, process.guestPermissions !== 0);
    if (mainline === 'E2BIG' || !vm.paranoid) return mainline;
    const refused = firstRefused(module.allowed(module.defaultOverlay, process), words, entries.length) >= 0;
    return refused && !(module.placement === 'combined' && mainline !== 'OK') ? 'EINVAL' : mainline;
  }

  override toString(): string {
    return `${super.toString()} ${this.entries.length} entries`;
  }
}

class GetCpuid2 extends OnFile<'vcpu'> {
  protected readonly kind = 'vcpu';

  protected perform(fd: number, vcpu: VcpuModel, _: unknown, vmm: Vmm): void {
    const { errno, entries } = vmm.getCpuid2(fd);
    this.expect('OK', errno);
    expectSame(this, vcpu.table, entries);
  }
}

class Run extends OnFile<'vcpu'> {
  protected readonly kind = 'vcpu';

  protected perform(fd: number, vcpu: VcpuModel, _: unknown, { process }: Vmm): void {
    errnoName(process.ioctl(fd, KVM_RUN, 0)); // throws on what is no errno
    vcpu.hasRun = true;
  }
}

class Close extends OnFile<FileModel['kind']> {
  protected readonly kind = 'any';

  protected perform(fd: number, _: unknown, opened: Map<number, FileModel>, { process }: Vmm): void {
    this.expect('OK', errnoName(process.close(fd)));
    this.expect('EBADF', errnoName(process.close(fd)));
    opened.delete(fd);
  }
}

/** Kernels up to 6.1 do not say how long a table is: what is compared is as much as was set. */
function expectSame(command: IoctlCommand, expected: Table, got: Table): void {
  for (const [position, item] of expected.entries()) {
    if (JSON.stringify(item) !== JSON.stringify(got[position]))
      throw new Error(`${command}: entry ${position} changed without a table being set`);
  }
}
