import { FORMS, type Form, MAP, type OperandPlace, type OperandWidth, PREFIX } from './forms.js';
import { FLAG, HIGH_BYTE, INSN, MAX_LENGTH, OPERAND, OUTCOME, type Outcome, RIP, SEGMENT } from './insn.js';
import { dependsOnModrm, isDefined } from './opcode-map.js';
import { CONTROL_REGISTERS } from './registers.js';

/**
 * The decoder of 64-bit code (SDM vol. 2A chapter 2): bytes in, one record out, driven by tables that come from the
 * operation table. It allocates nothing and never throws.
 *
 * Near branches keep 64-bit operand size whatever 66 says, as Intel's do; on AMD 66 makes them 16 bits wide.
 */

/** What a byte is as a prefix. */
const LEGACY = {
  NONE: 0,
  LOCK: 1,
  REPNE: 2,
  REP: 3,
  OPERAND_SIZE: 4,
  ADDRESS_SIZE: 5,
  NULL_SEGMENT: 6,
  SEGMENT: 7,
  REX: 8,
};

const PREFIX_KIND = new Uint8Array(256);
PREFIX_KIND[0xf0] = LEGACY.LOCK;
PREFIX_KIND[0xf2] = LEGACY.REPNE;
PREFIX_KIND[0xf3] = LEGACY.REP;
PREFIX_KIND[0x66] = LEGACY.OPERAND_SIZE;
PREFIX_KIND[0x67] = LEGACY.ADDRESS_SIZE;
for (const byte of [0x26, 0x2e, 0x36, 0x3e]) PREFIX_KIND[byte] = LEGACY.NULL_SEGMENT;
for (const byte of [0x64, 0x65]) PREFIX_KIND[byte] = LEGACY.SEGMENT;
PREFIX_KIND.fill(LEGACY.REX, 0x40, 0x50);

const REX = { B: 1, X: 2, R: 4, W: 8 };

/** Places and widths as numbers, in the order in which the decoder asks. */
const PLACES = ['', 'E', 'R', 'M', 'G', 'Z', 'C', 'I', 'J', 'AL', 'rAX', 'CL', '1'] as const;
const PLACE = Object.fromEntries(PLACES.map((place, i) => [place, i])) as Record<OperandPlace | '', number>;
const WIDTHS = ['', 'b', 'bs', 'w', 'd', 'q', 'o', 's', 'v', 'y', 'z', 'a'] as const;
const WIDTH = Object.fromEntries(WIDTHS.map((width, i) => [width, i])) as Record<OperandWidth, number>;

const [P_E, P_R, P_M, P_G, P_Z] = [PLACE.E, PLACE.R, PLACE.M, PLACE.G, PLACE.Z];
const [P_C, P_I, P_J, P_AX, P_CL, P_ONE] = [PLACE.C, PLACE.I, PLACE.J, PLACE.rAX, PLACE.CL, PLACE['1']];
const [W_B, W_BS, W_W, W_D, W_V, W_Y] = [WIDTH.b, WIDTH.bs, WIDTH.w, WIDTH.d, WIDTH.v, WIDTH.y];
const [W_Z, W_A, W_NONE] = [WIDTH.z, WIDTH.a, WIDTH['']];

/** Bytes of the widths that depend on nothing. */
const FIXED_BYTES = new Uint8Array(WIDTHS.length);
for (const [width, bytes] of [
  ['b', 1],
  ['bs', 1],
  ['w', 2],
  ['d', 4],
  ['q', 8],
  ['o', 16],
  ['s', 10],
] as const) {
  FIXED_BYTES[WIDTH[width]] = bytes;
}

const MOD = { any: 0, register: 1, memory: 2, ignored: 3 };
const [MOD_REGISTER, MOD_MEMORY, MOD_IGNORED] = [MOD.register, MOD.memory, MOD.ignored];
const SIZE_RULE = { normal: 0, d64: 1, f64: 2 };

// The forms as columns.
const OPS = Uint8Array.from(FORMS, (form) => form.op);
const PREFIXES = Uint8Array.from(FORMS, (form) => form.prefixes);
const MODRM_MASK = Uint8Array.from(FORMS, (form) => form.modrmMask);
const MODRM_VALUE = Uint8Array.from(FORMS, (form) => form.modrmValue);
const MODS = Uint8Array.from(FORMS, (form) => MOD[form.mod]);
const SIZE_RULES = Uint8Array.from(FORMS, (form) => SIZE_RULE[form.sizeRule]);
const ONLY_64 = Uint8Array.from(FORMS, (form) => Number(form.only64));
const REX_B_CLEAR = Uint8Array.from(FORMS, (form) => Number(form.rexBClear));
const LOCKABLE = Uint8Array.from(FORMS, (form) => Number(form.lock));
const PLACE_0 = Uint8Array.from(FORMS, (form) => PLACE[form.operands[0]?.place ?? '']);
const PLACE_1 = Uint8Array.from(FORMS, (form) => PLACE[form.operands[1]?.place ?? '']);
const WIDTH_0 = Uint8Array.from(FORMS, (form) => WIDTH[form.operands[0]?.width ?? '']);
const WIDTH_1 = Uint8Array.from(FORMS, (form) => WIDTH[form.operands[1]?.width ?? '']);

/** Maps in the index: the four legacy ones, then VEX.MAP7. */
const VEX7_INDEX = 4;
/** By map and opcode: the first form to try, -1 without any; then by form the next one. The narrower come first. */
const FIRST = new Int16Array((VEX7_INDEX + 1) * 256).fill(-1);
const NEXT = new Int16Array(FORMS.length).fill(-1);
/** By map and opcode: 1 when the forms there have a ModRM byte. */
const HAS_MODRM = new Uint8Array(FIRST.length);

/** How much a form asks for: whole ModRM byte before digit before nothing, then 64-bit-only before the general one. */
const narrowness = (form: Form): number =>
  form.opcodeRegister ? -1 : form.modrmMask * 4 + Number(form.only64) * 2 + Number(form.rexBClear);

for (const form of [...FORMS].sort((a, b) => narrowness(a) - narrowness(b))) {
  const map = form.map === MAP.VEX7 ? VEX7_INDEX : form.map;
  for (let low = 0; low < (form.opcodeRegister ? 8 : 1); low++) link((map << 8) | (form.opcode + low), form.id);
  if (form.hasModrm) HAS_MODRM[(map << 8) | form.opcode] = 1;
}

/** A form of eight opcodes stands last in each of its chains, so that one NEXT is enough. */
function link(slot: number, form: number): void {
  if (FIRST[slot] !== -1) NEXT[form] = FIRST[slot]!;
  FIRST[slot] = form;
}

const CONTROL_REGISTER_SET = CONTROL_REGISTERS.reduce<number>((set, number) => set | (1 << number), 0);

/** MOV to and from debug registers, and PTWRITE: defined, but not under every prefix (SDM vol. 2B). */
const isMovDr = (map: number, opcode: number): boolean => map === MAP['0F'] && (opcode & ~2) === 0x21;
const isPtwrite = (map: number, opcode: number, modrm: number): boolean =>
  map === MAP['0F'] && opcode === 0xae && ((modrm >> 3) & 7) === 4;

export class Decoder {
  private code: Uint8Array = new Uint8Array(0);
  private start = 0;
  /** Bytes read, and how many there are, at most 15. */
  private length = 0;
  private limit = 0;

  private flags = 0;
  /** A `PREFIX`. */
  private prefix = 0;
  private rex = 0;
  private hasRex = false;
  private segment = -1;

  private map = 0;
  private opcode = 0;
  private modrm = 0;
  private operandSize = 4;

  private base = -1;
  private index = -1;
  private scale = 0;
  private disp = 0;
  private immLo = 0;
  private immHi = 0;

  /**
   * Decodes the instruction at `code[offset]`, of which `available` bytes may be read, into the record `out[at…at+15]`.
   * Unless the outcome is `DECODED`, only the record's LENGTH and FLAGS mean something.
   */
  decode(code: Uint8Array, offset: number, available: number, out: Int32Array, at = 0): Outcome {
    this.code = code;
    this.start = offset;
    this.length = 0;
    this.limit = Math.max(0, Math.min(available, code.length - offset, MAX_LENGTH));
    const outcome = this.run(out, at);
    out[at + INSN.LENGTH] = this.length;
    out[at + INSN.FLAGS] = this.flags;
    return outcome;
  }

  private run(out: Int32Array, at: number): Outcome {
    if (!this.readPrefixes()) return this.cut();
    const first = this.next();
    if (first === 0xc4 || first === 0xc5) return this.readVex(first, out, at);
    if (first === 0x62) return this.hasVexForbidden() ? OUTCOME.UNDEFINED : OUTCOME.LIMIT; // EVEX
    this.map = MAP.ONE_BYTE;
    this.opcode = first;
    if (first === 0x0f && !this.readEscape()) return this.cut();
    return this.match((this.map << 8) | this.opcode, false, out, at);
  }

  /** Whether `bytes` more can be read. */
  private has(bytes: number): boolean {
    return this.length + bytes <= this.limit;
  }

  /** The outcome when they cannot: the sixteenth byte is #GP, a missing one before that is somebody else's to fetch. */
  private cut(): Outcome {
    const outcome = this.limit >= MAX_LENGTH ? OUTCOME.TOO_LONG : OUTCOME.NEEDS_MORE;
    this.length = this.limit;
    return outcome;
  }

  private next(): number {
    return this.code[this.start + this.length++]!;
  }

  private next32(): number {
    return this.next() | (this.next() << 8) | (this.next() << 16) | (this.next() << 24);
  }

  /** Legacy prefixes and REX, up to the first byte of the opcode. The last of F2 and F3 counts; REX only at the end. */
  private readPrefixes(): boolean {
    this.flags = 0;
    this.prefix = PREFIX.NP;
    this.rex = 0;
    this.hasRex = false;
    this.segment = -1;
    while (this.has(1)) {
      const byte = this.code[this.start + this.length]!;
      const kind = PREFIX_KIND[byte]!;
      if (kind === LEGACY.NONE) {
        if (this.rex & REX.W) this.flags |= FLAG.REX_W;
        return true;
      }
      this.length++;
      this.hasRex = kind === LEGACY.REX;
      this.rex = this.hasRex ? byte & 0xf : 0;
      if (!this.hasRex) this.takePrefix(kind, byte);
    }
    return false;
  }

  private takePrefix(kind: number, byte: number): void {
    if (kind === LEGACY.LOCK) this.flags |= FLAG.LOCK;
    else if (kind === LEGACY.ADDRESS_SIZE) this.flags |= FLAG.ADDRESS_SIZE;
    else if (kind === LEGACY.SEGMENT) this.segment = byte === 0x64 ? SEGMENT.FS : SEGMENT.GS;
    else if (kind === LEGACY.OPERAND_SIZE) {
      this.flags |= FLAG.OPERAND_SIZE;
      if (this.prefix === PREFIX.NP) this.prefix = PREFIX['66'];
    } else if (kind === LEGACY.REP) {
      this.flags = (this.flags & ~FLAG.REPNE) | FLAG.REP;
      this.prefix = PREFIX.F3;
    } else if (kind === LEGACY.REPNE) {
      this.flags = (this.flags & ~FLAG.REP) | FLAG.REPNE;
      this.prefix = PREFIX.F2;
    }
  }

  /** The opcode behind 0F. */
  private readEscape(): boolean {
    if (!this.has(1)) return false;
    this.map = MAP['0F'];
    this.opcode = this.next();
    if (this.opcode !== 0x38 && this.opcode !== 0x3a) return true;
    if (!this.has(1)) return false;
    this.map = this.opcode === 0x38 ? MAP['0F38'] : MAP['0F3A'];
    this.opcode = this.next();
    return true;
  }

  /** 66, F2, F3, LOCK or REX before VEX is #UD (SDM vol. 2A 2.3.2 to 2.3.5); EVEX and XOP alike. */
  private hasVexForbidden(): boolean {
    return this.hasRex || this.prefix !== PREFIX.NP || (this.flags & FLAG.LOCK) !== 0;
  }

  private readVex(first: number, out: Int32Array, at: number): Outcome {
    if (this.hasVexForbidden()) return OUTCOME.UNDEFINED;
    const payload = first === 0xc5 ? 1 : 2;
    if (!this.has(payload + 1)) return this.cut();
    this.flags |= FLAG.VEX;
    this.map = MAP['0F'];
    let last = this.next();
    // R, X, B are stored inverted. C5 has R alone, where C4 has W in the next byte.
    this.rex = last & 0x80 ? 0 : REX.R;
    if (payload === 2) {
      this.rex = (~last >> 5) & 7;
      this.map = last & 0x1f;
      last = this.next();
      if (last & 0x80) this.flags |= FLAG.REX_W;
    }
    this.prefix = VEX_PP[last & 3]!;
    this.opcode = this.next();
    if (this.map !== MAP.VEX7) {
      return isDefined(this.map, true, this.prefix, false, this.opcode, 0) ? OUTCOME.LIMIT : OUTCOME.UNDEFINED;
    }
    // W=0, vvvv=1111b, L=0, whatever the instruction.
    const unusedFields = this.flags & FLAG.REX_W || (last & 0x7c) !== 0x78;
    if (unusedFields) return OUTCOME.UNDEFINED;
    return this.match((VEX7_INDEX << 8) | this.opcode, true, out, at);
  }

  /** From the opcode on: the form that fits, or else what the opcode map says. */
  private match(slot: number, vex: boolean, out: Int32Array, at: number): Outcome {
    const lock = (this.flags & FLAG.LOCK) !== 0;
    this.modrm = 0;
    if (HAS_MODRM[slot] || dependsOnModrm(this.map, vex, this.prefix, lock, this.opcode)) {
      if (!this.has(1)) return this.cut();
      this.modrm = this.next();
    }
    const form = this.find(slot);
    if (form < 0) return this.elsewhere(vex, lock);
    if (lock && (!LOCKABLE[form] || !this.isMemory(PLACE_0[form]!))) return OUTCOME.UNDEFINED;
    return this.readOperands(form, out, at);
  }

  private find(slot: number): number {
    for (let form = FIRST[slot]!; form >= 0; form = NEXT[form]!) {
      if (this.fits(form)) return form;
    }
    return -1;
  }

  private fits(form: number): boolean {
    if (((PREFIXES[form]! >> this.prefix) & 1) === 0) return false;
    if ((this.modrm & MODRM_MASK[form]!) !== MODRM_VALUE[form]) return false;
    const mod = MODS[form]!;
    if (mod === MOD_REGISTER && this.modrm < 0xc0) return false;
    if (mod === MOD_MEMORY && this.modrm >= 0xc0) return false;
    if (REX_B_CLEAR[form] && this.rex & REX.B) return false;
    return !ONLY_64[form] || this.sizeBy(SIZE_RULES[form]!) === 8;
  }

  /** The operand size (SDM vol. 1 table 3-4). */
  private sizeBy(rule: number): number {
    if (rule === SIZE_RULE.f64 || this.flags & FLAG.REX_W) return 8;
    if (this.flags & FLAG.OPERAND_SIZE) return 2;
    return rule === SIZE_RULE.d64 ? 8 : 4;
  }

  /** No form fits: a hole of the architecture, or an instruction that this machine does not have. */
  private elsewhere(vex: boolean, lock: boolean): Outcome {
    // XOP is POP's opcode with a map number of 8 or more where ModRM.reg would not be 0 (APM vol. 3, 1.2.8).
    const xop = this.map === MAP.ONE_BYTE && this.opcode === 0x8f && (this.modrm & 0x1f) >= 8;
    if (xop) return this.hasVexForbidden() ? OUTCOME.UNDEFINED : OUTCOME.LIMIT;
    if (isMovDr(this.map, this.opcode) && this.rex & REX.R) return OUTCOME.UNDEFINED; // DR8 to DR15
    if (isPtwrite(this.map, this.opcode, this.modrm) && this.prefix === PREFIX.F3 && this.flags & FLAG.OPERAND_SIZE) {
      return OUTCOME.UNDEFINED;
    }
    return isDefined(this.map, vex, this.prefix, lock, this.opcode, this.modrm) ? OUTCOME.LIMIT : OUTCOME.UNDEFINED;
  }

  private readOperands(form: number, out: Int32Array, at: number): Outcome {
    this.operandSize = this.sizeBy(SIZE_RULES[form]!);
    this.base = -1;
    this.index = -1;
    this.scale = 0;
    this.disp = 0;
    this.immLo = 0;
    this.immHi = 0;
    const p0 = PLACE_0[form]!;
    const p1 = PLACE_1[form]!;
    const first = this.isMemory(p0);
    const second = this.isMemory(p1);
    if ((first || second) && MODS[form] !== MOD_IGNORED) {
      if (!this.readMemory()) return this.cut();
      this.flags |= FLAG.MEMORY;
    }
    if (!this.readImmediate(p0, WIDTH_0[form]!) || !this.readImmediate(p1, WIDTH_1[form]!)) return this.cut();
    if ((p0 === P_C || p1 === P_C) && ((CONTROL_REGISTER_SET >> this.reg()) & 1) === 0) return OUTCOME.UNDEFINED;

    const size = p0 === 0 ? this.operandSize : this.bytes(p0, WIDTH_0[form]!);
    const sourceSize = p1 === 0 ? 0 : this.bytes(p1, WIDTH_1[form]!);
    out[at + INSN.OP] = OPS[form]!;
    out[at + INSN.FORM] = form;
    out[at + INSN.SIZE] = size;
    out[at + INSN.SOURCE_SIZE] = sourceSize;
    out[at + INSN.DST] = this.operand(p0, size);
    out[at + INSN.SRC] = this.operand(p1, sourceSize);
    out[at + INSN.BASE] = this.base;
    out[at + INSN.INDEX] = this.index;
    out[at + INSN.SCALE] = this.scale;
    out[at + INSN.DISP] = this.disp;
    out[at + INSN.SEGMENT] = p1 === P_M && WIDTH_1[form] === W_NONE ? -1 : this.segment; // LEA has no segment
    out[at + INSN.IMM_LO] = this.immLo;
    out[at + INSN.IMM_HI] = this.immHi;
    out[at + INSN.MEMORY_SIZE] = first ? size : second ? sourceSize : 0;
    return OUTCOME.DECODED;
  }

  private isMemory(place: number): boolean {
    return (place === P_E || place === P_M) && this.modrm < 0xc0;
  }

  private reg(): number {
    return ((this.modrm >> 3) & 7) | (this.rex & REX.R ? 8 : 0);
  }

  private rm(): number {
    return (this.modrm & 7) | (this.rex & REX.B ? 8 : 0);
  }

  /** Bytes of an operand. An immediate is as wide as the operand that it is combined with. */
  private bytes(place: number, width: number): number {
    if (place === P_I && (width === W_BS || width === W_Z)) return this.operandSize;
    if (width === W_V) return this.operandSize;
    if (width === W_Y) return this.flags & FLAG.REX_W ? 8 : 4;
    if (width === W_Z) return Math.min(this.operandSize, 4);
    if (width === W_A) return this.flags & FLAG.ADDRESS_SIZE ? 4 : 8;
    return FIXED_BYTES[width]!;
  }

  /** The word for DST or SRC. */
  private operand(place: number, size: number): number {
    if (place === P_G) return this.gpr(this.reg(), size);
    if (place === P_C) return this.reg();
    if (place === P_R) return this.gpr(this.rm(), size);
    if (place === P_E || place === P_M) return this.isMemory(place) ? OPERAND.MEMORY : this.gpr(this.rm(), size);
    if (place === P_Z) return this.gpr((this.opcode & 7) | (this.rex & REX.B ? 8 : 0), size);
    if (place === P_I || place === P_J || place === P_ONE) return OPERAND.IMMEDIATE;
    if (place === PLACE.AL || place === P_AX) return 0;
    return place === P_CL ? 1 : OPERAND.NONE;
  }

  /** Without REX, byte registers 4 to 7 are AH, CH, DH, BH. */
  private gpr(number: number, size: number): number {
    return size === 1 && !this.hasRex && number >= 4 ? HIGH_BYTE + number - 4 : number;
  }

  /** ModRM's memory forms: SIB and displacement (SDM vol. 2A tables 2-2, 2-3, and 2.2.1.6 for RIP). */
  private readMemory(): boolean {
    const mod = this.modrm >> 6;
    let rm = this.modrm & 7;
    const hasSib = rm === 4;
    if (hasSib) {
      if (!this.has(1)) return false;
      const sib = this.next();
      this.scale = sib >> 6;
      const index = ((sib >> 3) & 7) | (this.rex & REX.X ? 8 : 0);
      this.index = index === 4 ? -1 : index;
      rm = sib & 7;
    }
    const noBase = mod === 0 && rm === 5;
    if (!noBase) this.base = rm | (this.rex & REX.B ? 8 : 0);
    else if (!hasSib) this.base = RIP;
    if (mod === 0 && !noBase) return true;
    const bytes = mod === 1 ? 1 : 4;
    if (!this.has(bytes)) return false;
    this.disp = bytes === 1 ? (this.next() << 24) >> 24 : this.next32();
    return true;
  }

  /** Reads the operand's immediate if it is one. */
  private readImmediate(place: number, width: number): boolean {
    if (place === P_ONE) this.immLo = 1;
    if (place !== P_I && place !== P_J) return true;
    const bytes = this.immediateBytes(width);
    if (!this.has(bytes)) return false;
    if (bytes === 1) this.immLo = (this.next() << 24) >> 24;
    else if (bytes === 2) this.immLo = ((this.next() | (this.next() << 8)) << 16) >> 16;
    else this.immLo = this.next32();
    this.immHi = bytes === 8 ? this.next32() : this.immLo >> 31;
    if (place === P_I) this.zeroExtend(width);
    return true;
  }

  private immediateBytes(width: number): number {
    if (width === W_V) return this.operandSize;
    if (width === W_Z) return Math.min(this.operandSize, 4);
    return FIXED_BYTES[width]!;
  }

  /** Immediates of a fixed width are numbers, not sign-extended operands. */
  private zeroExtend(width: number): void {
    if (width !== W_B && width !== W_W && width !== W_D) return;
    if (width === W_B) this.immLo &= 0xff;
    if (width === W_W) this.immLo &= 0xffff;
    this.immHi = 0;
  }
}

const VEX_PP = Uint8Array.of(PREFIX.NP, PREFIX['66'], PREFIX.F3, PREFIX.F2);
