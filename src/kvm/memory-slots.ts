import type { CodeSource } from '../emu/real-mode.js';
import { ERRNO } from '../linux/errno.js';
import type { Process } from '../linux/process.js';
import { type Address, PAGE_SIZE, type UserMemory } from '../linux/user-memory.js';
import { KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, MEMORY_REGION_SIZE } from './abi.js';

/** A range of guest-physical addresses and the process's memory behind it. */
interface MemorySlot {
  readonly flags: number;
  readonly gpa: bigint;
  readonly size: bigint;
  readonly hva: bigint;
}

/** KVM_CAP_NR_MEMSLOTS, and how many address spaces there are (the second is SMM's). */
const USER_MEM_SLOTS = 32764;
const ADDRESS_SPACES = 2;

const PAGE_MASK = BigInt(PAGE_SIZE - 1);
/** `KVM_MEM_MAX_NR_PAGES`, in bytes. */
const MAX_SIZE = ((1n << 31n) - 1n) * BigInt(PAGE_SIZE);
/** Above it lies the kernel's half of the address space. */
const USER_END = 0x7fff_ffff_f000n;

/** Where the guest's memory is (`struct kvm_memslots`). */
export class MemorySlots implements CodeSource {
  /** Whether the last byte that was missing lies in a slot: the process's memory behind it faults. */
  missingBehindSlot = false;
  /** Goes up with every change. */
  version = 0;
  private readonly memory: UserMemory;
  private readonly slots = new Map<number, MemorySlot>();

  constructor(memory: UserMemory) {
    this.memory = memory;
  }

  /**
   * KVM_SET_USER_MEMORY_REGION (`kvm_set_memory_region()`): adds, moves, changes or, with size 0, removes a slot.
   *
   * @returns 0; -EFAULT when the structure cannot be read; -EINVAL for unknown flags, for sizes and addresses that are
   *   not whole pages or wrap around, for a slot number out of range, for removing what is not there, and for changing
   *   size, memory or KVM_MEM_READONLY of a slot; -EEXIST when the range overlaps another slot
   */
  set(process: Process, argument: Address): number {
    const at = process.memory.readable(argument, MEMORY_REGION_SIZE);
    if (at < 0) return -ERRNO.EFAULT;
    const { view } = process.memory;
    const id = view.getUint32(at, true);
    const slot: MemorySlot = {
      flags: view.getUint32(at + 4, true),
      gpa: view.getBigUint64(at + 8, true),
      size: view.getBigUint64(at + 16, true),
      hva: view.getBigUint64(at + 24, true),
    };
    if (!isWellFormed(id, slot)) return -ERRNO.EINVAL;
    return slot.size === 0n ? this.remove(id) : this.put(id, slot);
  }

  private remove(id: number): number {
    this.version++;
    return this.slots.delete(id) ? 0 : -ERRNO.EINVAL;
  }

  private put(id: number, slot: MemorySlot): number {
    const old = this.slots.get(id);
    if (old && (old.size !== slot.size || old.hva !== slot.hva || ((old.flags ^ slot.flags) & KVM_MEM_READONLY) !== 0))
      return -ERRNO.EINVAL;
    if (old?.gpa !== slot.gpa && this.overlaps(id, slot)) return -ERRNO.EEXIST;
    this.slots.set(id, slot);
    this.version++;
    return 0;
  }

  private overlaps(id: number, slot: MemorySlot): boolean {
    for (const [otherId, other] of this.slots) {
      if (otherId === id || otherId >>> 16 !== id >>> 16) continue;
      if (slot.gpa < other.gpa + other.size && other.gpa < slot.gpa + slot.size) return true;
    }
    return false;
  }

  /** The process's memory behind a guest-physical address; `null` when no slot has it. */
  find(gpa: number): { readonly hva: bigint; readonly readonly: boolean } | null {
    const address = BigInt(gpa);
    for (const [id, slot] of this.slots) {
      if (id >>> 16 !== 0 || address < slot.gpa || address >= slot.gpa + slot.size) continue;
      return { hva: slot.hva + (address - slot.gpa), readonly: (slot.flags & KVM_MEM_READONLY) !== 0 };
    }
    return null;
  }

  /** The byte at a guest-physical address; -1 when no slot has it or the process's memory behind it faults. */
  codeAt(gpa: number): number {
    const address = BigInt(gpa);
    this.missingBehindSlot = false;
    for (const [id, slot] of this.slots) {
      if (id >>> 16 !== 0 || address < slot.gpa || address >= slot.gpa + slot.size) continue;
      const offset = this.memory.readable(slot.hva + (address - slot.gpa), 1);
      this.missingBehindSlot = offset < 0;
      return offset < 0 ? -1 : this.memory.bytes[offset]!;
    }
    return -1;
  }
}

function isWellFormed(id: number, { flags, gpa, size, hva }: MemorySlot): boolean {
  if ((flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)) !== 0) return false;
  if (((size | gpa | hva) & PAGE_MASK) !== 0n || size > MAX_SIZE) return false;
  if (hva + size > USER_END) return false;
  if (id >>> 16 >= ADDRESS_SPACES || (id & 0xffff) >= USER_MEM_SLOTS) return false;
  return gpa + size < 1n << 64n;
}
