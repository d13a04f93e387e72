import { HIGH_BYTE } from './insn.js';

// biome-ignore format: one row per width
const NAMES = {
  8: ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
  4: ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'r8d', 'r9d', 'r10d', 'r11d', 'r12d', 'r13d', 'r14d',
    'r15d'],
  2: ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di', 'r8w', 'r9w', 'r10w', 'r11w', 'r12w', 'r13w', 'r14w', 'r15w'],
  1: ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil', 'r8b', 'r9b', 'r10b', 'r11b', 'r12b', 'r13b', 'r14b', 'r15b',
    'ah', 'ch', 'dh', 'bh'],
} as const;

/** Control registers that exist; the others are #UD (SDM vol. 2B, MOV to/from control registers). */
export const CONTROL_REGISTERS = [0, 2, 3, 4, 8] as const;
const CONTROL_NAMES = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8'] as const;

export type GprName = (typeof NAMES)[1 | 2 | 4 | 8][number];
export type ControlName = (typeof CONTROL_NAMES)[number];
export type RegisterName = GprName | ControlName;

export interface Register {
  readonly name: RegisterName;
  readonly kind: 'gpr' | 'control';
  readonly number: number;
  /** Bytes. */
  readonly size: number;
}

const REGISTERS = new Map<string, Register>();
for (const size of [1, 2, 4, 8] as const) {
  NAMES[size].forEach((name, number) => {
    REGISTERS.set(name, { name, kind: 'gpr', number, size });
  });
}
CONTROL_REGISTERS.forEach((number, i) => {
  const name = CONTROL_NAMES[i]!;
  REGISTERS.set(name, { name, kind: 'control', number, size: 8 });
});

export function findRegister(name: string): Register | undefined {
  return REGISTERS.get(name);
}

/** The name of a general register. Numbers from `HIGH_BYTE` on are AH to BH. */
export function gprName(number: number, size: number): string {
  const names: readonly string[] = NAMES[size as 1 | 2 | 4 | 8] ?? NAMES[8];
  return names[number] ?? `?${number}`;
}

/** SPL, BPL, SIL, DIL are AH to BH unless there is a REX prefix (SDM vol. 2A 2.2.1.2). */
export function needsRex(register: Register): boolean {
  return register.number >= 8 ? register.number < HIGH_BYTE : register.size === 1 && register.number >= 4;
}
