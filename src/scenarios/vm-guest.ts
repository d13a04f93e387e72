import type { Vmm } from '../api/vmm.js';
import type { CpuidEntry2 } from '../cpuid/entry.js';
import { featureNamed } from '../cpuid/features.js';
import type { Assembler } from '../emu/isa/asm.js';
import {
  KVM_GET_SREGS,
  KVM_RUN,
  KVM_SET_MSRS,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_USER_MEMORY_REGION,
  MEMORY_REGION_SIZE,
  MSR_DATA,
  MSR_ENTRY_SIZE,
  MSRS_HEADER_SIZE,
  REGS_SIZE,
  RFLAGS,
  RIP,
  SEGMENT,
  SREGS_CR0,
  SREGS_CR3,
  SREGS_CR4,
  SREGS_EFER,
  SREGS_SEGMENTS,
  SREGS_SIZE,
  VM_TYPES,
} from '../kvm/abi.js';
import { Vcpu } from '../kvm/vcpu.js';
import { errnoName } from '../linux/errno.js';
import type { HostCpu } from '../linux/host-cpu.js';
import { GUEST, type GuestImage, guestImage } from './guest-image.js';
import { Guest, type Stage } from './stage.js';
import { withFeatures } from './td-entries.js';

/** An ordinary VM: made by the ioctls that every VMM uses, its guest in 64-bit mode. */

export interface VmOptions {
  /** Where it runs. Default: CPU 0. */
  readonly cpu?: HostCpu;
  /** Bits of CR4 beyond PAE, OSFXSR and OSXSAVE. */
  readonly cr4?: bigint;
  /** MSRs that userspace sets, by index. */
  readonly msrs?: readonly (readonly [index: number, value: bigint])[];
  /** The whole table, made from what KVM_GET_SUPPORTED_CPUID reports. */
  readonly entries?: (supported: readonly CpuidEntry2[]) => readonly CpuidEntry2[];
}

const CR0 = 0x8005_0033n;
/** PAE, OSFXSR, OSXSAVE. */
const CR4 = 0x4_0220n;
/** SCE, LME, LMA, NXE. */
const EFER = 0xd01n;
const RSP = 6;
const CODE = { selector: 0x10, type: 11 } as const;
const DATA = { selector: 0x18, type: 3 } as const;

/**
 * A VM whose CPUID table is what KVM reports, with these features on top. Ends the scenario when KVM refuses it.
 *
 * @param features names of bits that are set whether KVM reports them or not
 */
export function vmGuest(
  stage: Stage,
  features: readonly string[],
  program: (a: Assembler) => void,
  { cpu = stage.cpu, cr4 = 0n, msrs = [], entries }: VmOptions = {},
): Guest {
  const vmm = stage.vmmOn(cpu);
  warmUp(stage, cpu);
  const supported = vmm.supported().entries;
  const table = entries?.(supported) ?? withFeatures(supported, features.map(featureNamed));
  const { fd, steps } = makeVm(vmm, table, guestImage(program), cr4, msrs);
  for (const { ioctl, errno } of steps) stage.tell('kvm', `${ioctl}: ${errno}`, cpu);
  const failed = steps.find(({ errno }) => errno !== 'OK');
  if (failed) stage.refuse(failed.ioctl, failed.errno);
  const file = vmm.process.file(fd);
  if (!(file instanceof Vcpu)) throw new Error('not a vCPU');
  return new Guest(stage, fd, file, cpu);
}

/** CPUs on which a guest has run before. */
const warm = new WeakSet<HostCpu>();

/**
 * A guest that does nothing runs before the story begins. So what every use of KVM does to a host is part of the host:
 * CR4.VMXE or EFER.SVME, and the limit of IDTR, which VM exits set to FFFFH (SDM volume 3, 28.5.2) and Linux leaves there.
 */
function warmUp(stage: Stage, cpu: HostCpu): void {
  if (warm.has(cpu)) return;
  warm.add(cpu);
  const vmm = stage.vmmOn(cpu);
  stage.host(
    'a guest that does nothing runs',
    () => {
      const { fd, errno } = makeVm(vmm, vmm.supported().entries, guestImage(halts), 0n);
      if (errno === 'OK') vmm.process.ioctl(fd, KVM_RUN, 0);
    },
    cpu,
  );
}

function halts(a: Assembler): void {
  a.hlt();
}

/** One ioctl of a VMM, and its answer: `OK`, an errno, or how many MSRs were taken of those that were not all. */
interface Step {
  readonly ioctl: string;
  readonly errno: string;
}

/** Everything up to KVM_RUN. Stops at the first ioctl that fails. */
export function makeVm(
  vmm: Vmm,
  table: readonly CpuidEntry2[],
  image: GuestImage,
  cr4: bigint,
  msrs: NonNullable<VmOptions['msrs']> = [],
): { readonly fd: number; readonly errno: string; readonly steps: readonly Step[] } {
  const { process } = vmm;
  const vm = vmm.prepareVm(VM_TYPES.default);
  const fd = vmm.createVcpu(vm);
  const steps: Step[] = [{ ioctl: 'KVM_SET_CPUID2', errno: vmm.setCpuid2(fd, table) }];
  const call = (ioctl: string, where: number, request: number, argument: number) => {
    if (steps.at(-1)!.errno === 'OK') steps.push({ ioctl, errno: errnoName(process.ioctl(where, request, argument)) });
  };
  call('KVM_SET_USER_MEMORY_REGION', vm, KVM_SET_USER_MEMORY_REGION, memoryRegion(vmm, image));
  const sregs = process.memory.mmap(SREGS_SIZE);
  call('KVM_GET_SREGS', fd, KVM_GET_SREGS, sregs);
  putSregs(vmm, sregs, image, cr4);
  call('KVM_SET_SREGS', fd, KVM_SET_SREGS, sregs);
  if (steps.at(-1)!.errno === 'OK' && msrs.length > 0) {
    const taken = process.ioctl(fd, KVM_SET_MSRS, msrArray(vmm, msrs));
    steps.push({ ioctl: 'KVM_SET_MSRS', errno: taken === msrs.length ? 'OK' : `${taken} of ${msrs.length} MSRs` });
  }
  call('KVM_SET_REGS', fd, KVM_SET_REGS, regs(vmm, image));
  return { fd, errno: steps.at(-1)!.errno, steps };
}

/** The guest's memory in the process, and the structure that says so. */
function memoryRegion({ process: { memory } }: Vmm, { pages }: GuestImage): number {
  const at = memory.mmap(GUEST.END);
  for (const [address, contents] of pages) memory.bytes.set(contents, at - memory.base + address);
  const region = memory.mmap(MEMORY_REGION_SIZE);
  const offset = region - memory.base;
  memory.view.setUint32(offset, 0, true);
  memory.view.setUint32(offset + 4, 0, true);
  memory.view.setBigUint64(offset + 8, 0n, true);
  memory.view.setBigUint64(offset + 16, BigInt(GUEST.END), true);
  memory.view.setBigUint64(offset + 24, BigInt(at), true);
  return region;
}

function putSregs({ process: { memory } }: Vmm, address: number, { cr3 }: GuestImage, cr4: bigint): void {
  const { view } = memory;
  const at = address - memory.base;
  for (const [name, offset] of Object.entries(SREGS_SEGMENTS)) {
    if (name === 'tr' || name === 'ldt') continue;
    const { selector, type } = name === 'cs' ? CODE : DATA;
    view.setBigUint64(at + offset + SEGMENT.base, 0n, true);
    view.setUint32(at + offset + SEGMENT.limit, 0xffff_ffff, true);
    view.setUint16(at + offset + SEGMENT.selector, selector, true);
    view.setUint8(at + offset + SEGMENT.type, type);
    view.setUint8(at + offset + SEGMENT.present, 1);
    view.setUint8(at + offset + SEGMENT.s, 1);
    view.setUint8(at + offset + SEGMENT.l, name === 'cs' ? 1 : 0);
  }
  view.setBigUint64(at + SREGS_CR0, CR0, true);
  view.setBigUint64(at + SREGS_CR3, cr3, true);
  view.setBigUint64(at + SREGS_CR4, CR4 | cr4, true);
  view.setBigUint64(at + SREGS_EFER, EFER, true);
}

/** `struct kvm_msrs` */
function msrArray({ process: { memory } }: Vmm, msrs: NonNullable<VmOptions['msrs']>): number {
  const address = memory.mmap(MSRS_HEADER_SIZE + msrs.length * MSR_ENTRY_SIZE);
  const at = address - memory.base;
  memory.view.setUint32(at, msrs.length, true);
  msrs.forEach(([index, value], number) => {
    const entry = at + MSRS_HEADER_SIZE + number * MSR_ENTRY_SIZE;
    memory.view.setUint32(entry, index, true);
    memory.view.setBigUint64(entry + MSR_DATA, value, true);
  });
  return address;
}

function regs({ process: { memory } }: Vmm, { rip, rsp }: GuestImage): number {
  const address = memory.mmap(REGS_SIZE);
  const at = address - memory.base;
  memory.bytes.fill(0, at, at + REGS_SIZE);
  memory.view.setBigUint64(at + RSP * 8, rsp, true);
  memory.view.setBigUint64(at + RIP * 8, rip, true);
  memory.view.setBigUint64(at + RFLAGS * 8, 2n, true);
  return address;
}
