import type { CpuidEntry2 } from '../cpuid/entry.js';
import type { Overlay } from '../cpuid/features.js';
import {
  bootKvm,
  type HostDescription,
  impliedByVmType,
  type KvmModule,
  type KvmOptions,
  type Process,
  type ProcessOptions,
  VM_TYPES,
  Vmm,
  type VmTypeName,
} from '../index.js';
import { CPUID2_HEADER_SIZE, ENTRY2_SIZE, ENTRY2_WORDS } from '../kvm/abi.js';
import { entryAt, putEntry } from '../kvm/cpuid-table.js';
import type { AllowedTable } from '../kvm/paranoid/allowed-table.js';
import { ArenaVerifier } from '../kvm/paranoid/batch.js';
import { simdMemory } from '../kvm/paranoid/simd.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';

/** Where tables are judged: a kind of VM on a host, and what its process may do. Can be sent to a worker. */
export interface PlaceSpec {
  readonly host: HostDescription;
  /** What the host was called by whoever asked: a built-in name or a file. */
  readonly given: string;
  readonly vmType: VmTypeName;
  /** The process may give XTILEDATA to guests. */
  readonly amx: boolean;
  readonly options: KvmOptions;
}

/** `host, vm type, with or without amx`: what tells places of one campaign apart. */
export const placeName = ({ host, vmType, amx }: PlaceSpec): string => `${host.name}, ${vmType}${amx ? ', amx' : ''}`;

const XTILE_DATA = 18;

export const processOptions = ({ amx }: PlaceSpec): ProcessOptions => ({ guestPermissions: amx ? [XTILE_DATA] : [] });

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

/** Bytes of address space of a place's process. */
const ARENA = 1 << 18;

const BUFFER_SIZE = CPUID2_HEADER_SIZE + (KVM_MAX_CPUID_ENTRIES + 1) * ENTRY2_SIZE;

/** The host of a place, booted, and a process on it whose memory holds the tables to be judged. */
export class Place {
  readonly spec: PlaceSpec;
  readonly module: KvmModule;
  readonly vmm: Vmm;
  readonly overlay: Overlay;
  /** The rules of paranoid mode there, whether the policy applies them or not. */
  readonly rules: AllowedTable;
  /** What KVM reports, supported and emulated: a table that should be accepted. */
  readonly reported: readonly CpuidEntry2[];
  /** All of the process's memory, in words. */
  readonly words: Uint32Array;
  /** Verifies with vectors, where there are any. */
  readonly verifier: ArenaVerifier;
  /** Buffers, as word numbers of their headers: the table that is judged, and two for laws to use while they judge. */
  readonly table: number;
  readonly scratch: number;
  readonly second: number;
  private readonly type: number;

  /** @throws KvmNotLoaded, IoctlFailed when the host does not offer such VMs */
  constructor(spec: PlaceSpec) {
    this.spec = spec;
    const implied = impliedByVmType(spec.host, spec.vmType, spec.options.tdxModule);
    this.module = bootKvm(implied.host, { ...implied.options, ...spec.options });
    this.vmm = new Vmm(this.module, { ...processOptions(spec), arena: ARENA, block: simdMemory(ARENA) });
    this.type = VM_TYPES[spec.vmType];
    this.vmm.createVm(this.type);
    const { process } = this.vmm;
    this.overlay = this.module.overlayOfVmType(this.type)!;
    this.rules = this.module.allowed(this.overlay, process);
    const emulated = this.module.emulated(this.overlay).slice(1);
    this.reported = [...this.module.supported(this.overlay, process), ...emulated].slice(0, KVM_MAX_CPUID_ENTRIES);
    const { memory } = process;
    this.words = new Uint32Array(memory.bytes.buffer, 0, memory.bytes.length / 4);
    this.verifier = new ArenaVerifier(memory);
    this.table = this.newBuffer();
    this.scratch = this.newBuffer();
    this.second = this.newBuffer();
  }

  /** Room for a table, which a law may keep. Returns the word number of its header. */
  newBuffer(): number {
    const { memory } = this.process;
    return (memory.mmap(BUFFER_SIZE) - memory.base) / 4;
  }

  get process(): Process {
    return this.vmm.process;
  }

  /** A VM, ready for vCPUs. */
  newVm(): number {
    return this.vmm.prepareVm(this.type);
  }

  /** The address of a word, for ioctls. */
  address(word: number): number {
    return this.process.memory.base + word * 4;
  }

  /** Writes a table, header and all. */
  put(at: number, entries: readonly CpuidEntry2[]): void {
    this.words[at] = entries.length;
    this.words[at + 1] = 0;
    const body = this.words.subarray(at + HEADER_WORDS);
    for (const [position, entry] of entries.entries()) putEntry(body, position, entry);
  }

  /** The table whose header is at word `at`. */
  entries(at: number): CpuidEntry2[] {
    const body = this.words.subarray(at + HEADER_WORDS);
    return Array.from({ length: this.words[at]! }, (_, position) => entryAt(body, position));
  }

  /** Copies a table to another place in memory. */
  copy(from: number, to: number): void {
    const { words } = this;
    words.copyWithin(to, from, from + HEADER_WORDS + words[from]! * ENTRY2_WORDS);
  }
}
