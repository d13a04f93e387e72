import type { Core } from '../emu/core/core.js';
import { OP } from '../emu/isa/forms.js';
import { HIGH_BYTE, INSN, INSN_WORDS, OPERAND } from '../emu/isa/insn.js';
import { KVM_EXIT_MMIO, RUN } from './abi.js';
import type { GuestExit, GuestRegisters } from './guest-run.js';
import type { RunPage } from './run-page.js';

/** What of an access to a device is still to be done when userspace has answered. */
interface Pending {
  register: number;
  size: number;
  active: boolean;
}

/** Accesses to memory that no slot has: MOV alone, as the emulator of KVM that is needed for devices. */
export class GuestMmio {
  private readonly pending: Pending = { register: 0, size: 0, active: false };

  /**
   * Describes the access of the instruction that has just left the guest.
   *
   * @returns bytes of the instruction, or 0 when it is none that can be emulated
   */
  begin(core: Core, exit: GuestExit, registers: GuestRegisters, page: RunPage): number {
    const { insns } = core.blocks;
    const at = core.at * INSN_WORDS;
    if (exit.fetch || core.exitInfo.deliveringVector >= 0 || insns[at] !== OP.MOV) return 0;
    const size = insns[at + INSN.SIZE]!;
    const source = insns[at + INSN.SRC]!;
    const writes = insns[at + INSN.DST] === OPERAND.MEMORY;
    const address = BigInt(exit.gpa);
    page.set32(RUN.exitReason, KVM_EXIT_MMIO);
    page.set64(RUN.mmioAddress, address);
    page.set32(RUN.mmioLength, size);
    page.set8(RUN.mmioIsWrite, writes ? 1 : 0);
    page.set64(RUN.mmioData, 0n);
    if (writes) {
      const immediate = source === OPERAND.IMMEDIATE;
      const register = source >= HIGH_BYTE ? source - HIGH_BYTE : source;
      const lo = immediate ? insns[at + INSN.IMM_LO]! : registers.lo[register]!;
      const hi = immediate ? insns[at + INSN.IMM_HI]! : registers.hi[register]!;
      const value = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
      const shifted = source >= HIGH_BYTE ? value >> 8n : value;
      page.set64(RUN.mmioData, BigInt.asUintN(size * 8, shifted));
    } else {
      const register = insns[at + INSN.DST]!;
      this.pending.register = register;
      this.pending.size = size;
      this.pending.active = true;
    }
    return insns[at + INSN.LENGTH]!;
  }

  /** `complete_emulated_mmio()`: what userspace has read goes to its register. */
  complete(registers: GuestRegisters, page: RunPage): void {
    const { pending } = this;
    if (!pending.active) return;
    pending.active = false;
    const value = BigInt.asUintN(pending.size * 8, page.get64(RUN.mmioData));
    const lo = Number(BigInt.asIntN(32, value));
    if (pending.register >= HIGH_BYTE) {
      const at = pending.register - HIGH_BYTE;
      registers.lo[at] = (registers.lo[at]! & ~0xff00) | ((lo & 0xff) << 8);
      return;
    }
    const mask = pending.size >= 4 ? -1 : (1 << (pending.size * 8)) - 1;
    registers.lo[pending.register] = (registers.lo[pending.register]! & ~mask) | (lo & mask);
    if (pending.size >= 4)
      registers.hi[pending.register] = pending.size === 8 ? Number(BigInt.asIntN(32, value >> 32n)) : 0;
  }
}
