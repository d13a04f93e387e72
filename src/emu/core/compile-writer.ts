import { QUICK_ACCESS, QUICK_HALF } from '../tlb.js';
import { FLAG_LOCALS, flagsToState, type Pending } from './compile-flags.js';
import type { Core } from './core.js';
import { MICRO, MICRO_WORDS, X } from './lower.js';
import { JUMP, SPLIT } from './status.js';

/**
 * Writes the text of a block's function. Registers that are used again are local variables, `l3` and `h3` the halves of RBX;
 * what is written goes to the register file at once, in loops when they are left. What is known when the block is decoded (constants, addresses of code, costs,
 * which instruction sets the flags that a branch looks at) stands in the text as a number; only not where the block lies in
 * the cache, so that its function is good for the same code when the cache has been cleared.
 *
 * Locals beside those and those of `compile-flags.ts`: `al`, `ah` the linear address of an access, `vl`, `vh` what was
 * loaded, `p` the place in memory, `q` the place of its page in `tlb.quick`, `w` words of memory, `g` its
 * generations, `ra`, `wa`, `space` rights and address space as the core and its TLB have them.
 */

/** A micro-operation, as the writers of `compile-ops.ts` get it. */
export interface Micro {
  /** Its place among those of its block. */
  readonly number: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly scale: number;
  /** Somebody may see the flags that it sets. */
  readonly live: boolean;
  /** It is the last of its block. */
  readonly last: boolean;
}

type Text = string | (() => string);

/** No page at hand has it: stores that concern somebody are the interpreter's. */
const WATCHED = 0xff8;
const REGISTERS = 16;
const ZERO = 17;
const RIP = 16;
const RSP = 4;

/** A pair of words as expressions. */
export interface Pair {
  readonly lo: string;
  readonly hi: string;
}

export class BlockWriter {
  /** The flags that are in locals; `null`: they are in the flag state. */
  flags: Pending | null = null;
  /** The block branches to itself, and nothing in it can change what keeps it from going on. */
  readonly loops: boolean;

  private readonly core: Core;
  private readonly block: number;
  private readonly first: number;
  private readonly count: number;
  private readonly body: Text[] = [];
  /** Registers that have locals. */
  private readonly used = new Set<number>();
  /** Of a loop: registers whose locals are newer than the register file. */
  private readonly written = new Set<number>();
  /** Of other blocks: locals that are as the register file. */
  private readonly held = new Set<string>();
  private accesses = false;
  private stores = false;
  /** A store of the system may have hit the block without having asked. */
  private mayBeHit = false;
  /** Flags of before the block may be looked at. */
  private looksBack = false;
  /** The clock has been brought forward by an instruction of the system, as far as it wanted. */
  private owes = false;

  constructor(core: Core, block: number) {
    const { blocks } = core;
    this.core = core;
    this.block = block;
    this.first = blocks.first[block]!;
    this.count = blocks.count[block]!;
    this.loops = this.isLoop();
  }

  private isLoop(): boolean {
    const { micros, ripLo, ripHi } = this.core.blocks;
    if (this.core.blocks.isAcross(this.block)) return false;
    for (let number = this.first; number < this.first + this.count; number++) {
      const x = micros[number * MICRO_WORDS + MICRO.FULL]!;
      if (x < X.NOP || x === X.CALL || x === X.RET) return false;
    }
    const last = (this.first + this.count - 1) * MICRO_WORDS;
    const x = micros[last + MICRO.FULL]!;
    if (x !== X.JE && x !== X.JNE && x !== X.JCC && x !== X.JMP) return false;
    const target = micros[last + MICRO.B]!;
    return this.core.lo[target] === ripLo[this.block] && this.core.hi[target] === ripHi[this.block];
  }

  /** Writes all instructions. @returns the text of the function's body; its parameter is `horizon` */
  write(operation: (writer: BlockWriter, micro: Micro, x: number) => void): string {
    const { micros } = this.core.blocks;
    for (let number = this.first; number < this.first + this.count; number++) {
      const m = number * MICRO_WORDS;
      const x = micros[m + MICRO.FULL]!;
      operation(
        this,
        {
          number: number - this.first,
          a: micros[m + MICRO.A]!,
          b: micros[m + MICRO.B]!,
          c: micros[m + MICRO.C]!,
          d: micros[m + MICRO.D]!,
          scale: micros[m + MICRO.SCALE]!,
          live: micros[m] === x,
          last: number === this.first + this.count - 1,
        },
        x,
      );
    }
    this.ends();
    const body = this.body.map((text) => (typeof text === 'string' ? text : text())).join('\n');
    return `${this.prologue()}\n${this.loops ? `for(;;){\n${body}\n}` : body}`;
  }

  private prologue(): string {
    const lines = ['let al=0,ah=0,vl=0,vh=0,p=0,q=0;', FLAG_LOCALS];
    for (const register of this.used)
      lines.push(
        this.loops
          ? `let l${register}=lo[${register}],h${register}=hi[${register}];`
          : `let l${register},h${register};`,
      );
    if (this.accesses) lines.push(`let w,g,space=0,ra=0,wa=0;${this.rightsText}`);
    if (this.loops && this.stores) lines.push(`const before=g[${this.page}];`);
    if (this.owes) lines.push(`core.owedCycles=${this.cycles};`);
    return lines.join('\n');
  }

  private get cycles(): number {
    return this.core.blocks.cycles[this.block]!;
  }

  private get page(): number {
    return this.core.blocks.offset[this.block]! >>> 12;
  }

  // Registers.

  /** The low half of a slot: a local, or a number. */
  lo(slot: number): string {
    return this.half(slot, 'l', this.core.lo);
  }

  hi(slot: number): string {
    return this.half(slot, 'h', this.core.hi);
  }

  private half(slot: number, name: 'l' | 'h', file: Int32Array): string {
    if (slot >= REGISTERS) return slot === ZERO ? '0' : literal(file[slot]!);
    const local = `${name}${slot}`;
    this.used.add(slot);
    if (!this.loops && !this.held.has(local)) {
      this.held.add(local);
      this.emit(`${local}=${name === 'l' ? 'lo' : 'hi'}[${slot}];`);
    }
    return local;
  }

  /** A register gets new halves. */
  set(slot: number, lo: string, hi: string): void {
    const [low, high] = [`l${slot}`, `h${slot}`];
    this.used.add(slot);
    this.emit(`${low}=${lo};${high}=${hi};`);
    if (this.loops) this.written.add(slot);
    else {
      this.held.add(low).add(high);
      this.emit(writeBack(slot));
    }
  }

  emit(text: Text): void {
    this.body.push(text);
  }

  /** Flags as they are now are about to be looked at, or kept. */
  looks(): void {
    if (this.flags === null) this.looksBack = true;
  }

  /** Registers and flags, to where others see them. Does not change what is in locals. */
  private spill(): Text {
    this.looks();
    const flags = flagsToState(this.flags);
    return () => [...this.written].map(writeBack).join('') + flags;
  }

  private emitSpill(): void {
    this.emit(this.spill());
  }

  // Instructions that are somebody else's.

  /** Calls a function that executes a decoded instruction with a core whose registers are all in place. */
  calls(call: string, micro: Micro, isSystem: boolean): void {
    const { number } = micro;
    if (isSystem) this.owes = true;
    this.emitSpill();
    this.emit(`{const s=${call};if(s!==0){core.at=blocks.first[blocks.running]+${number};`);
    this.emit(() => `if(s===${JUMP}){${this.accountText()}return ${JUMP};}`);
    this.emit('return s;}}');
    this.held.clear();
    this.flags = null;
    if (isSystem) this.mayBeHit = true;
    else this.splitsByCall(number, micro.last);
    this.emit(() => (this.accesses ? this.rightsText : ''));
  }

  /** The interpreter executes the last instruction. */
  interprets({ number }: Micro): void {
    this.emitSpill();
    this.emit(`{const at=blocks.first[blocks.running]+${number};return execute(core,at,at+1,${MICRO.FULL});}`);
  }

  /** What is known of memory and rights. */
  private get rightsText(): string {
    const write = `core.watched?${WATCHED}:core.writeAccess<<${QUICK_ACCESS}`;
    return `w=memory.words;g=memory.generations;space=tlb.current;ra=core.readAccess<<${QUICK_ACCESS};wa=${write};`;
  }

  // Memory.

  /** Address of a memory operand, into `al` and `ah` or as numbers. */
  address({ b, c, d, scale }: Micro): Pair {
    const { core } = this;
    if (b >= ZERO && c === ZERO) {
      const lo = (core.lo[b]! + d) | 0;
      const carry = lo >>> 0 < core.lo[b]! >>> 0 ? 1 : 0;
      return { lo: literal(lo), hi: literal((core.hi[b]! + (d >> 31) + carry) | 0) };
    }
    if (b === ZERO) this.emit(`al=${literal(d)};ah=${literal(d >> 31)};`);
    else if (d === 0) this.emit(`al=${this.lo(b)};ah=${this.hi(b)};`);
    else
      this.emit(
        `al=(${this.lo(b)}+${literal(d)})|0;ah=(${this.hi(b)}+${literal(d >> 31)}+(al>>>0<${this.lo(b)}>>>0?1:0))|0;`,
      );
    if (c !== ZERO) {
      const lo = this.lo(c);
      const hi = this.hi(c);
      const low = scale === 0 ? lo : `(${lo}<<${scale})`;
      const high = scale === 0 ? hi : `((${hi}<<${scale})|(${lo}>>>${32 - scale}))`;
      this.emit(`p=al;al=(al+${low})|0;ah=(ah+${high}+(al>>>0<p>>>0?1:0))|0;`);
    }
    return { lo: 'al', hi: 'ah' };
  }

  /** RSP less 8, as an address. */
  pushAddress(): Pair {
    this.emit(`al=(${this.lo(RSP)}-8)|0;ah=(${this.hi(RSP)}-(${this.lo(RSP)}>>>0<8?1:0))|0;`);
    return { lo: 'al', hi: 'ah' };
  }

  /** RSP more 8. */
  popped(): void {
    const [lo, hi] = [this.lo(RSP), this.hi(RSP)];
    this.set(RSP, `(${lo}+8)|0`, `(${hi}+(${lo}>>>0<8?1:0))|0`);
  }

  /**
   * Goes on when the page is at hand and the access aligned; otherwise the interpreter does this instruction and all that
   * follow. The place in memory goes to `p`, in bytes.
   */
  private findPage({ lo, hi }: Pair, size: number, half: number, access: string, { number }: Micro): void {
    // Bits that make an address unaligned are among those of the kind of access that are zero.
    const mask = literal(-4096 | (size - 1));
    this.emit(`q=${half > 0 ? `${half}+` : ''}((${lo}>>>10)&252);`);
    this.emit(`if(quick[q]!==((${lo}&${mask})|${access})||quick[q+1]!==${hi}||quick[q+2]!==space){`);
    this.emitSpill();
    this.emit(`return rest(${number});}`);
    this.emit(`p=quick[q+3]+(${lo}&4095);`);
  }

  /** Loads into `vl` and `vh`; 4 bytes into `vl` alone. */
  load(address: Pair, size: number, micro: Micro): void {
    this.accesses = true;
    this.findPage(address, size, 0, 'ra', micro);
    this.emit(`vl=w[p>>2];${size === 8 ? 'vh=w[(p>>2)+1];' : ''}`);
  }

  /** Stores. {@link splits} or {@link leavesHit} has to follow. */
  store(address: Pair, size: number, value: Pair, micro: Micro): void {
    this.accesses = true;
    this.stores = true;
    this.findPage(address, size, QUICK_HALF, 'wa', micro);
    this.emit(`w[p>>2]=${value.lo};${size === 8 ? `w[(p>>2)+1]=${value.hi};` : ''}g[p>>>12]++;`);
  }

  /** Whether the store at `p` has hit the block. */
  private get hitText(): string {
    const { offset, length } = this.core.blocks;
    const span = this.core.blocks.isAcross(this.block) ? 0 : length[this.block]! + 7;
    return `(p-${literal(offset[this.block]! - 7)})>>>0<${span}`;
  }

  /** After a store: what follows in the block may have been overwritten. */
  splits({ number, last }: Micro): void {
    if (this.mayBeHit) {
      this.emit(`if(${this.hitText})blocks.hit=true;`);
      this.splitsByCall(number, last);
    } else if (!last) {
      this.emit(`if(${this.hitText}){`);
      this.emitSplit(number);
    }
  }

  /** As {@link splits}, but whatever stores next finds the hit. */
  leavesHit(): void {
    this.emit(`if(${this.hitText})blocks.hit=true;`);
  }

  private splitsByCall(number: number, last: boolean): void {
    this.emit('if(blocks.hit){blocks.hit=false;');
    if (last) this.emit('}');
    else this.emitSplit(number);
  }

  private emitSplit(number: number): void {
    this.emitSpill();
    this.emit(`core.at=blocks.first[blocks.running]+${number};return ${SPLIT};}`);
  }

  // Ends.

  /** Clock and count of instructions. */
  private accountText(): string {
    const time = this.owes ? 'now[0]+=core.owedCycles;core.owedCycles=0;' : `now[0]+=${this.cycles};`;
    return `${time}retired[0]+=${this.count};`;
  }

  /** Goes to a constant address under a condition; `true` for always. */
  branches(condition: string, slot: number, costsMore: boolean): void {
    const taken = costsMore && this.core.takenExtra !== 0 ? `now[0]+=${this.core.takenExtra};` : '';
    this.emit(`if(${condition}){${taken}`);
    this.emit(() => this.accountText());
    if (this.loops) this.emitAgain();
    this.emitSpill();
    this.emit(`lo[${RIP}]=${literal(this.core.lo[slot]!)};hi[${RIP}]=${literal(this.core.hi[slot]!)};`);
    this.emit(`return ${JUMP};}`);
  }

  /** A fault other than by memory; nothing has changed yet. */
  faultsUnless(condition: string, raised: string, { number }: Micro): void {
    this.emit(`if(!${condition}){`);
    this.emitSpill();
    this.emit(`core.at=blocks.first[blocks.running]+${number};return ${raised};}`);
  }

  /** Goes to an address in `vl` and `vh`. */
  jumps(): void {
    this.emitSpill();
    this.emit(() => `${this.accountText()}lo[${RIP}]=vl;hi[${RIP}]=vh;return ${JUMP};`);
  }

  private emitAgain(): void {
    const { ripLo, ripHi } = this.core.blocks;
    const flags = flagsToState(this.flags);
    this.emit(() => {
      const same = this.stores ? `g[${this.page}]===before&&` : '';
      const rip = `${ripLo[this.block]},${ripHi[this.block]}`;
      const go = `${this.looksBack ? flags : ''}trace.block(${rip},now[0]);continue;`;
      return `if(${same}now[0]+${this.cycles}<horizon){${go}}`;
    });
  }

  private ends(): void {
    const { endLo, endHi } = this.core.blocks;
    this.emitSpill();
    this.emit(() => this.accountText());
    this.emit(`lo[${RIP}]=${literal(endLo[this.block]!)};hi[${RIP}]=${literal(endHi[this.block]!)};return 0;`);
  }
}

const writeBack = (register: number): string => `lo[${register}]=l${register};hi[${register}]=h${register};`;

function literal(value: number): string {
  return value < 0 ? `(${value})` : `${value}`;
}
