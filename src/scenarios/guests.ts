import type { Assembler } from '../emu/isa/asm.js';
import { tdHalt } from './guest-image.js';

/** Guest programs that several scenarios run. One function each, so that an image is built once. */

/** Goes straight back to the VMM. */
export function guestHalts(a: Assembler): void {
  a.label('again');
  tdHalt(a);
  a.jmp('again');
}
