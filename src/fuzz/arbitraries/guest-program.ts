import fc, { type Arbitrary, type Random, type Value } from 'fast-check';
import { type Assembler, asm, assemble } from '../../emu/isa/asm.js';
import { GUEST, tdHalt } from '../../scenarios/guest-image.js';
import { type Dice, fewerWideBits } from '../dice.js';
import { drawOperand, drawRow, instructionRow, SHRINKS } from './instruction-rows.js';

/** An instruction that matters to a host, by its name in `instruction-rows.ts`. Registers that it needs are loaded first. */
export interface GuestInstruction {
  readonly name: string;
  readonly operands: readonly bigint[];
}

/** What a guest does. */
export interface GuestProgram {
  readonly instructions: readonly GuestInstruction[];
  /** `wrmsr 0xe1 0x4`, one line each. */
  readonly listing: readonly string[];
  /**
   * Machine code for 64-bit mode, to be put at guest-physical address 1000H and entered at its first byte. It expects its
   * first 64 KiB mapped to themselves, a stack below 8000H, and brings an IDT of its own: an instruction that faults is
   * skipped. At the end the guest halts for good.
   */
  readonly code: Uint8Array;
}

export interface GuestProgramOptions {
  /** What it ends with: HLT, or a TD's way to say so. Default: `vm`. */
  readonly guest?: 'vm' | 'td';
  /** The most instructions. Default: 12. */
  readonly maxLength?: number;
}

/** A program of a guest. Shrinks to the instructions that matter, with as few bits as matter. */
export function guestProgram(options: GuestProgramOptions = {}): Arbitrary<GuestProgram> {
  const { guest = 'vm', maxLength = 12 } = options;
  return new Instructions(maxLength).map(
    (instructions) => programOf(instructions, guest),
    (program) => (program as GuestProgram).instructions,
  );
}

/** A program of given instructions. @throws RangeError for a name that is none */
export function programOf(instructions: readonly GuestInstruction[], guest: 'vm' | 'td'): GuestProgram {
  let made: Uint8Array | null = null;
  return {
    instructions,
    listing: instructions.map(instructionText),
    get code() {
      made ??= guestCode(instructions, guest);
      return made;
    },
  };
}

export const instructionText = ({ name, operands }: GuestInstruction): string =>
  [name, ...operands.map((value) => `0x${value.toString(16)}`)].join(' ');

/** Reads what {@link instructionText} wrote. @throws RangeError when it is no instruction */
export function parseInstruction(text: string): GuestInstruction {
  const [name = '', ...operands] = text.split(' ');
  const row = instructionRow(name);
  if (!row || operands.length !== row.operands.length || !operands.every((value) => /^0x[0-9a-f]{1,16}$/.test(value)))
    throw new RangeError(`${text}: no instruction of a guest`);
  return { name, operands: operands.map(BigInt) };
}

export function drawInstructions(dice: Dice, maxLength: number): readonly GuestInstruction[] {
  return Array.from({ length: dice.nextInt(0, maxLength) }, () => {
    const { name, operands } = drawRow(dice);
    return { name, operands: operands.map((kind) => drawOperand(dice, kind)) };
  });
}

/** What instructions shrink to, the fewest first. */
export function* simplerInstructions(list: readonly GuestInstruction[]): Generator<readonly GuestInstruction[]> {
  if (list.length > 0) yield [];
  for (let size = list.length >>> 1; size > 0; size >>>= 1) {
    for (let at = 0; at < list.length; at += size) yield list.toSpliced(at, size);
  }
  for (const [at, { name, operands }] of list.entries()) {
    for (const [n, kind] of instructionRow(name)!.operands.entries()) {
      if (!SHRINKS.includes(kind)) continue;
      for (const value of fewerWideBits(operands[n]!)) yield list.with(at, { name, operands: operands.with(n, value) });
    }
  }
}

class Instructions extends fc.Arbitrary<readonly GuestInstruction[]> {
  private readonly maxLength: number;

  constructor(maxLength: number) {
    super();
    this.maxLength = maxLength;
  }

  generate(random: Random): Value<readonly GuestInstruction[]> {
    return new fc.Value(drawInstructions(random, this.maxLength), undefined);
  }

  canShrinkWithoutContext(value: unknown): value is readonly GuestInstruction[] {
    return Array.isArray(value) && value.every(({ name }) => instructionRow(name));
  }

  shrink(list: readonly GuestInstruction[]) {
    return fc.stream(
      (function* () {
        for (const simpler of simplerInstructions(list)) yield new fc.Value(simpler, undefined);
      })(),
    );
  }
}

// Machine code --------------------------------------------------------------------------------------------------------

/** Bytes that every instruction has, its registers and NOPs included: the handler of faults goes on at the next slot. */
const SLOT = 64;
const NOP = 0x90;
/** Exceptions. */
const GATES = 32;
const IDT = GUEST.DATA + 16;
const PROLOGUE = 128;
const TDG_VP_VEINFO_GET = 3;

function padded(bytes: Uint8Array, size: number): Uint8Array {
  const all = new Uint8Array(size).fill(NOP);
  all.set(bytes);
  return all;
}

function guestCode(instructions: readonly GuestInstruction[], guest: 'vm' | 'td'): Uint8Array {
  const first = GUEST.CODE + PROLOGUE;
  const slots = instructions.map(({ name, operands }, n) =>
    padded(
      asm((a) => {
        a.mov('r15d', first + (n + 1) * SLOT);
        instructionRow(name)!.write(a, ...operands);
      }),
      SLOT,
    ),
  );
  const parts = [PROLOGUES[guest], ...slots, EPILOGUES[guest]];
  const code = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  if (code.length > GUEST.DATA - GUEST.CODE) throw new RangeError('the program is too long');
  let at = 0;
  for (const part of parts) {
    code.set(part, at);
    at += part.length;
  }
  return code;
}

/** Makes an IDT with one handler, which reads about a #VE, so that the next one can come, and goes on at the next slot. */
function prologue(guest: 'vm' | 'td'): Uint8Array {
  const { bytes, labels } = assemble((a) => {
    a.jmp('start');
    a.label('handler');
    if (guest === 'td') {
      a.mov('eax', TDG_VP_VEINFO_GET);
      a.tdcall();
    }
    a.mov('esp', GUEST.STACK_TOP);
    a.jmp('r15');
    a.label('start');
    a.mov('ebx', IDT);
    a.mov('ecx', GATES);
    // Offset 15:0, selector 10H, of which no descriptor is ever read; present interrupt gate.
    a.mov('rax', (0x8e00n << 32n) | (0x10n << 16n) | BigInt(HANDLER));
    a.label('gate');
    a.mov('qword ptr [rbx]', 'rax');
    a.add('rbx', 16);
    a.dec('ecx');
    a.jne('gate');
    a.mov('ebx', GUEST.DATA);
    a.mov('rax', (BigInt(IDT) << 16n) | BigInt(GATES * 16 - 1));
    a.mov('qword ptr [rbx]', 'rax');
    a.lidt('[rbx]');
  });
  if (GUEST.CODE + labels.get('handler')! !== HANDLER) throw new Error('the handler is elsewhere');
  return padded(bytes, PROLOGUE);
}

/** Behind a short jump. */
const HANDLER = GUEST.CODE + 2;

const PROLOGUES = { vm: prologue('vm'), td: prologue('td') };
const EPILOGUES = { vm: asm((a) => haltForGood(a, 'vm')), td: asm((a) => haltForGood(a, 'td')) };

function haltForGood(a: Assembler, guest: 'vm' | 'td'): void {
  a.label('again');
  if (guest === 'td') tdHalt(a);
  else a.hlt();
  a.jmp('again');
}
