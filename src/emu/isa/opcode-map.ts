import { MAP, PREFIX } from './forms.js';

/**
 * Which opcodes of 64-bit mode mean something to some x86 CPU: what tells #UD from "valid, but not in this machine".
 *
 * A row lists the opcodes that are defined in a map under a mandatory prefix, in hex. Behind a colon stands what ModRM
 * must be: `m` memory, `r` register, with the digits of ModRM.reg where not all eight are, or whole ModRM bytes.
 *
 * Legacy maps are exact. VEX maps are exact to the opcode only: which W, L, vvvv or ModRM an AVX instruction wants is
 * not here. EVEX, XOP and 3DNow! are taken as defined throughout. So a doubtful case is a limit, never a #UD.
 *
 * Sources: SDM vol. 2D appendix A, APM vol. 3 appendix A; compared byte for byte with another decoder in the tests.
 */

/** The class of LOCK: opcodes that it may precede (SDM vol. 2A, LOCK). */
const LOCKED = 4;
const CLASSES = 5;

/** In the one-byte map no prefix selects. */
const ONE_BYTE = `
  00-05 08-0D 10-15 18-1D 20-25 28-2D 30-35 38-3D
  50-5F 63 68-6F
  70-7F
  80-81 83-8B 8C:m0-5,r0-5 8D:m 8E:m0,m2-5,r0,r2-5 8F:m0,r0
  90-99 9B-9F
  A0-BF
  C0-C3 C6-C7:m0,r0,F8 C8-CD CF
  D0-D3 D7-D8 D9:m0,m2-7,r0-1,r3,r6-7,D0,E0-E1,E4-E5,E8-EE DA:m,r0-3,E9 DB:m0-3,m5,m7,r0-3,r5-6,E0-E4
  DC DD:m0-4,m6-7,r0-5 DE:m,r0-2,r4-7,D9 DF:m,r0-3,r5-6,E0
  E0-E9 EB-EF
  F1 F4-FD FE:m0-1,r0-1 FF:m0-6,r0-2,r4,r6`;

const ONE_BYTE_LOCKED = `
  00-01:m 08-09:m 10-11:m 18-19:m 20-21:m 28-29:m 30-31:m 80-81:m0-6 83:m0-6 86-87:m F6-F7:m2-3 FE-FF:m0-1`;

const TWO_BYTE_NP = `
  00:m0-5,r0-5 01:m0-4,m6-7,r0,r3-4,r6-7,C8-CB,CF-D1,D4-D7,E8,EE-EF 02-03 05-09 0B 0D-0F
  10-12 13:m 14-16 17:m 18-1F
  20:m0,m2-4,r0,r2-4 21 22:m0,m2-4,r0,r2-4 23 28-2A 2B:m 2C-2F
  30-35 37
  40-4F
  50:r 51-5F
  60-6B 6E-6F
  70 71-72:r2,r4,r6 73:r2,r6 74-79 7E-7F
  80-9F
  A0-A5 A7:r0 A8-AD AE:m,r5-7 AF
  B0-B1 B2:m B3 B4-B5:m B6-B7 B9 BA:m4-7,r4-7 BB-BF
  C0-C2 C3:m C4 C5:r C6 C7:m1,m3-7,r6-7 C8-CF
  D1-D5 D7:r D8-DF
  E0-E5 E7:m E8-EF
  F1-F6 F7:r F8-FF`;

const TWO_BYTE_66 = `
  00:m0-5,r0-5 01:m0-4,m6-7,r3-4,r6,CC-CF,F8-F9,FC 02-03 05-09 0B 0D-0F
  10-11 12-13:m 14-15 16-17:m 18-1F
  20:m0,m2-4,r0,r2-4 21 22:m0,m2-4,r0,r2-4 23 28-2A 2B:m 2C-2F
  30-35
  40-4F
  50:r 51 54-5F
  60-6F
  70 71-72:r2,r4,r6 73:r2-3,r6-7 74-76 78:r0 79:r 7C-7F
  80-9F
  A0-A5 A7:r0 A8-AD AE:m6-7,r6 AF
  B0-B1 B2:m B3 B4-B5:m B6-B7 B9 BA:m4-7,r4-7 BB-BF
  C0-C2 C4 C5:r C6 C7:m1,m6,r6-7 C8-CF
  D0-D6 D7:r D8-DF
  E0-E6 E7:m E8-EF
  F1-F6 F7:r F8-FF`;

const TWO_BYTE_F3 = `
  00:m0-5,r0-5 01:m,r3-4,r6,C6,CA,E8,EA,EC-EF,F8-FA,FC-FF 02-03 05-09 0B 0D-0F
  10-12 16 18-1F
  20:m0,m2-4,r0,r2-4 21 22:m0,m2-4,r0,r2-4 23 2A 2B:m 2C-2D
  30-35
  40-4F
  51-53 58-5F
  6F
  70 7E-7F
  80-9F
  A0-A5 A6:r1-7 A7:r A8-AD AE:m4,m6,r0-6 AF
  B0-B1 B2:m B3 B4-B5:m B6-B9 BA:m4-7,r4-7 BB-BF
  C0-C2 C7:m1,m6,r6-7 C8-CF
  D6:r E6 FF`;

const TWO_BYTE_F2 = `
  00:m0-6,r0-6 01:m0-4,m6-7,r3-4,r6,C6,CA,E8-E9,F8-F9,FC,FE-FF 02-03 05-09 0B 0D-0F
  10-12 18-1F
  20:m0,m2-4,r0,r2-4 21 22:m0,m2-4,r0,r2-4 23 2A 2B:m 2C-2D
  30-35
  40-4F
  51 58-5A 5C-5F
  70 78-79:r 7C-7D
  80-9F
  A0-A5 A7:r0 A8-AD AE:r6 AF
  B0-B1 B2:m B3 B4-B5:m B6-B7 B9 BA:m4-7,r4-7 BB-BF
  C0-C2 C7:m1 C8-CF
  D0 D6:r E6 F0:m FF`;

const TWO_BYTE_LOCKED = 'AB:m B0-B1:m B3:m BA:m5-7 BB:m C0-C1:m C7:m1';

type Rows = readonly (readonly [map: number, vex: boolean, classes: readonly number[], opcodes: string])[];

const { NP, F3, F2 } = PREFIX;
const P66 = PREFIX['66'];

// biome-ignore format: one row per map and prefix
const DEFINED: Rows = [
  [MAP.ONE_BYTE, false, [NP, P66, F3, F2], ONE_BYTE],
  [MAP.ONE_BYTE, false, [LOCKED], ONE_BYTE_LOCKED],
  [MAP['0F'], false, [NP], TWO_BYTE_NP],
  [MAP['0F'], false, [P66], TWO_BYTE_66],
  [MAP['0F'], false, [F3], TWO_BYTE_F3],
  [MAP['0F'], false, [F2], TWO_BYTE_F2],
  [MAP['0F'], false, [LOCKED], TWO_BYTE_LOCKED],
  [MAP['0F38'], false, [NP], '00-0B 1C-1E C8-CD F0-F1:m F6:m F9:m FC:m'],
  [MAP['0F38'], false, [P66],
    '00-0B 10 14-15 17 1C-1E 20-25 28-29 2A:m 2B 30-35 37-41 80-82:m CF DB-DF F0-F1:m F5:m F6 F8:m FC:m'],
  [MAP['0F38'], false, [F3], 'D8:m0-3 DC DD-DF:m F6 F8 FA-FB:r FC:m'],
  [MAP['0F38'], false, [F2], 'F0-F1 F8 FC:m'],
  [MAP['0F3A'], false, [NP], '0F CC'],
  [MAP['0F3A'], false, [P66], '08-0F 14-17 20-22 40-42 44 60-63 CE-CF DF'],
  [MAP['0F3A'], false, [F3], 'F0:C0'],
  [MAP['0F'], true, [NP], '10-17 28-29 2B 2E-2F 41-42 44-47 4A-4B 50-5F 77 90-93 98-99 AE C2 C6'],
  [MAP['0F'], true, [P66], '10-17 28-29 2B 2E-2F 41-42 44-47 4A-4B 50-51 54-76 7C-7F 90-93 98-99 C2 C4-C6 D0-EF F1-FE'],
  [MAP['0F'], true, [F3], '10-12 16 2A 2C-2D 51-53 58-5F 6F-70 7E-7F C2 E6'],
  [MAP['0F'], true, [F2], '10-12 2A 2C-2D 51 58-5A 5C-5F 70 7C-7D 92-93 C2 D0 E6 F0'],
  [MAP['0F38'], true, [NP], '49 50-51 5E 6C B0 D2-D3 DA F2-F3 F5 F7'],
  [MAP['0F38'], true, [P66], `
    00-0F 13 16-1A 1C-1E 20-25 28-41 45-47 49 4B 50-53 58-5A 5E 6C 78-79
    8C 8E 90-93 96-9F A6-B1 B4-BF CF D2-D3 DA-EF F7`],
  [MAP['0F38'], true, [F3], '4B 50-51 5C 5E 72 B0-B1 D2-D3 DA F5 F7'],
  [MAP['0F38'], true, [F2], '49 4B 50-51 5C 5E B0 CB-CD DA F5-F7'],
  [MAP['0F3A'], true, [P66],
    '00-02 04-06 08-0F 14-19 1D 20-22 30-33 38-39 40-42 44 46 48-4C 5C-63 68-6F 78-7F CE-CF DE-DF'],
  [MAP['0F3A'], true, [F2], 'F0'],
];

/** What a slot of the map holds: nothing, an instruction whatever ModRM says, or (from 2 on) a list of ModRM bytes. */
const HOLE = 0;
const WHOLE = 1;
const FIRST_LIST = 2;

const VEX_OFFSET = 4;
const slots = new Uint8Array(2 * VEX_OFFSET * CLASSES * 256);
const lists: Uint8Array[] = [];

function slotOf(map: number, vex: boolean, prefixClass: number, opcode: number): number {
  return (((vex ? map + VEX_OFFSET : map) * CLASSES + prefixClass) << 8) | opcode;
}

/** `3-5` or `3` as numbers of the given base. */
function range(text: string, base: number): number[] {
  const [first = '', last = first] = text.split('-');
  const from = Number.parseInt(first, base);
  return Array.from({ length: Number.parseInt(last, base) - from + 1 }, (_, i) => from + i);
}

/** The ModRM bytes that `m0-5,r2,D0` means. */
function modrmList(text: string): Uint8Array {
  const list = new Uint8Array(256);
  for (const part of text.split(',')) {
    const kind = part[0];
    const literal = kind !== 'm' && kind !== 'r';
    const wanted = literal ? range(part, 16) : range(part.slice(1) || '0-7', 8);
    for (let modrm = 0; modrm < 256; modrm++) {
      if (!literal && kind !== (modrm >= 0xc0 ? 'r' : 'm')) continue;
      if (wanted.includes(literal ? modrm : (modrm >> 3) & 7)) list[modrm] = 1;
    }
  }
  return list;
}

let isBuilt = false;

/** The map is made when the first doubtful opcode turns up: most programs have none. */
function build(): void {
  isBuilt = true;
  for (const [map, vex, classes, opcodes] of DEFINED) {
    for (const token of opcodes.trim().split(/\s+/)) {
      const [opcode = '', modrm] = token.split(':');
      const value = modrm === undefined ? WHOLE : FIRST_LIST + lists.push(modrmList(modrm)) - 1;
      for (const byte of range(opcode, 16)) for (const c of classes) slots[slotOf(map, vex, c, byte)] = value;
    }
  }
}

/** What the map has for an opcode. */
function slotAt(map: number, vex: boolean, prefix: number, lock: boolean, opcode: number): number {
  if (!isBuilt) build();
  return slots[slotOf(map, vex, lock ? LOCKED : prefix, opcode)]!;
}

/** Whether ModRM decides if the opcode is defined. */
export function dependsOnModrm(map: number, vex: boolean, prefix: number, lock: boolean, opcode: number): boolean {
  return map < VEX_OFFSET && slotAt(map, vex, prefix, lock, opcode) >= FIRST_LIST;
}

/** Whether some CPU has an instruction there. `prefix` is a `PREFIX`; `modrm` only counts where ModRM decides. */
export function isDefined(
  map: number,
  vex: boolean,
  prefix: number,
  lock: boolean,
  opcode: number,
  modrm: number,
): boolean {
  if (map >= VEX_OFFSET) return false;
  const slot = slotAt(map, vex, prefix, lock, opcode);
  return slot === WHOLE || (slot !== HOLE && lists[slot - FIRST_LIST]![modrm] === 1);
}
