import { RAX } from '../emu/core/core.js';
import { RFLAGS, RIP } from './abi.js';
import { GUEST_RIP, type GuestRegisters } from './guest-run.js';
import type { VcpuState } from './vcpu-state.js';

/** Of each general register, by its number: its place in `struct kvm_regs` (RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, …). */
const PLACES = Int32Array.of(0, 2, 3, 1, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, RIP);

const halves = new WeakMap<VcpuState, Int32Array>();

/** `struct kvm_regs` as halves: low, high, low, high, … */
function halvesOf(state: VcpuState): Int32Array {
  const known = halves.get(state) ?? new Int32Array(state.regs.buffer, state.regs.byteOffset, state.regs.length * 2);
  halves.set(state, known);
  return known;
}

/** Takes over what KVM_SET_REGS has set. */
export function loadRegisters(state: VcpuState, registers: GuestRegisters): void {
  const words = halvesOf(state);
  for (let register = 0; register <= GUEST_RIP; register++) {
    registers.lo[register] = words[PLACES[register]! * 2]!;
    registers.hi[register] = words[PLACES[register]! * 2 + 1]!;
  }
  registers.rflags = words[RFLAGS * 2]!;
}

/** Makes the registers what KVM_GET_REGS gives. */
export function saveRegisters(state: VcpuState, registers: GuestRegisters): void {
  const words = halvesOf(state);
  for (let register = 0; register <= GUEST_RIP; register++) {
    words[PLACES[register]! * 2] = registers.lo[register]!;
    words[PLACES[register]! * 2 + 1] = registers.hi[register]!;
  }
  words[RFLAGS * 2] = registers.rflags;
  words[RFLAGS * 2 + 1] = 0;
}

/** A file of general registers, in halves. */
interface Registers {
  readonly lo: Int32Array;
  readonly hi: Int32Array;
}

/**
 * Moves general registers between a vCPU and the core, as the code around VMLAUNCH, VMRESUME and VMRUN does. RSP stays:
 * it is hardware's business.
 *
 * @param first the first that is moved: 1 where RAX is hardware's business too
 */
export function moveRegisters(from: Registers, to: Registers, first: 0 | 1): void {
  if (first === 0) {
    to.lo[RAX] = from.lo[RAX]!;
    to.hi[RAX] = from.hi[RAX]!;
  }
  moveHalves(from.lo, to.lo);
  moveHalves(from.hi, to.hi);
}

/** All but RAX and RSP. No loop: in each round V8 would check anew what it knows of the arrays. */
function moveHalves(from: Int32Array, to: Int32Array): void {
  to[1] = from[1]!;
  to[2] = from[2]!;
  to[3] = from[3]!;
  to[5] = from[5]!;
  to[6] = from[6]!;
  to[7] = from[7]!;
  to[8] = from[8]!;
  to[9] = from[9]!;
  to[10] = from[10]!;
  to[11] = from[11]!;
  to[12] = from[12]!;
  to[13] = from[13]!;
  to[14] = from[14]!;
  to[15] = from[15]!;
}
