import { inRange } from '../cpuid/kernel-line.js';
import {
  CPUID2_HEADER_SIZE,
  EAX,
  ENTRY2_SIZE,
  ENTRY2_WORDS,
  KVM_TDX_CAPABILITIES,
  KVM_TDX_FINALIZE_VM,
  KVM_TDX_INIT_VM,
  TDX_CAPABILITIES,
  TDX_INIT_VM,
  TDX_INIT_VM_CPUID,
  TDX_INIT_VM_RESERVED,
} from '../kvm/abi.js';
import { findEntry, putEntry } from '../kvm/cpuid-table.js';
import { plus } from '../kvm/get-cpuid.js';
import type { KvmModule } from '../kvm/module.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';
import type { TdVcpu, TdVm } from '../kvm/td.js';
import type { Vcpu } from '../kvm/vcpu.js';
import type { Vm } from '../kvm/vm.js';
import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import type { Address } from '../linux/user-memory.js';
import { readCommand, type TdxCommand, writeHwError } from './kvm-command.js';
import type { ConfigPolicy, RefusedConfig } from './kvm-policy.js';
import { refusedConfig } from './kvm-policy.js';
import { hasFiveLevelEpt, supportedAttributes, supportedXfam, tscFrequency } from './kvm-support.js';
import { KvmTdVcpu } from './kvm-vcpu.js';
import type { LeafId, Td, TdxModule } from './module.js';
import { type CpuidValues, NO_VALUES, type TdParams, type TdxError } from './params.js';

const ADDRESS_SIZES = 0x8000_0008;
/** Bits 23:16 of 0x80000008.EAX: KVM's knob for the width of guest-physical addresses; the module does not know it. */
const GUEST_PHYS_BITS = 0x00ff_0000;

/** TDVMCALLs of r11 that KVM offers to userspace: bit 1, SetupEventNotifyInterrupt. */
const USER_TDVMCALLS = 2n;

/** How far a TD is (`enum kvm_tdx_state`). */
export type TdState = 'uninitialized' | 'initialized' | 'runnable';

/** Why the last KVM_TDX_INIT_VM was refused, as far as its table is to blame. */
export interface InitRefusal {
  /** Bits that KVM's policy refused. */
  readonly bits: readonly RefusedConfig[];
  /** What the module said. */
  readonly module: TdxError | null;
}

/** `struct kvm_tdx_init_vm` in the kernel's copy. */
interface InitVm {
  readonly attributes: bigint;
  readonly xfam: bigint;
  /** The entries, and how many of them count. */
  readonly words: Uint32Array;
  readonly nent: number;
}

/** KVM's side of one TD (`struct kvm_tdx`). */
export class KvmTd implements TdVm {
  readonly vm: Vm;
  readonly module: TdxModule;
  state: TdState = 'uninitialized';
  /** What TDH.MNG.INIT made; `null` before. */
  td: Td | null = null;
  /** Private pages that were added before the TD became runnable, by guest frame number. */
  readonly pages = new Map<bigint, Uint8Array>();
  refusal: InitRefusal | null = null;
  /** Bytes that the entry search has read beyond the kernel's copy: none, but for the defect `tdx-nent-double-fetch`. */
  overread = 0;
  readonly kvm: KvmModule;
  private readonly policy: ConfigPolicy;

  constructor(vm: Vm, kvm: KvmModule, module: TdxModule, policy: ConfigPolicy) {
    this.vm = vm;
    this.kvm = kvm;
    this.module = module;
    this.policy = policy;
  }

  /** As many as there are CPUs: what the module itself reports depends on the platforms that it was built for. */
  get maxVcpus(): number {
    return this.kvm.kernel.machine.cpus.length;
  }

  /** The guest-physical address bit that means "shared": 51 or 47 (`gfn_direct_bits`). */
  get sharedBit(): bigint {
    return 1n << (this.td?.params.gpaw52 ? 51n : 47n);
  }

  createVcpu(vcpu: Vcpu): TdVcpu | number {
    if (this.state !== 'initialized') return -ERRNO.EIO;
    return this.vm.splitIrqchip ? new KvmTdVcpu(this, vcpu) : -ERRNO.EINVAL;
  }

  /** Whether the kernel line is at least `since`. */
  isLine(since: '7.1'): boolean {
    return inRange(this.kvm.caps(this.kvm.defaultOverlay).scope.line, since);
  }

  /**
   * `tdx_vm_ioctl()`.
   *
   * @returns what the command says; -EFAULT when `struct kvm_tdx_cmd` cannot be read, or not be written back; -EINVAL for
   *   hw_error on input and for a command that is none of a VM's
   */
  ioctl(process: Process, argument: Address): number {
    const command = readCommand(process, argument);
    if (typeof command === 'number') return command;
    if (command.id === KVM_TDX_CAPABILITIES) {
      const result = this.capabilities(process, command);
      // Until 6.18 the command is written back although nothing in it has changed.
      return this.isLine('7.1') ? result : writeHwError(process, argument, command, 0n, result);
    }
    if (command.id === KVM_TDX_INIT_VM) {
      const result = this.init(process, command);
      return writeHwError(process, argument, command, this.hwError, result);
    }
    if (command.id === KVM_TDX_FINALIZE_VM) return writeHwError(process, argument, command, 0n, this.finalize());
    return -ERRNO.EINVAL;
  }

  /** What userspace is told of the module's status: nothing unless it gave an operand that is invalid. */
  private get hwError(): bigint {
    const error = this.refusal?.module;
    return error && isUsersFault(error) ? error.status : 0n;
  }

  /**
   * KVM_TDX_CAPABILITIES (`tdx_get_capabilities()`): what may be asked for. An entry for each leaf that the module has a
   * slot for, with a mask of the bits that KVM lets through.
   *
   * @returns 0; -EINVAL for flags; -EFAULT when nent cannot be read or the answer not be written; -E2BIG when nent is
   *   smaller than the number of leaves, which is not reported then
   */
  private capabilities({ memory }: Process, { flags, data }: TdxCommand): number {
    if (flags !== 0) return -ERRNO.EINVAL;
    const nent = memory.readable(plus(data, TDX_CAPABILITIES.cpuid), 4);
    if (nent < 0) return -ERRNO.EFAULT;
    const leaves = this.module.configurable;
    if (memory.view.getUint32(nent, true) < leaves.length) return -ERRNO.E2BIG;

    const header = new DataView(new ArrayBuffer(TDX_CAPABILITIES.cpuid + CPUID2_HEADER_SIZE));
    header.setBigUint64(TDX_CAPABILITIES.supportedAttributes, supportedAttributes(this.module), true);
    header.setBigUint64(TDX_CAPABILITIES.supportedXfam, supportedXfam(this.kvm, this.module), true);
    header.setBigUint64(TDX_CAPABILITIES.userTdvmcallinfo1R11, USER_TDVMCALLS, true);
    header.setUint32(TDX_CAPABILITIES.cpuid, leaves.length, true);
    const words = new Uint32Array(leaves.length * ENTRY2_WORDS);
    for (const [position, leaf] of leaves.entries()) this.putCapability(words, position, leaf, leaf.reported);
    if (!memory.copyOut(data, new Uint8Array(header.buffer))) return -ERRNO.EFAULT;
    return memory.copyOut(plus(data, header.byteLength), new Uint8Array(words.buffer)) ? 0 : -ERRNO.EFAULT;
  }

  /** `td_init_cpuid_entry2()`: index 0 where the module says "no sub-leaf", no flags, the knob for the address width. */
  private putCapability(words: Uint32Array, position: number, leaf: LeafId, { eax, ebx, ecx, edx }: CpuidValues): void {
    const fn = leaf.leaf;
    const knob = fn === ADDRESS_SIZES ? GUEST_PHYS_BITS : 0;
    putEntry(words, position, {
      function: fn,
      index: leaf.subleaf ?? 0,
      flags: 0,
      eax: (eax | knob) >>> 0,
      ebx,
      ecx,
      edx,
    });
    this.policy.clear(leaf, words, position * ENTRY2_WORDS);
  }

  /**
   * KVM_TDX_INIT_VM (`tdx_td_init()`).
   *
   * @returns 0; -EINVAL for a second call and for flags; what {@link copyInit}, {@link setUp} and {@link initModule} say
   */
  private init(process: Process, command: TdxCommand): number {
    this.refusal = null;
    if (this.state !== 'uninitialized' || command.flags !== 0) return -ERRNO.EINVAL;
    const init = this.copyInit(process, command.data);
    if (typeof init === 'number') return init;
    const params = this.setUp(init);
    return typeof params === 'number' ? params : this.initModule(params);
  }

  /**
   * Takes `struct kvm_tdx_init_vm` from userspace. `nent` is read first, and that value counts: the memory is shared with
   * userspace, which can change it before the second copy.
   *
   * @returns the structure; -EFAULT when it cannot be read; -E2BIG for more than 256 entries; -EINVAL for reserved bytes or
   *   padding that are not zero
   */
  private copyInit({ memory }: Process, data: Address): InitVm | number {
    const { view } = memory;
    const counted = memory.readable(plus(data, TDX_INIT_VM_CPUID), 4);
    if (counted < 0) return -ERRNO.EFAULT;
    const checked = view.getUint32(counted, true);
    if (checked > KVM_MAX_CPUID_ENTRIES) return -ERRNO.E2BIG;
    const at = memory.readable(data, TDX_INIT_VM_CPUID + CPUID2_HEADER_SIZE + checked * ENTRY2_SIZE);
    if (at < 0) return -ERRNO.EFAULT;

    const reserved = at + TDX_INIT_VM_RESERVED.offset;
    for (let i = 0; i < TDX_INIT_VM_RESERVED.size; i++) if (memory.bytes[reserved + i] !== 0) return -ERRNO.EINVAL;
    if (view.getUint32(at + TDX_INIT_VM_CPUID + 4, true) !== 0) return -ERRNO.EINVAL;
    const entries = at + TDX_INIT_VM_CPUID + CPUID2_HEADER_SIZE;
    const words = new Uint32Array(checked * ENTRY2_WORDS);
    new Uint8Array(words.buffer).set(memory.bytes.subarray(entries, entries + words.byteLength));
    const nent = this.kvm.defects.has('tdx-nent-double-fetch') ? view.getUint32(counted, true) : checked;
    this.overread += Math.max(0, nent - checked) * ENTRY2_SIZE;
    return {
      attributes: view.getBigUint64(at + TDX_INIT_VM.attributes, true),
      xfam: view.getBigUint64(at + TDX_INIT_VM.xfam, true),
      words,
      nent,
    };
  }

  /**
   * `setup_tdparams()`.
   *
   * @returns TD_PARAMS; -EBUSY when there is a vCPU; -EINVAL for attributes and XFAM beyond what is supported, and what
   *   {@link addressWidth} and {@link setUpCpuid} say
   */
  private setUp(init: InitVm): TdParams | number {
    const { module, kvm } = this;
    if (this.vm.hasVcpus) return -ERRNO.EBUSY;
    if ((init.attributes & ~supportedAttributes(module)) !== 0n) return -ERRNO.EINVAL;
    if ((init.xfam & ~supportedXfam(kvm, module)) !== 0n) return -ERRNO.EINVAL;
    const width = this.addressWidth(init);
    if (width < 0) return width;
    const cpuidConfig = this.setUpCpuid(init);
    if (typeof cpuidConfig === 'number') return cpuidConfig;
    return {
      attributes: init.attributes | module.attributesFixed1,
      xfam: init.xfam | module.xfamFixed1,
      cpuidConfig,
      eptLevels: width === 52 ? 5 : 4,
      gpaw52: width === 52,
      tscFrequency: tscFrequency(kvm),
      maxVcpus: this.maxVcpus,
    };
  }

  /**
   * `setup_tdparams_eptp_controls()`.
   *
   * @returns 48 or 52; -EINVAL without an entry 0x80000008, for another width in its EAX[23:16], and for 52 on a CPU without
   *   five-level EPT
   */
  private addressWidth({ words, nent }: InitVm): number {
    const at = findEntry(words, nent, ADDRESS_SIZES, 0);
    if (at < 0) return -ERRNO.EINVAL;
    const width = (words[at + EAX]! & GUEST_PHYS_BITS) >>> 16;
    const fits = width === 48 || (width === 52 && hasFiveLevelEpt(this.kvm.caps(this.kvm.defaultOverlay).scope));
    return fits ? width : -ERRNO.EINVAL;
  }

  /**
   * `setup_tdparams_cpuids()`: for each leaf of the module the first entry that matches. Whether its bits can be configured
   * is for the module to say.
   *
   * @returns the values by the module's leaves; -EINVAL for bits that the policy refuses, and when there are not as many
   *   matches as entries: each must be consumed
   */
  private setUpCpuid({ words, nent }: InitVm): readonly CpuidValues[] | number {
    const { module, policy } = this;
    let consumed = 0;
    const config: CpuidValues[] = [];
    for (const leaf of module.configurable) {
      const at = findEntry(words, nent, leaf.leaf, leaf.subleaf ?? 0);
      if (at < 0) {
        config.push(NO_VALUES);
        continue;
      }
      const bits = refusedConfig(policy, leaf, words, at);
      if (bits.length > 0) {
        this.refusal = { bits, module: null };
        return -ERRNO.EINVAL;
      }
      consumed++;
      const [eax = 0, ebx = 0, ecx = 0, edx = 0] = words.subarray(at + EAX, at + EAX + 4);
      config.push({ eax: leaf.leaf === ADDRESS_SIZES ? (eax & ~GUEST_PHYS_BITS) >>> 0 : eax, ebx, ecx, edx });
    }
    return consumed === nent ? config : -ERRNO.EINVAL;
  }

  /** TDH.MNG.INIT. Returns 0; -EINVAL when the module finds an operand invalid, -EIO for any other error of it. */
  private initModule(params: TdParams): number {
    const made = this.module.createTd(params);
    if (!made.ok) {
      this.refusal = { bits: [], module: made.error };
      return isUsersFault(made.error) ? -ERRNO.EINVAL : -ERRNO.EIO;
    }
    this.td = made.value;
    this.state = 'initialized';
    return 0;
  }

  /** KVM_TDX_FINALIZE_VM (`tdx_td_finalize()`). Returns 0; -EINVAL before KVM_TDX_INIT_VM and for a second call. */
  private finalize(): number {
    if (this.state !== 'initialized') return -ERRNO.EINVAL;
    this.state = 'runnable';
    return 0;
  }
}

function isUsersFault({ name }: TdxError): boolean {
  return name === 'TDX_OPERAND_INVALID';
}
