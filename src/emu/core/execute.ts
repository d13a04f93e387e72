import { EmulatorLimit, INSN_WORDS } from '../isa/insn.js';
import { QUICK_HALF } from '../tlb.js';
import type { Core } from './core.js';
import { carry, condition, F, KIND, shifted, shifted32, WIDTH, zero } from './flags.js';
import { integer } from './integer.js';
import { generalProtection, load, store, undefinedOpcode } from './linear.js';
import { MICRO_WORDS, X } from './lower.js';
import { address, popAt, pushAt, quickPlace } from './quick-memory.js';
import { HIGH_HALVES } from './registers.js';
import { FAULT, JUMP, NEXT, SPLIT } from './status.js';
import { system } from './system.js';

/**
 * The loop: one switch over micro-operations, registers and flags in typed arrays. It is the meaning of the common integer
 * instructions on 32 and 64 bits; `integer.ts` is that of all their other forms, `system.ts` that of everything else.
 */

// V8 compiles the constants of a module into its code, but reads imported ones from memory: hence these copies.
const {
  INTEGER,
  SYSTEM,
  UNDEFINED,
  TOO_LONG,
  NOP,
  MOV64,
  MOV32,
  LOAD64,
  LOAD32,
  STORE64,
  STORE32,
  LEA64,
  ADD64,
  OR64,
  AND64,
  SUB64,
  XOR64,
  CMP64,
  TEST64,
  ADD32,
  OR32,
  AND32,
  SUB32,
  XOR32,
  CMP32,
  TEST32,
  INC64,
  DEC64,
  INC32,
  DEC32,
  SHL64,
  SHR64,
  SAR64,
  SHL32,
  SHR32,
  SAR32,
  ADD64_QUIET,
  SUB64_QUIET,
  AND64_QUIET,
  OR64_QUIET,
  XOR64_QUIET,
  ADD32_QUIET,
  SUB32_QUIET,
  AND32_QUIET,
  OR32_QUIET,
  XOR32_QUIET,
  INC64_QUIET,
  DEC64_QUIET,
  SHL64_QUIET,
  SHR64_QUIET,
  SHL32_QUIET,
  SHR32_QUIET,
  PUSH64,
  POP64,
  JE,
  JNE,
  JCC,
  JMP,
  CALL,
  RET,
} = X;
const QUICK = QUICK_HALF;
const words = MICRO_WORDS;
const insnWords = INSN_WORDS;
const HIGH = HIGH_HALVES;
const kindAt = F.KIND;
const resLo = F.RES_LO;
const resHi = F.RES_HI;
const aLo = F.A_LO;
const aHi = F.A_HI;
const carryAt = F.CARRY;
const add64 = KIND.ADD | WIDTH.QWORD;
const sub64 = KIND.SUB | WIDTH.QWORD;
const logic64 = KIND.LOGIC | WIDTH.QWORD;
const inc64 = KIND.INC | WIDTH.QWORD;
const dec64 = KIND.DEC | WIDTH.QWORD;
const add32 = KIND.ADD | WIDTH.DWORD;
const sub32 = KIND.SUB | WIDTH.DWORD;
const logic32 = KIND.LOGIC | WIDTH.DWORD;
const inc32 = KIND.INC | WIDTH.DWORD;
const dec32 = KIND.DEC | WIDTH.DWORD;
const rsp = 4;
const rip = 16;
const rspHigh = rsp + HIGH;
const ripHigh = rip + HIGH;

/**
 * Executes micro-operations `from` to `to` (numbers; exclusive) of a block.
 *
 * @param which `MICRO.X`, or `MICRO.FULL` to have flags after every instruction
 * @returns NEXT when all are done and none has branched; JUMP when the last one has written RIP; anything else is the
 *   status of the instruction in `core.at`
 */
export function execute(core: Core, from: number, to: number, which: number): number {
  const { registers: r, f, v, blocks } = core;
  const { quick } = core.mmu.tlb;
  const x = blocks.micros;
  const { now } = core.clock;
  const opAt = which | 0;
  const end = to * words;
  for (let m = from * words; m < end; m = (m + words) | 0) {
    const a = x[(m + 1) | 0]!;
    const b = x[(m + 2) | 0]!;
    const aHigh = (a + HIGH) | 0;
    const bHigh = (b + HIGH) | 0;
    const op = x[(m + opAt) | 0]!;
    switch (op) {
      case INTEGER: {
        const status = integer(core, x[(m + 5) | 0]! * insnWords);
        if (status !== NEXT) {
          core.at = x[(m + 5) | 0]!;
          return status;
        }
        if (blocks.hit) return splits(core, m, end);
        break;
      }
      case SYSTEM: {
        const status = system(core, x[(m + 5) | 0]! * insnWords);
        if (status !== NEXT) {
          core.at = x[(m + 5) | 0]!;
          return status;
        }
        break;
      }
      case NOP:
        break;
      case MOV64:
        r[a] = r[b]!;
        r[aHigh] = r[bHigh]!;
        break;
      case MOV32:
        r[a] = r[b]!;
        r[aHigh] = 0;
        break;
      case LOAD64: {
        const at = address(core, m);
        const place = quickPlace(quick, at, core.addressHi, core.readAccess, 0, core.mmu.tlb.current);
        if (place >= 0 && (at & 0xfff) <= 0xff8 && (at & 3) === 0) {
          const { words: w } = core.memory;
          r[a] = w[place >> 2]!;
          r[aHigh] = w[(place >> 2) + 1]!;
          break;
        }
        if (load(core, at, core.addressHi, 8) !== NEXT) return faults(core, m);
        r[a] = v[0]!;
        r[aHigh] = v[1]!;
        break;
      }
      case LOAD32: {
        const at = address(core, m);
        const place = quickPlace(quick, at, core.addressHi, core.readAccess, 0, core.mmu.tlb.current);
        if (place >= 0 && (at & 3) === 0) {
          r[a] = core.memory.words[place >> 2]!;
          r[aHigh] = 0;
          break;
        }
        if (load(core, at, core.addressHi, 4) !== NEXT) return faults(core, m);
        r[a] = v[0]!;
        r[aHigh] = 0;
        break;
      }
      case STORE64: {
        const at = address(core, m);
        const place = quickPlace(quick, at, core.addressHi, core.writeAccess, QUICK, core.mmu.tlb.current);
        if (place >= 0 && (at & 0xfff) <= 0xff8 && (at & 3) === 0 && !core.watched) {
          const { words: w } = core.memory;
          w[place >> 2] = r[a]!;
          w[(place >> 2) + 1] = r[aHigh]!;
          blocks.wrote(place);
        } else if (store(core, at, core.addressHi, 8, r[a]!, r[aHigh]!) !== NEXT) return faults(core, m);
        if (blocks.hit) return splits(core, m, end);
        break;
      }
      case STORE32: {
        const at = address(core, m);
        const place = quickPlace(quick, at, core.addressHi, core.writeAccess, QUICK, core.mmu.tlb.current);
        if (place >= 0 && (at & 3) === 0 && !core.watched) {
          core.memory.words[place >> 2] = r[a]!;
          blocks.wrote(place);
        } else if (store(core, at, core.addressHi, 4, r[a]!, 0) !== NEXT) return faults(core, m);
        if (blocks.hit) return splits(core, m, end);
        break;
      }
      case LEA64:
        r[a] = address(core, m);
        r[aHigh] = core.addressHi;
        break;
      case ADD64: {
        const al = r[a]!;
        const ah = r[aHigh]!;
        const bl = r[b]!;
        const bh = r[bHigh]!;
        const rl = (al + bl) | 0;
        const rh = (ah + bh + (rl >>> 0 < al >>> 0 ? 1 : 0)) | 0;
        r[a] = rl;
        r[aHigh] = rh;
        f[kindAt] = add64;
        f[resLo] = rl;
        f[resHi] = rh;
        f[aLo] = al;
        f[aHi] = ah;
        break;
      }
      case SUB64:
      case CMP64: {
        const al = r[a]!;
        const ah = r[aHigh]!;
        const bl = r[b]!;
        const bh = r[bHigh]!;
        const rl = (al - bl) | 0;
        const rh = (ah - bh - (al >>> 0 < bl >>> 0 ? 1 : 0)) | 0;
        if (op === SUB64) {
          r[a] = rl;
          r[aHigh] = rh;
        }
        f[kindAt] = sub64;
        f[resLo] = rl;
        f[resHi] = rh;
        f[aLo] = al;
        f[aHi] = ah;
        break;
      }
      case OR64:
        r[a] = r[a]! | r[b]!;
        r[aHigh] = r[aHigh]! | r[bHigh]!;
        f[kindAt] = logic64;
        f[resLo] = r[a]!;
        f[resHi] = r[aHigh]!;
        break;
      case AND64:
        r[a] = r[a]! & r[b]!;
        r[aHigh] = r[aHigh]! & r[bHigh]!;
        f[kindAt] = logic64;
        f[resLo] = r[a]!;
        f[resHi] = r[aHigh]!;
        break;
      case XOR64:
        r[a] = r[a]! ^ r[b]!;
        r[aHigh] = r[aHigh]! ^ r[bHigh]!;
        f[kindAt] = logic64;
        f[resLo] = r[a]!;
        f[resHi] = r[aHigh]!;
        break;
      case TEST64:
        f[kindAt] = logic64;
        f[resLo] = r[a]! & r[b]!;
        f[resHi] = r[aHigh]! & r[bHigh]!;
        break;
      case ADD32: {
        const al = r[a]!;
        const bl = r[b]!;
        const rl = (al + bl) | 0;
        r[a] = rl;
        r[aHigh] = 0;
        f[kindAt] = add32;
        f[resLo] = 0;
        f[resHi] = rl;
        f[aLo] = 0;
        f[aHi] = al;
        break;
      }
      case SUB32:
      case CMP32: {
        const al = r[a]!;
        const bl = r[b]!;
        const rl = (al - bl) | 0;
        if (op === SUB32) {
          r[a] = rl;
          r[aHigh] = 0;
        }
        f[kindAt] = sub32;
        f[resLo] = 0;
        f[resHi] = rl;
        f[aLo] = 0;
        f[aHi] = al;
        break;
      }
      case OR32:
        r[a] = r[a]! | r[b]!;
        r[aHigh] = 0;
        f[kindAt] = logic32;
        f[resLo] = 0;
        f[resHi] = r[a]!;
        break;
      case AND32:
        r[a] = r[a]! & r[b]!;
        r[aHigh] = 0;
        f[kindAt] = logic32;
        f[resLo] = 0;
        f[resHi] = r[a]!;
        break;
      case XOR32:
        r[a] = r[a]! ^ r[b]!;
        r[aHigh] = 0;
        f[kindAt] = logic32;
        f[resLo] = 0;
        f[resHi] = r[a]!;
        break;
      case TEST32:
        f[kindAt] = logic32;
        f[resLo] = 0;
        f[resHi] = r[a]! & r[b]!;
        break;
      case INC64: {
        f[carryAt] = carry(f) ? 1 : 0;
        const al = r[a]!;
        const ah = r[aHigh]!;
        const rl = (al + 1) | 0;
        const rh = (ah + (rl === 0 ? 1 : 0)) | 0;
        r[a] = rl;
        r[aHigh] = rh;
        f[kindAt] = inc64;
        f[resLo] = rl;
        f[resHi] = rh;
        f[aLo] = al;
        f[aHi] = ah;
        break;
      }
      case DEC64: {
        f[carryAt] = carry(f) ? 1 : 0;
        const al = r[a]!;
        const ah = r[aHigh]!;
        const rl = (al - 1) | 0;
        const rh = (ah - (al === 0 ? 1 : 0)) | 0;
        r[a] = rl;
        r[aHigh] = rh;
        f[kindAt] = dec64;
        f[resLo] = rl;
        f[resHi] = rh;
        f[aLo] = al;
        f[aHi] = ah;
        break;
      }
      case INC32:
      case DEC32: {
        f[carryAt] = carry(f) ? 1 : 0;
        const al = r[a]!;
        const rl = op === INC32 ? (al + 1) | 0 : (al - 1) | 0;
        r[a] = rl;
        r[aHigh] = 0;
        f[kindAt] = op === INC32 ? inc32 : dec32;
        f[resLo] = 0;
        f[resHi] = rl;
        f[aLo] = 0;
        f[aHi] = al;
        break;
      }
      case SHL64: {
        const count = x[(m + 7) | 0]!;
        const l = r[a]!;
        const h = r[aHigh]!;
        const out = count > 32 ? l >>> (64 - count) : count === 32 ? h : h >>> (32 - count);
        r[a] = count >= 32 ? 0 : l << count;
        r[aHigh] = count >= 32 ? l << (count - 32) : (h << count) | (l >>> (32 - count));
        // The last bit out is the lowest of what left at the top; of a shift by 32 it is bit 0 of the high half.
        const last = out & 1;
        shifted(f, r[a]!, r[aHigh]!, last, (r[aHigh]! >>> 31) ^ last);
        break;
      }
      case SHR64: {
        const count = x[(m + 7) | 0]!;
        const l = r[a]!;
        const h = r[aHigh]!;
        const last = (count > 32 ? h >>> (count - 33) : l >>> (count - 1)) & 1;
        r[a] = count >= 32 ? h >>> (count - 32) : (l >>> count) | (h << (32 - count));
        r[aHigh] = count >= 32 ? 0 : h >>> count;
        shifted(f, r[a]!, r[aHigh]!, last, h >>> 31);
        break;
      }
      case SAR64: {
        const count = x[(m + 7) | 0]!;
        const l = r[a]!;
        const h = r[aHigh]!;
        const last = (count > 32 ? h >> (count - 33) : l >>> (count - 1)) & 1;
        r[a] = count >= 32 ? h >> (count - 32) : (l >>> count) | (h << (32 - count));
        r[aHigh] = count >= 32 ? h >> 31 : h >> count;
        shifted(f, r[a]!, r[aHigh]!, last, 0);
        break;
      }
      case SHL32: {
        const count = x[(m + 7) | 0]!;
        const l = r[a]!;
        r[a] = l << count;
        r[aHigh] = 0;
        const last = (l >>> (32 - count)) & 1;
        shifted32(f, r[a]!, last, (r[a]! >>> 31) ^ last);
        break;
      }
      case SHR32: {
        const count = x[(m + 7) | 0]!;
        const l = r[a]!;
        r[a] = l >>> count;
        r[aHigh] = 0;
        shifted32(f, r[a]!, (l >>> (count - 1)) & 1, l >>> 31);
        break;
      }
      case SAR32: {
        const count = x[(m + 7) | 0]!;
        const l = r[a]!;
        r[a] = l >> count;
        r[aHigh] = 0;
        shifted32(f, r[a]!, (l >>> (count - 1)) & 1, 0);
        break;
      }
      case ADD64_QUIET: {
        const al = r[a]!;
        const rl = (al + r[b]!) | 0;
        r[aHigh] = r[aHigh]! + r[bHigh]! + (rl >>> 0 < al >>> 0 ? 1 : 0);
        r[a] = rl;
        break;
      }
      case SUB64_QUIET: {
        const al = r[a]!;
        const bl = r[b]!;
        r[aHigh] = r[aHigh]! - r[bHigh]! - (al >>> 0 < bl >>> 0 ? 1 : 0);
        r[a] = al - bl;
        break;
      }
      case AND64_QUIET:
        r[a] = r[a]! & r[b]!;
        r[aHigh] = r[aHigh]! & r[bHigh]!;
        break;
      case OR64_QUIET:
        r[a] = r[a]! | r[b]!;
        r[aHigh] = r[aHigh]! | r[bHigh]!;
        break;
      case XOR64_QUIET:
        r[a] = r[a]! ^ r[b]!;
        r[aHigh] = r[aHigh]! ^ r[bHigh]!;
        break;
      case ADD32_QUIET:
        r[a] = r[a]! + r[b]!;
        r[aHigh] = 0;
        break;
      case SUB32_QUIET:
        r[a] = r[a]! - r[b]!;
        r[aHigh] = 0;
        break;
      case AND32_QUIET:
        r[a] = r[a]! & r[b]!;
        r[aHigh] = 0;
        break;
      case OR32_QUIET:
        r[a] = r[a]! | r[b]!;
        r[aHigh] = 0;
        break;
      case XOR32_QUIET:
        r[a] = r[a]! ^ r[b]!;
        r[aHigh] = 0;
        break;
      case INC64_QUIET: {
        const rl = (r[a]! + 1) | 0;
        r[a] = rl;
        if (rl === 0) r[aHigh] = r[aHigh]! + 1;
        break;
      }
      case DEC64_QUIET: {
        const al = r[a]!;
        r[a] = al - 1;
        if (al === 0) r[aHigh] = r[aHigh]! - 1;
        break;
      }
      case SHL64_QUIET: {
        const count = x[(m + 7) | 0]!;
        const l = r[a]!;
        r[a] = count >= 32 ? 0 : l << count;
        r[aHigh] = count >= 32 ? l << (count - 32) : (r[aHigh]! << count) | (l >>> (32 - count));
        break;
      }
      case SHR64_QUIET: {
        const count = x[(m + 7) | 0]!;
        const h = r[aHigh]!;
        r[a] = count >= 32 ? h >>> (count - 32) : (r[a]! >>> count) | (h << (32 - count));
        r[aHigh] = count >= 32 ? 0 : h >>> count;
        break;
      }
      case SHL32_QUIET:
        r[a] = r[a]! << x[(m + 7) | 0]!;
        r[aHigh] = 0;
        break;
      case SHR32_QUIET:
        r[a] = r[a]! >>> x[(m + 7) | 0]!;
        r[aHigh] = 0;
        break;
      case PUSH64: {
        const l = (r[rsp]! - 8) | 0;
        const h = (r[rspHigh]! - (r[rsp]! >>> 0 < 8 ? 1 : 0)) | 0;
        if (pushAt(core, l, h, r[a]!, r[aHigh]!) !== NEXT) return faults(core, m);
        r[rsp] = l;
        r[rspHigh] = h;
        if (blocks.hit) return splits(core, m, end);
        break;
      }
      case POP64: {
        if (popAt(core, r[rsp]!, r[rspHigh]!) !== NEXT) return faults(core, m);
        const l = (r[rsp]! + 8) | 0;
        r[rspHigh] = (r[rspHigh]! + (l >>> 0 < 8 ? 1 : 0)) | 0;
        r[rsp] = l;
        r[a] = v[0]!;
        r[aHigh] = v[1]!;
        break;
      }
      case JE:
      case JNE:
        if (zero(f) !== (op === JE)) break;
        r[rip] = r[b]!;
        r[ripHigh] = r[bHigh]!;
        now[0]! += core.takenExtra;
        return JUMP;
      case JCC:
        if (!condition(f, a)) break;
        r[rip] = r[b]!;
        r[ripHigh] = r[bHigh]!;
        now[0]! += core.takenExtra;
        return JUMP;
      case JMP:
        r[rip] = r[b]!;
        r[ripHigh] = r[bHigh]!;
        return JUMP;
      case CALL: {
        const l = (r[rsp]! - 8) | 0;
        const h = (r[rspHigh]! - (r[rsp]! >>> 0 < 8 ? 1 : 0)) | 0;
        if (pushAt(core, l, h, r[a]!, r[aHigh]!) !== NEXT) return faults(core, m);
        r[rsp] = l;
        r[rspHigh] = h;
        r[rip] = r[b]!;
        r[ripHigh] = r[bHigh]!;
        return JUMP;
      }
      case RET: {
        if (popAt(core, r[rsp]!, r[rspHigh]!) !== NEXT) return faults(core, m);
        if (!core.isCanonical(v[1]!)) {
          core.at = x[(m + 5) | 0]!;
          return generalProtection(core);
        }
        const l = (r[rsp]! + 8) | 0;
        r[rspHigh] = (r[rspHigh]! + (l >>> 0 < 8 ? 1 : 0)) | 0;
        r[rsp] = l;
        r[rip] = v[0]!;
        r[ripHigh] = v[1]!;
        return JUMP;
      }
      case UNDEFINED:
        core.at = x[(m + 5) | 0]!;
        return undefinedOpcode(core);
      case TOO_LONG:
        core.at = x[(m + 5) | 0]!;
        return generalProtection(core);
      default:
        throw limit(core, x[(m + 5) | 0]!);
    }
  }
  return NEXT;
}

function faults(core: Core, m: number): number {
  core.at = core.blocks.micros[m + 5]!;
  return FAULT;
}

/** The block has written to itself: what follows must be decoded anew. */
function splits(core: Core, m: number, end: number): number {
  core.blocks.hit = false;
  if (m + words >= end) return NEXT;
  core.at = core.blocks.micros[m + 5]!;
  return SPLIT;
}

function limit(core: Core, number: number): EmulatorLimit {
  const length = core.blocks.insns[number * INSN_WORDS + 2]!;
  const at = core.addressOf(number);
  const bytes: number[] = [];
  for (let byte = 0; byte < length; byte++) {
    const address = at + BigInt(byte);
    const low = Number(BigInt.asIntN(32, address));
    const status = core.mmu.translate(low, Number(BigInt.asIntN(32, address >> 32n)), core.fetchAccess);
    if (status === 0 && core.mmu.offset >= 0) bytes.push(core.memory.bytes[core.mmu.offset]!);
  }
  return new EmulatorLimit(bytes, `CPU ${core.id} at 0x${at.toString(16)}`);
}
