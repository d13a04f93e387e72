import { describe, expect, test } from 'vitest';
import { Decoder } from '../../../src/emu/isa/decode.js';
import { disassemble } from '../../../src/emu/isa/disasm.js';
import { EmulatorLimit, INSN_WORDS } from '../../../src/emu/isa/insn.js';
import { unhex } from './iced.js';

describe('text', () => {
  // biome-ignore format: one row per case
  const cases: readonly (readonly [text: string, bytes: string, address?: bigint])[] = [
    ['umwait ecx', 'f2 0f ae f1'],
    ['rdmsr rax, 10h', 'c4 e7 7b f6 c0 10 00 00 00'],
    ['mov qword ptr [rax+8], rcx', '48 89 48 08'],
    ['mov dword ptr fs:[0FFFFFFFFFFFFFFF0h], eax', '64 89 04 25 f0 ff ff ff'],
    ['mov eax, dword ptr [0FFFFFFF0h]', '67 8b 04 25 f0 ff ff ff'],
    ['mov eax, dword ptr [eip-10h]', '67 8b 05 f0 ff ff ff'],
    ['mov eax, dword ptr [rcx*1]', '8b 04 0d 00 00 00 00'],
    ['jmp $+2', 'eb 00'],
    ['jmp $-0Eh', 'eb f0'],
    ['jmp 0FFFFFFFFFFFFFFF2h', 'eb f0', 0n],
    ['call 0FFFFFFFF81000005h', 'e8 00 00 00 00', 0xffff_ffff_8100_0000n],
    ['lock add dword ptr [rax], ecx', 'f0 01 08'],
  ];
  for (const [text, bytes, address] of cases) {
    test(text, () => {
      const insn = new Int32Array(2 * INSN_WORDS);
      new Decoder().decode(unhex(bytes), 0, 15, insn, INSN_WORDS);
      expect(disassemble(insn, INSN_WORDS, address)).toBe(text);
    });
  }
});

test('a limit of the emulator says which bytes it is about', () => {
  const limit = new EmulatorLimit([0x0f, 0x58], 'rip 1000h');
  expect(limit.message).toBe('rip 1000h: 0f 58: valid x86, but not in the instruction set of this machine (op-rows)');
  expect(limit.bytes).toEqual([0x0f, 0x58]);
});
