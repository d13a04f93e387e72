import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../cpuid/entry.js';
import {
  CPUID2_HEADER_SIZE,
  ENTRY2_WORDS,
  KVM_TDX_GET_CPUID,
  KVM_TDX_INIT_MEM_REGION,
  KVM_TDX_INIT_VCPU,
  KVM_TDX_MEASURE_MEMORY_REGION,
  TDX_MEM_REGION_SIZE,
} from '../kvm/abi.js';
import { setApicBase } from '../kvm/apic-base.js';
import { putEntry } from '../kvm/cpuid-table.js';
import { plus } from '../kvm/get-cpuid.js';
import type { RunPage } from '../kvm/run-page.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import type { TdVcpu } from '../kvm/td.js';
import type { Vcpu } from '../kvm/vcpu.js';
import { APICBASE_ENABLE, APICBASE_X2APIC } from '../kvm/vcpu-state.js';
import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import { type Address, PAGE_SIZE } from '../linux/user-memory.js';
import { readCommand, type TdxCommand } from './kvm-command.js';
import { emulatesMsr } from './kvm-msrs.js';
import { TdRunner } from './kvm-run.js';
import type { KvmTd } from './kvm-vm.js';
import type { StoredLeaf, Td } from './module.js';
import type { TdVcpuState } from './td-run.js';

const ADDRESS_SIZES = 0x8000_0008;
const EXTENDED = 0x8000_0000;

const X2APIC_BASE = 0xfee0_0000n | APICBASE_ENABLE | APICBASE_X2APIC;
const APICBASE_BSP = 1n << 8n;

/** What a field id of the module's metadata can name: leaves of which bits 30:7 are zero, sub-leaves of seven bits. */
const UNREADABLE_LEAF = 0x7fff_ff80;
const LAST_SUBLEAF = 0x7f;

/** KVM's side of one vCPU of a TD (`struct vcpu_tdx`). */
export class KvmTdVcpu implements TdVcpu {
  readonly td: KvmTd;
  readonly vcpu: Vcpu;
  /** KVM_TDX_INIT_VCPU has succeeded. */
  initialized = false;
  /** RCX at the first entry: what KVM_TDX_INIT_VCPU handed over. */
  initialRcx = 0n;
  /** Where the guest starts: what its firmware would have come to. */
  start: Parameters<TdVcpuState['boot']>[0] | null = null;
  /** The vCPU on the CPU that executes it; `null` before its first run. */
  runner: TdRunner | null = null;

  constructor(td: KvmTd, vcpu: Vcpu) {
    this.td = td;
    this.vcpu = vcpu;
  }

  run({ kernel, cpu }: Process, page: RunPage): number | null {
    const executing = kernel.hardware.cpus[cpu];
    if (!executing) return null;
    if (!this.runner) {
      this.runner = new TdRunner(this, executing);
      if (this.start) this.runner.state.boot(this.start);
    }
    return this.runner.run(page);
  }

  /** -EINVAL until both the vCPU is initialised and the TD runnable. */
  preRun(): number {
    return this.initialized && this.td.state === 'runnable' ? 0 : -ERRNO.EINVAL;
  }

  emulatesMsr(index: number, write: boolean): boolean {
    return emulatesMsr(index, write);
  }

  /**
   * `tdx_vcpu_ioctl()`, `tdx_vcpu_unlocked_ioctl()`.
   *
   * @returns what the command says; -EFAULT when `struct kvm_tdx_cmd` cannot be read; -EINVAL for hw_error on input, for a
   *   command that is none of a vCPU's and once the TD is runnable, which kernels before 7.1 look at first
   */
  ioctl(process: Process, argument: Address): number {
    const runnable = this.td.state === 'runnable';
    if (runnable && !this.td.isLine('7.1')) return -ERRNO.EINVAL;
    const command = readCommand(process, argument);
    if (typeof command === 'number') return command;
    if (runnable) return -ERRNO.EINVAL;
    switch (command.id) {
      case KVM_TDX_INIT_VCPU:
        return this.init(command);
      case KVM_TDX_INIT_MEM_REGION:
        return this.initMemRegion(process, command);
      case KVM_TDX_GET_CPUID:
        return this.getCpuid(process, command);
      default:
        return -ERRNO.EINVAL;
    }
  }

  /**
   * KVM_TDX_INIT_VCPU (`tdx_vcpu_init()`).
   *
   * @returns 0; -EINVAL for flags, for a second call, and when the vCPU cannot be in x2APIC mode, because its CPUID table
   *   does not have it
   */
  private init({ flags, data }: TdxCommand): number {
    if (flags !== 0 || this.initialized) return -ERRNO.EINVAL;
    const { id, state, cpuid } = this.vcpu;
    if (!setApicBase(state, cpuid, X2APIC_BASE | (id === 0 ? APICBASE_BSP : 0n))) return -ERRNO.EINVAL;
    this.initialRcx = data;
    this.initialized = true;
    return 0;
  }

  /**
   * KVM_TDX_INIT_MEM_REGION (`tdx_vcpu_init_mem_region()`): copies pages into the TD. guest_memfd is not modelled: every
   * private page counts as backed. Whatever was copied, the structure is written back with what is left to do.
   *
   * @returns 0; -EINVAL before KVM_TDX_INIT_VCPU, for unknown flags, and for addresses that are not whole pages, wrap around
   *   or are shared; -EFAULT when the structure or a page cannot be read, or the structure not be written; -EIO for a page
   *   that the TD has
   */
  private initMemRegion(process: Process, { flags, data }: TdxCommand): number {
    if (!this.initialized || (flags & ~KVM_TDX_MEASURE_MEMORY_REGION) !== 0) return -ERRNO.EINVAL;
    const { memory } = process;
    const at = memory.readable(data, TDX_MEM_REGION_SIZE);
    if (at < 0) return -ERRNO.EFAULT;
    const region = new BigUint64Array(3);
    for (let word = 0; word < 3; word++) region[word] = memory.view.getBigUint64(at + word * 8, true);
    if (!this.isPrivateRange(region)) return -ERRNO.EINVAL;
    const result = this.addPages(process, region);
    return memory.copyOut(data, new Uint8Array(region.buffer)) ? result : -ERRNO.EFAULT;
  }

  private isPrivateRange([source = 0n, gpa = 0n, pages = 0n]: BigUint64Array): boolean {
    const page = BigInt(PAGE_SIZE);
    const end = BigInt.asUintN(64, gpa + BigInt.asUintN(64, pages * page));
    if (source % page !== 0n || gpa % page !== 0n || pages === 0n || end <= gpa) return false;
    const { sharedBit } = this.td;
    return (gpa & sharedBit) === 0n && ((end - 1n) & sharedBit) === 0n;
  }

  private addPages({ memory }: Process, region: BigUint64Array): number {
    const page = BigInt(PAGE_SIZE);
    while (region[2] !== 0n) {
      const at = memory.readable(region[0]!, PAGE_SIZE);
      if (at < 0) return -ERRNO.EFAULT;
      const frame = region[1]! / page;
      if (this.td.pages.has(frame)) return -ERRNO.EIO;
      this.td.pages.set(frame, memory.bytes.slice(at, at + PAGE_SIZE));
      region[0] = region[0]! + page;
      region[1] = region[1]! + page;
      region[2] = region[2]! - 1n;
    }
    return 0;
  }

  /**
   * KVM_TDX_GET_CPUID (`tdx_vcpu_get_cpuid()`): the CPUID that the TD has, as far as the module can tell.
   *
   * @returns 0; -EFAULT when the header cannot be read or the answer not be written; -E2BIG when nent is too small, and then
   *   nent says how many are needed; -EIO when the module does not tell leaf 0 or 0x80000000
   */
  private getCpuid({ memory }: Process, { data }: TdxCommand): number {
    const at = memory.readable(data, CPUID2_HEADER_SIZE);
    if (at < 0) return -ERRNO.EFAULT;
    const room = memory.view.getUint32(at, true);
    const list = new StoredList(this.td.td!);
    const basic = list.read(0);
    if (basic === null) return -ERRNO.EIO;
    for (let leaf = 1; leaf <= basic; leaf++) list.read(leaf);
    const extended = list.read(EXTENDED);
    if (extended === null) return -ERRNO.EIO;
    for (let leaf = EXTENDED + 1; leaf <= extended; leaf++) list.read(leaf);

    const header = new Uint32Array([list.count, memory.view.getUint32(at + 4, true)]);
    if (!memory.copyOut(data, new Uint8Array(header.buffer))) return -ERRNO.EFAULT;
    if (room < list.count) return -ERRNO.E2BIG;
    return memory.copyOut(plus(data, CPUID2_HEADER_SIZE), list.bytes, list.count * ENTRY2_WORDS * 4)
      ? 0
      : -ERRNO.EFAULT;
  }
}

/** The entries of KVM_TDX_GET_CPUID while they are read from the module. */
class StoredList {
  readonly words = new Uint32Array(KVM_MAX_CPUID_ENTRIES * ENTRY2_WORDS);
  readonly bytes = new Uint8Array(this.words.buffer);
  count = 0;
  private readonly td: Td;

  constructor(td: Td) {
    this.td = td;
  }

  /**
   * `tdx_vcpu_get_cpuid_leaf()`: first without a sub-leaf; if the module has no such field, sub-leaves from 0 on until it
   * fails.
   *
   * @returns EAX of the last entry read, or `null` when there is none
   */
  read(leaf: number): number | null {
    const whole = this.readField(leaf, null);
    if (whole !== null) return whole;
    let last: number | null = null;
    for (let subleaf = 0; subleaf <= LAST_SUBLEAF; subleaf++) {
      const eax = this.readField(leaf, subleaf);
      if (eax === null) break;
      last = eax;
    }
    return last;
  }

  /** `tdx_read_cpuid()`. Returns EAX, or `null`. */
  private readField(leaf: number, subleaf: number | null): number | null {
    if ((leaf & UNREADABLE_LEAF) !== 0 || this.count >= KVM_MAX_CPUID_ENTRIES) return null;
    const stored = this.td.stored(leaf, subleaf);
    if (!stored) return null;
    const { ebx, ecx, edx } = stored;
    const eax = leaf === ADDRESS_SIZES ? this.withGuestWidth(stored) : stored.eax;
    const flags = subleaf === null ? 0 : KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    putEntry(this.words, this.count++, { function: leaf, index: subleaf ?? 0, flags, eax, ebx, ecx, edx });
    return eax;
  }

  /** Old modules do not tell the width of guest-physical addresses; KVM puts it where it took it from. */
  private withGuestWidth({ eax }: StoredLeaf): number {
    return ((eax & ~0x00ff_0000) | ((this.td.params.gpaw52 ? 52 : 48) << 16)) >>> 0;
  }
}
