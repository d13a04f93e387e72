import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Decoder } from '../../../src/emu/isa/decode.js';
import { GATE_SETS, OP, OP_GATE, OP_NAMES } from '../../../src/emu/isa/forms.js';
import { FLAG, HIGH_BYTE, INSN, INSN_WORDS, OPERAND, OUTCOME, RIP, SEGMENT } from '../../../src/emu/isa/insn.js';
import type { OpName } from '../../../src/emu/isa/op-rows.js';
import { runs } from '../../support/runs.js';
import { hex, iced, ours, unhex } from './iced.js';

type Row = readonly [op: OpName, bytes: string, text: string, gates?: string];

const WAITPKG = 'CPUID.WAITPKG VMX.ENABLE_USER_WAIT_PAUSE';
const FRED = 'CPUID.FRED CR4.FRED';
const UINTR = 'CPUID.UINTR CR4.UINTR';
const FSGSBASE = 'CPUID.FSGSBASE CR4.FSGSBASE';
const VMX = 'CPUID.VMX CR4.VMXE';
const SVM = 'CPUID.SVM EFER.SVME';
const PKU = 'CPUID.PKU CR4.PKE';
const XSAVE = 'CPUID.XSAVE CR4.OSXSAVE';

/** One instruction of every operation, in the order of the table. The length is that of the bytes. */
// biome-ignore format: one row per operation
const ROWS: readonly Row[] = [
  ['MOV', '48 89 48 08', 'mov qword ptr [rax+8], rcx'],
  ['MOVZX', '0f b6 c1', 'movzx eax, cl'],
  ['MOVSX', '48 0f bf 03', 'movsx rax, word ptr [rbx]'],
  ['MOVSXD', '48 63 c1', 'movsxd rax, ecx'],
  ['LEA', '48 8d 44 8b fc', 'lea rax, [rbx+rcx*4-4]'],
  ['XCHG', '41 90', 'xchg r8d, eax'],
  ['CMPXCHG', 'f0 48 0f b1 0e', 'lock cmpxchg qword ptr [rsi], rcx'],
  ['CMPXCHG8B', '0f c7 0f', 'cmpxchg8b qword ptr [rdi]', 'CPUID.CX8'],
  ['CMPXCHG16B', '48 0f c7 0f', 'cmpxchg16b oword ptr [rdi]', 'CPUID.CX16'],
  ['PUSH', '41 57', 'push r15'],
  ['POP', '8f 04 24', 'pop qword ptr [rsp]'],
  ['PUSHFQ', '9c', 'pushfq'],
  ['POPFQ', '9d', 'popfq'],
  ['ADD', '00 f4', 'add ah, dh'],
  ['OR', '66 83 c8 ff', 'or ax, 0FFFFh'],
  ['AND', '48 25 00 00 00 80', 'and rax, 0FFFFFFFF80000000h'],
  ['SUB', '2c 10', 'sub al, 10h'],
  ['XOR', '31 c0', 'xor eax, eax'],
  ['CMP', '41 80 3c 24 7f', 'cmp byte ptr [r12], 7Fh'],
  ['TEST', 'f7 c1 00 00 00 80', 'test ecx, 80000000h'],
  ['INC', 'f0 ff 05 10 00 00 00', 'lock inc dword ptr [rip+10h]'],
  ['DEC', '49 ff c8', 'dec r8'],
  ['SHL', '48 c1 e0 3f', 'shl rax, 3Fh'],
  ['SHR', 'd1 e8', 'shr eax, 1'],
  ['SAR', '41 d2 f8', 'sar r8b, cl'],
  ['JO', '70 fe', 'jo 1000h'],
  ['JNO', '71 fe', 'jno 1000h'],
  ['JB', '72 fe', 'jb 1000h'],
  ['JAE', '73 fe', 'jae 1000h'],
  ['JE', '0f 84 00 00 00 00', 'je 1006h'],
  ['JNE', '75 0e', 'jne 1010h'],
  ['JBE', '76 fe', 'jbe 1000h'],
  ['JA', '77 fe', 'ja 1000h'],
  ['JS', '78 fe', 'js 1000h'],
  ['JNS', '79 fe', 'jns 1000h'],
  ['JP', '7a fe', 'jp 1000h'],
  ['JNP', '7b fe', 'jnp 1000h'],
  ['JL', '7c fe', 'jl 1000h'],
  ['JGE', '7d fe', 'jge 1000h'],
  ['JLE', '7e fe', 'jle 1000h'],
  ['JG', '7f 80', 'jg 0F82h'],
  ['JMP', 'e9 fb ff ff ff', 'jmp 1000h'],
  ['CALL', 'ff 14 25 00 00 00 80', 'call qword ptr [0FFFFFFFF80000000h]'],
  ['RET', 'c2 10 00', 'ret 10h'],
  ['NOP', '66 0f 1f 44 00 00', 'nop word ptr [rax+rax]'],
  ['PAUSE', 'f3 90', 'pause'],
  ['ENDBR64', 'f3 0f 1e fa', 'endbr64'],
  ['UD0', '0f ff c1', 'ud0 eax, ecx'],
  ['UD1', '0f b9 00', 'ud1 eax, dword ptr [rax]'],
  ['UD2', '0f 0b', 'ud2'],
  ['LFENCE', '0f ae e8', 'lfence'],
  ['MFENCE', '0f ae f0', 'mfence'],
  ['SFENCE', '0f ae ff', 'sfence'],
  ['SERIALIZE', '0f 01 e8', 'serialize', 'CPUID.SERIALIZE'],
  ['RDTSC', '0f 31', 'rdtsc', 'CPUID.TSC'],
  ['RDTSCP', '0f 01 f9', 'rdtscp', 'CPUID.RDTSCP VMX.ENABLE_RDTSCP'],
  ['RDPID', 'f3 41 0f c7 f9', 'rdpid r9', 'CPUID.RDPID VMX.ENABLE_RDTSCP'],
  ['RDRAND', '66 0f c7 f0', 'rdrand ax', 'CPUID.RDRAND'],
  ['RDSEED', '48 0f c7 f8', 'rdseed rax', 'CPUID.RDSEED'],
  ['CPUID', '0f a2', 'cpuid'],
  ['HLT', 'f4', 'hlt'],
  ['MONITOR', '0f 01 c8', 'monitor', 'CPUID.MWAIT'],
  ['MWAIT', '0f 01 c9', 'mwait', 'CPUID.MWAIT'],
  ['UMONITOR', 'f3 41 0f ae f0', 'umonitor r8', WAITPKG],
  ['UMWAIT', 'f2 0f ae f1', 'umwait ecx', WAITPKG],
  ['TPAUSE', '66 41 0f ae f7', 'tpause r15d', WAITPKG],
  ['INT3', 'cc', 'int3'],
  ['INT', 'cd 80', 'int 80h'],
  ['IRETQ', '48 cf', 'iretq'],
  ['CLI', 'fa', 'cli'],
  ['STI', 'fb', 'sti'],
  ['SYSCALL', '0f 05', 'syscall', 'EFER.SCE'],
  ['SYSRET', '0f 07', 'sysret', 'EFER.SCE !CR4.FRED'],
  ['SYSRETQ', '48 0f 07', 'sysretq', 'EFER.SCE !CR4.FRED'],
  ['ERETU', 'f3 0f 01 ca', 'eretu', FRED],
  ['ERETS', 'f2 0f 01 ca', 'erets', FRED],
  ['CLUI', 'f3 0f 01 ee', 'clui', UINTR],
  ['STUI', 'f3 0f 01 ef', 'stui', UINTR],
  ['TESTUI', 'f3 0f 01 ed', 'testui', UINTR],
  ['UIRET', 'f3 0f 01 ec', 'uiret', UINTR],
  ['SENDUIPI', 'f3 0f c7 f0', 'senduipi rax', UINTR],
  ['MOV_FROM_CR', '44 0f 20 c0', 'mov rax, cr8'],
  ['MOV_TO_CR', '0f 22 20', 'mov cr4, rax'],
  ['CLAC', '0f 01 ca', 'clac', 'CPUID.SMAP'],
  ['STAC', '0f 01 cb', 'stac', 'CPUID.SMAP'],
  ['LIDT', '0f 01 1f', 'lidt fword ptr [rdi]'],
  ['SWAPGS', '0f 01 f8', 'swapgs', '!CR4.FRED'],
  ['LKGS', 'f2 0f 00 30', 'lkgs word ptr [rax]', 'CPUID.LKGS'],
  ['RDFSBASE', 'f3 48 0f ae c0', 'rdfsbase rax', FSGSBASE],
  ['RDGSBASE', 'f3 0f ae c9', 'rdgsbase ecx', FSGSBASE],
  ['WRFSBASE', 'f3 49 0f ae d0', 'wrfsbase r8', FSGSBASE],
  ['WRGSBASE', 'f3 48 0f ae d8', 'wrgsbase rax', FSGSBASE],
  ['INCSSPD', 'f3 0f ae e8', 'incsspd eax', 'CPUID.SHSTK CR4.CET'],
  ['INCSSPQ', 'f3 48 0f ae e8', 'incsspq rax', 'CPUID.SHSTK CR4.CET'],
  ['RDMSR', '0f 32', 'rdmsr', 'CPUID.MSR'],
  ['RDMSR_IMM', 'c4 e7 7b f6 c0 10 00 00 00', 'rdmsr rax, 10h', 'CPUID.MSR_IMM'],
  ['RDMSRLIST', 'f2 0f 01 c6', 'rdmsrlist', 'CPUID.MSRLIST'],
  ['WRMSR', '0f 30', 'wrmsr', 'CPUID.MSR'],
  ['WRMSRNS', '0f 01 c6', 'wrmsrns', 'CPUID.WRMSRNS'],
  ['WRMSRNS_IMM', 'c4 c7 7a f6 c1 82 00 00 c0', 'wrmsrns 0C0000082h, r9', 'CPUID.MSR_IMM'],
  ['WRMSRLIST', 'f3 0f 01 c6', 'wrmsrlist', 'CPUID.MSRLIST'],
  ['URDMSR', 'f2 0f 38 f8 c1', 'urdmsr rcx, rax', 'CPUID.USER_MSR'],
  ['URDMSR_IMM', 'c4 e7 7b f8 c2 10 00 00 00', 'urdmsr rdx, 10h', 'CPUID.USER_MSR'],
  ['UWRMSR', 'f3 45 0f 38 f8 c1', 'uwrmsr r8, r9', 'CPUID.USER_MSR'],
  ['UWRMSR_IMM', 'c4 e7 7a f8 c3 e1 00 00 00', 'uwrmsr 0E1h, rbx', 'CPUID.USER_MSR'],
  ['XGETBV', '0f 01 d0', 'xgetbv', XSAVE],
  ['XSETBV', '0f 01 d1', 'xsetbv', XSAVE],
  ['RDPKRU', '0f 01 ee', 'rdpkru', PKU],
  ['WRPKRU', '0f 01 ef', 'wrpkru', PKU],
  ['XBEGIN', 'c7 f8 fa ff ff ff', 'xbegin 1000h', 'CPUID.RTM'],
  ['XABORT', 'c6 f8 2a', 'xabort 2Ah', 'CPUID.RTM'],
  ['XEND', '0f 01 d5', 'xend', 'CPUID.RTM'],
  ['XTEST', '0f 01 d6', 'xtest', 'CPUID.RTM|CPUID.HLE'],
  ['VMCALL', '0f 01 c1', 'vmcall', 'CPUID.VMX'],
  ['VMCLEAR', '66 0f c7 30', 'vmclear qword ptr [rax]', VMX],
  ['VMLAUNCH', '0f 01 c2', 'vmlaunch', VMX],
  ['VMPTRLD', '0f c7 30', 'vmptrld qword ptr [rax]', VMX],
  ['VMPTRST', '0f c7 38', 'vmptrst qword ptr [rax]', VMX],
  ['VMREAD', '0f 78 d0', 'vmread rax, rdx', VMX],
  ['VMRESUME', '0f 01 c3', 'vmresume', VMX],
  ['VMWRITE', '0f 79 10', 'vmwrite rdx, qword ptr [rax]', VMX],
  ['VMXOFF', '0f 01 c4', 'vmxoff', VMX],
  ['VMXON', 'f3 0f c7 30', 'vmxon qword ptr [rax]', VMX],
  ['CLGI', '0f 01 dd', 'clgi', SVM],
  ['STGI', '0f 01 dc', 'stgi', SVM],
  ['VMGEXIT', 'f3 0f 01 d9', 'vmgexit', 'CPUID.SVM'],
  ['VMLOAD', '0f 01 da', 'vmload', SVM],
  ['VMMCALL', '0f 01 d9', 'vmmcall', 'CPUID.SVM'],
  ['VMRUN', '0f 01 d8', 'vmrun', SVM],
  ['VMSAVE', '0f 01 db', 'vmsave', SVM],
  ['SEAMCALL', '66 0f 01 cf', 'seamcall', 'IA32_MTRRCAP.SEAMRR'],
  ['SEAMOPS', '66 0f 01 ce', 'seamops', 'IA32_MTRRCAP.SEAMRR'],
  ['SEAMRET', '66 0f 01 cd', 'seamret', 'IA32_MTRRCAP.SEAMRR'],
  ['TDCALL', '66 0f 01 cc', 'tdcall', 'IA32_MTRRCAP.SEAMRR'],
];

/** ISE, chapters on RDMSR and WRMSRNS with immediate and on USER_MSR: newer than iced 1.21. */
const NEWER_THAN_ICED = ['RDMSR_IMM', 'WRMSRNS_IMM', 'URDMSR', 'URDMSR_IMM', 'UWRMSR', 'UWRMSR_IMM'];

const gatesOf = (op: number): string => GATE_SETS[OP_GATE[op]!]!.map((names) => names.join('|')).join(' ');

describe('every operation', () => {
  test('is in this table, in order', () => {
    expect(ROWS.map(([op]) => op)).toEqual(OP_NAMES);
  });

  for (const [op, bytes, text, gates = ''] of ROWS) {
    test(`${op}: ${bytes}`, () => {
      const code = unhex(bytes);
      const padded = Uint8Array.from([...code, ...new Array(15).fill(0xcc)]);
      expect(ours(padded)).toEqual({ outcome: OUTCOME.DECODED, length: code.length, op: OP[op], text });
      expect(gatesOf(OP[op])).toBe(gates);
      const they = iced(code);
      if (NEWER_THAN_ICED.includes(op)) expect(they.valid).toBe(false);
      else expect(they).toMatchObject({ valid: true, length: code.length, text });
    });

    test(`${op}: every piece of ${bytes} wants more`, () => {
      const code = unhex(bytes);
      for (let length = 0; length < code.length; length++) {
        expect(ours(code.slice(0, length)), hex(code.slice(0, length))).toMatchObject({
          outcome: OUTCOME.NEEDS_MORE,
          length,
        });
      }
    });
  }
});

const { DECODED, UNDEFINED, LIMIT, TOO_LONG, NEEDS_MORE } = OUTCOME;

describe('prefixes (SDM vol. 2A 2.1 to 2.3)', () => {
  type Case = readonly [what: string, bytes: string, outcome: number, text?: string];
  // biome-ignore format: one row per case
  const cases: readonly Case[] = [
    ['REX counts as the last prefix', '48 89 c8', DECODED, 'mov rax, rcx'],
    ['REX before another prefix is ignored', '48 66 89 c8', DECODED, 'mov ax, cx'],
    ['the last REX counts', '48 41 89 c8', DECODED, 'mov r8d, ecx'],
    ['REX.W beats 66', '66 48 89 c8', DECODED, 'mov rax, rcx'],
    ['an idle REX makes SPL of AH', '40 88 e0', DECODED, 'mov al, spl'],
    ['F2 beats 66', '66 f2 0f ae f1', DECODED, 'umwait ecx'],
    ['F3 beats 66', '66 f3 0f ae f1', DECODED, 'umonitor rcx'],
    ['… in any order', 'f3 66 0f ae f1', DECODED, 'umonitor rcx'],
    ['the last of F2 and F3 counts: F3', 'f2 f3 0f 01 ca', DECODED, 'eretu'],
    ['the last of F2 and F3 counts: F2', 'f3 f2 0f 01 ca', DECODED, 'erets'],
    ['66 is no prefix of CLAC', '66 0f 01 ca', UNDEFINED],
    ['segments other than FS and GS are ignored', '64 2e 8b 00', DECODED, 'mov eax, dword ptr fs:[rax]'],
    ['67 makes addresses 32 bits wide', '67 8b 04 8b', DECODED, 'mov eax, dword ptr [ebx+ecx*4]'],
    ['67 and UMONITOR', '67 f3 0f ae f1', DECODED, 'umonitor ecx'],
    ['LOCK on memory that is written', 'f0 01 08', DECODED, 'lock add dword ptr [rax], ecx'],
    ['LOCK on a register', 'f0 01 c8', UNDEFINED],
    ['LOCK on a memory source', 'f0 03 08', UNDEFINED],
    ['LOCK on CMP', 'f0 39 08', UNDEFINED],
    ['LOCK on MOV', 'f0 89 08', UNDEFINED],
    ['LOCK on CPUID', 'f0 0f a2', UNDEFINED],
    ['LOCK on UMWAIT', 'f0 f2 0f ae f1', UNDEFINED],
    ['LOCK on ADC to memory', 'f0 11 08', LIMIT],
    ['LOCK on ADC to a register', 'f0 11 c8', UNDEFINED],
    ['near branches are 64 bits wide whatever 66 says', '66 e9 00 00 00 00', DECODED, 'jmp 1006h'],
    ['XBEGIN is not', '66 c7 f8 00 00', DECODED, 'xbegin 1005h'],
    ['PUSH can be 16 bits wide', '66 50', DECODED, 'push ax'],
    ['… but not of an immediate', '66 6a 05', LIMIT],
    ['… and is never 32', '40 50', DECODED, 'push rax'],
    ['15 bytes are enough', '66 66 66 66 66 66 66 66 66 66 66 66 66 0f a2', DECODED, 'cpuid'],
    ['16 are too many', '66 66 66 66 66 66 66 66 66 66 66 66 66 66 0f a2', TOO_LONG],
    ['16 with the immediate too', '66 66 66 66 66 66 66 66 66 66 66 66 66 66 04 00', TOO_LONG],
    ['prefixes alone', '66 66 66', NEEDS_MORE],
  ];
  for (const [what, bytes, outcome, text = ''] of cases) {
    test(`${what}: ${bytes}`, () => {
      expect(ours(unhex(bytes))).toMatchObject({ outcome, text });
    });
  }
});

describe('VEX (SDM vol. 2A 2.3)', () => {
  // biome-ignore format: one row per case
  const cases: readonly (readonly [what: string, bytes: string, outcome: number])[] = [
    ['RDMSR with immediate', 'c4 e7 7b f6 c0 10 00 00 00', DECODED],
    ['a segment may stand before VEX', '64 c4 e7 7b f6 c0 10 00 00 00', DECODED],
    ['67 too', '67 c4 e7 7b f6 c0 10 00 00 00', DECODED],
    ['66 may not', '66 c4 e7 7b f6 c0 10 00 00 00', UNDEFINED],
    ['F2 may not', 'f2 c4 e7 7b f6 c0 10 00 00 00', UNDEFINED],
    ['F3 may not', 'f3 c4 e7 7b f6 c0 10 00 00 00', UNDEFINED],
    ['LOCK may not', 'f0 c4 e7 7b f6 c0 10 00 00 00', UNDEFINED],
    ['REX may not', '48 c4 e7 7b f6 c0 10 00 00 00', UNDEFINED],
    ['W=1', 'c4 e7 fb f6 c0 10 00 00 00', UNDEFINED],
    ['L=1', 'c4 e7 7f f6 c0 10 00 00 00', UNDEFINED],
    ['vvvv=1110b', 'c4 e7 73 f6 c0 10 00 00 00', UNDEFINED],
    ['pp=NP', 'c4 e7 78 f6 c0 10 00 00 00', UNDEFINED],
    ['pp=66', 'c4 e7 79 f6 c0 10 00 00 00', UNDEFINED],
    ['ModRM.reg=1', 'c4 e7 7b f6 c8 10 00 00 00', UNDEFINED],
    ['memory', 'c4 e7 7b f6 00 10 00 00 00', UNDEFINED],
    ['another opcode of map 7', 'c4 e7 7b f7 c0 10 00 00 00', UNDEFINED],
    ['a map that is none', 'c4 e8 7b f6 c0 10 00 00 00', UNDEFINED],
    ['VZEROUPPER', 'c5 f8 77', LIMIT],
    ['VPADDD', 'c4 c1 79 fe c0', LIMIT],
    ['a hole of map 1', 'c5 f8 00 00', UNDEFINED],
    ['EVEX', '62 f1 7d 48 fe c0', LIMIT],
    ['EVEX behind REX', '48 62 f1 7d 48 fe c0', UNDEFINED],
    ['XOP', '8f e8 78 c0 c0 00', LIMIT],
    ['POP with a digit, map number below 8', '8f e0 00', UNDEFINED],
  ];
  test.each(cases)('%s: %s', (_, bytes, outcome) => {
    expect(ours(unhex(bytes)).outcome).toBe(outcome);
  });
});

describe('#UD or a limit', () => {
  // biome-ignore format: one row per case
  const cases: readonly (readonly [what: string, bytes: string, outcome: number])[] = [
    ['PUSH ES is gone in 64-bit mode', '06', UNDEFINED],
    ['0F 04 never was', '0f 04', UNDEFINED],
    ['ADC', '11 c8', LIMIT],
    ['IRET with 32-bit operands', 'cf', LIMIT],
    ['PUSHF with 16-bit operands', '66 9c', LIMIT],
    ['ADDPS', '0f 58 c1', LIMIT],
    ['F2 on VERW', 'f2 0f 00 e8', LIMIT],
    ['LKGS without F2', '0f 00 f0', UNDEFINED],
    ['SGDT', '0f 01 00', LIMIT],
    ['INVLPG', '0f 01 38', LIMIT],
    ['CLWB', '66 0f ae 30', LIMIT],
    ['XSAVEOPT', '0f ae 30', LIMIT],
    ['ENQCMD', 'f2 0f 38 f8 00', LIMIT],
    ['CR1', '0f 20 c8', UNDEFINED],
    ['CR9', '44 0f 20 c8', UNDEFINED],
    ['DR0', '0f 21 c0', LIMIT],
    ['DR8', '44 0f 21 c0', UNDEFINED],
    ['LEA of a register', '8d c0', UNDEFINED],
    ['RDPID of memory', 'f3 0f c7 38', UNDEFINED],
    ['TDCALL without 66', '0f 01 cc', UNDEFINED],
    ['3DNow!', '0f 0f c1 9e', LIMIT],
  ];
  test.each(cases)('%s: %s', (_, bytes, outcome) => {
    expect(ours(unhex(bytes)).outcome).toBe(outcome);
  });
});

describe('the record', () => {
  const decoder = new Decoder();
  const insn = new Int32Array(3 * INSN_WORDS);
  const field = (name: keyof typeof INSN): number => insn[INSN_WORDS + INSN[name]]!;

  /** Decodes into the middle record of three. */
  function decode(bytes: string): void {
    insn.fill(0x55);
    expect(decoder.decode(unhex(`90 90 ${bytes}`), 2, 15, insn, INSN_WORDS)).toBe(OUTCOME.DECODED);
    expect(insn.slice(0, INSN_WORDS).every((word) => word === 0x55)).toBe(true);
    expect(insn.slice(2 * INSN_WORDS).every((word) => word === 0x55)).toBe(true);
  }

  test('memory: base, index, scale, displacement, segment', () => {
    decode('65 4a 89 4c e3 f0'); // mov qword ptr gs:[rbx+r12*8-10h], rcx
    expect([field('DST'), field('SRC')]).toEqual([OPERAND.MEMORY, 1]);
    expect([field('BASE'), field('INDEX'), field('SCALE'), field('DISP')]).toEqual([3, 12, 3, -16]);
    expect(field('SEGMENT')).toBe(SEGMENT.GS);
    expect(field('FLAGS')).toBe(FLAG.MEMORY | FLAG.REX_W);
    expect([field('SIZE'), field('SOURCE_SIZE'), field('MEMORY_SIZE')]).toEqual([8, 8, 8]);
  });

  test('RIP-relative, absolute, and no index', () => {
    decode('8b 05 fc ff ff ff');
    expect([field('BASE'), field('INDEX'), field('DISP')]).toEqual([RIP, -1, -4]);
    decode('8b 04 25 78 56 34 12');
    expect([field('BASE'), field('INDEX'), field('DISP')]).toEqual([-1, -1, 0x12345678]);
    decode('8b 04 24');
    expect([field('BASE'), field('INDEX'), field('DISP'), field('SEGMENT')]).toEqual([4, -1, 0, -1]);
  });

  test('LEA has an address and neither memory nor a segment', () => {
    decode('64 48 8d 03');
    expect([field('MEMORY_SIZE'), field('SEGMENT'), field('BASE')]).toEqual([0, -1, 3]);
  });

  test('immediates are sign-extended to 64 bits unless they are Ib, Iw or Id', () => {
    const immediate = (bytes: string): string => {
      decode(bytes);
      return [field('IMM_HI') >>> 0, field('IMM_LO') >>> 0].map((word) => word.toString(16).padStart(8, '0')).join('_');
    };
    expect(immediate('48 b8 08 07 06 05 04 03 02 81')).toBe('81020304_05060708');
    expect(immediate('48 c7 c0 ff ff ff ff')).toBe('ffffffff_ffffffff');
    expect(immediate('6a 80')).toBe('ffffffff_ffffff80');
    expect(immediate('66 05 00 80')).toBe('ffffffff_ffff8000');
    expect(immediate('04 80')).toBe('00000000_00000080');
    expect(immediate('c2 00 80')).toBe('00000000_00008000');
    expect(immediate('c4 e7 7b f6 c0 82 00 00 c0')).toBe('00000000_c0000082');
    expect(immediate('d1 e0')).toBe('00000000_00000001');
    expect(immediate('eb fe')).toBe('ffffffff_fffffffe');
  });

  test('byte registers', () => {
    decode('88 e7'); // mov bh, ah
    expect([field('DST'), field('SRC')]).toEqual([HIGH_BYTE + 3, HIGH_BYTE]);
    decode('40 88 e7'); // mov dil, spl
    expect([field('DST'), field('SRC')]).toEqual([7, 4]);
  });

  test('MOVZX has two widths; an operation without operands has its operand size', () => {
    decode('0f b7 03');
    expect([field('SIZE'), field('SOURCE_SIZE'), field('MEMORY_SIZE')]).toEqual([4, 2, 2]);
    decode('48 0f 07');
    expect([field('SIZE'), field('SOURCE_SIZE'), field('DST'), field('SRC')]).toEqual([
      8,
      0,
      OPERAND.NONE,
      OPERAND.NONE,
    ]);
  });

  test('nothing beyond the available bytes is read', () => {
    const code = unhex('0f a2 0f a2');
    expect(decoder.decode(code, 2, 1, insn)).toBe(OUTCOME.NEEDS_MORE);
    expect(decoder.decode(code, 2, 2, insn)).toBe(OUTCOME.DECODED);
    expect(decoder.decode(code.slice(0, 3), 2, 15, insn)).toBe(OUTCOME.NEEDS_MORE);
    expect(decoder.decode(code, 9, 15, insn)).toBe(OUTCOME.NEEDS_MORE);
  });
});

test('random bytes never throw, and end in one of the five outcomes', () => {
  const outcomes: readonly number[] = Object.values(OUTCOME);
  const decoder = new Decoder();
  const insn = new Int32Array(INSN_WORDS);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20 }), fc.nat(20), (bytes, available) => {
      const outcome = decoder.decode(bytes, 0, available, insn);
      const length = insn[INSN.LENGTH]!;
      const known = outcomes.includes(outcome) && length <= Math.min(15, available, bytes.length);
      // What is behind the available bytes plays no part.
      const blind = decoder.decode(bytes.slice(0, available), 0, 15, insn) === outcome;
      // More bytes only change an instruction that wanted more.
      const stable = outcome === OUTCOME.NEEDS_MORE || decoder.decode(bytes, 0, 15, insn) === outcome;
      expect(known && blind && stable).toBe(true);
    }),
    runs(3000),
  );
});
