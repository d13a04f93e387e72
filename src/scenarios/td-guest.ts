import type { TdConfiguration } from '../api/td.js';
import type { CreatedTd, TdStep, Vmm } from '../api/vmm.js';
import type { EngineName } from '../emu/core/engine.js';
import type { Assembler } from '../emu/isa/asm.js';
import { KVM_MEMORY_ENCRYPT_OP, KVM_TDX_INIT_MEM_REGION, TDX_CMD, TDX_CMD_SIZE } from '../kvm/abi.js';
import { Vcpu } from '../kvm/vcpu.js';
import { Vm } from '../kvm/vm.js';
import { errnoName } from '../linux/errno.js';
import type { HostCpu } from '../linux/host-cpu.js';
import type { TdxUserReturnRow } from '../linux/user-return-rows.js';
import { TdRunner } from '../tdx/kvm-run.js';
import { KvmTdVcpu } from '../tdx/kvm-vcpu.js';
import { KvmTd } from '../tdx/kvm-vm.js';
import type { Td } from '../tdx/module.js';
import type { RestoreRow } from '../tdx/restore-rows.js';
import { type GuestImage, guestImage } from './guest-image.js';

/** A TD with a program in it: what QEMU's ioctls make, and where its firmware would leave it. */

/** What is other than in the kernel: to see what breaks without it. */
/** How a stage differs from what a scenario says. */
export interface StageOptions extends RestoreOptions {
  /** What executes code. Default: the interpreter. */
  readonly engine?: EngineName;
}

export interface RestoreOptions {
  /** What KVM brings back after a TD exit. */
  readonly restore?: readonly RestoreRow[];
  /** What it brings back on the way to user mode. */
  readonly userReturn?: readonly TdxUserReturnRow[];
}

export interface TdGuest {
  readonly created: CreatedTd;
  /** `null` when an ioctl has failed. */
  readonly vcpu: Vcpu | null;
}

/** @param program what it runs; may depend on the TD that the module has made */
export function createTdGuest(
  vmm: Vmm,
  cpu: HostCpu,
  configuration: TdConfiguration,
  program: (td: Td) => (a: Assembler) => void,
  { restore, userReturn }: RestoreOptions = {},
): TdGuest {
  let image: GuestImage | null = null;
  const created = vmm.createTd(configuration, 1, (vm, [vcpu = -1]) => {
    const file = vmm.process.file(vm);
    if (!(file instanceof Vm) || !(file.td instanceof KvmTd)) throw new Error('not a TD');
    image = guestImage(program(file.td.td!));
    return addMemory(vmm, vcpu, image);
  });
  if (created.failed || !image) return { created, vcpu: null };
  const vcpu = vmm.process.file(created.vcpus[0]!);
  if (!(vcpu instanceof Vcpu) || !(vcpu.td instanceof KvmTdVcpu)) throw new Error('not a vCPU of a TD');
  const runner = new TdRunner(vcpu.td, cpu, restore, userReturn);
  const { rip, rsp, cr3 }: GuestImage = image;
  runner.state.boot({ rip, rsp, cr3 });
  vcpu.td.runner = runner;
  return { created, vcpu };
}

/** KVM_TDX_INIT_MEM_REGION for every page of the guest: one step, or two when one of them fails. */
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
