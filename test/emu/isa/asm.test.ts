import { describe, expect, test } from 'vitest';
import { type Assembler, asm, assemble } from '../../../src/emu/isa/asm.js';
import { AssemblyError } from '../../../src/emu/isa/operand.js';
import { hex, iced, ours } from './iced.js';

type Case = readonly [bytes: string, build: (a: Assembler) => void];

describe('the assembler takes the shortest encoding', () => {
  // biome-ignore format: one row per case
  const cases: readonly Case[] = [
    ['48 c7 c0 05 00 00 00', (a) => a.mov('rax', 5)],
    ['48 c7 c0 ff ff ff ff', (a) => a.mov('rax', -1)],
    ['48 b8 ff ff ff ff 00 00 00 00', (a) => a.mov('rax', 0xffff_ffff)],
    ['48 b8 ef cd ab 89 67 45 23 01', (a) => a.mov('rax', 0x0123_4567_89ab_cdefn)],
    ['b9 e1 00 00 00', (a) => a.mov('ecx', 0xe1)],
    ['48 83 c0 ff', (a) => a.add('rax', -1)],
    ['48 05 00 01 00 00', (a) => a.add('rax', 0x100)],
    ['83 c8 ff', (a) => a.or('eax', 0xffff_ffff)],
    ['6a 05', (a) => a.push(5)],
    ['68 34 12 00 00', (a) => a.push(0x1234)],
    ['41 54', (a) => a.push('r12')],
    ['48 89 48 08', (a) => a.mov('[rax+8]', 'rcx')],
    ['48 89 48 08', (a) => a.mov({ base: 'rax', disp: 8 }, 'rcx')],
    ['c6 04 24 01', (a) => a.mov('byte ptr [rsp]', 1)],
    ['42 8b 44 a5 00', (a) => a.mov('eax', '[rbp+r12*4]')],
    ['65 48 8b 04 25 28 00 00 00', (a) => a.mov('rax', 'gs:[28h]')],
    ['67 8b 00', (a) => a.mov('eax', '[eax]')],
    ['8b 04 4d 00 00 00 00', (a) => a.mov('eax', '[rcx*2]')],
    ['f0 ff 03', (a) => a.lock().inc('dword ptr [rbx]')],
    ['44 0f 22 c0', (a) => a.mov('cr8', 'rax')],
    ['0f 20 e0', (a) => a.mov('rax', 'cr4')],
    ['f2 0f ae f1', (a) => a.umwait('ecx')],
    ['87 c0', (a) => a.xchg('eax', 'eax')],
    ['49 90', (a) => a.xchg('r8', 'rax')],
    ['c4 e7 7b f6 c0 10 00 00 00', (a) => a.rdmsr('rax', 0x10)],
    ['0f 32', (a) => a.rdmsr()],
    ['c4 c7 7a f6 c1 82 00 00 c0', (a) => a.wrmsrns(0xc000_0082, 'r9')],
    ['48 cf', (a) => a.iretq()],
    ['9c', (a) => a.pushfq()],
    ['f3 0f 01 ca', (a) => a.eretu()],
    ['d1 e0', (a) => a.sal('eax', 1)],
    ['0f a2 cc 01 02', (a) => { a.cpuid(); a.db(0xcc, [1, 2]); }],
  ];
  test.each(cases)('%s', (bytes, build) => {
    expect(hex(asm(build))).toBe(bytes);
  });
});

describe('labels', () => {
  test('backward, forward, in memory', () => {
    const { bytes, labels } = assemble((a) => {
      a.mov('rax', 5);
      a.label('again');
      a.dec('rax');
      a.jnz('again');
      a.jmp('end');
      a.lea('rbx', '[rip+end]');
      a.label('end');
      a.hlt();
    });
    expect(hex(bytes)).toBe('48 c7 c0 05 00 00 00 48 ff c8 75 fb eb 07 48 8d 1d 00 00 00 00 f4');
    expect([...labels]).toEqual([
      ['again', 7],
      ['end', 21],
    ]);
  });

  test.each([
    [126, 'eb 7e'],
    [127, 'eb 7f'],
    [128, 'e9 80 00 00 00'],
  ])('over %i bytes', (distance, bytes) => {
    const code = asm((a) => {
      a.jmp('x');
      a.db(new Array(distance).fill(0x90));
      a.label('x');
    });
    expect(hex(code.slice(0, code.length - distance))).toBe(bytes);
  });

  test('one branch that grows pushes another over the edge', () => {
    const code = asm((a) => {
      a.jmp('far');
      a.je('end');
      a.db(new Array(125).fill(0x90));
      a.label('far');
      a.jmp('end');
      a.db(new Array(126).fill(0x90));
      a.label('end');
    });
    expect(ours(code).text).toBe('jmp 1088h');
    expect(ours(code.slice(5)).length).toBe(6);
  });

  test('$ is the start of the instruction', () => {
    expect(hex(asm((a) => a.jmp('$')))).toBe('eb fe');
    expect(hex(asm((a) => a.call('$+5')))).toBe('e8 00 00 00 00');
    expect(hex(asm((a) => a.xbegin('$+6')))).toBe('c7 f8 00 00 00 00');
  });

  test('a program is what iced reads in it', () => {
    const bytes = asm((a) => {
      a.mov('ecx', 0xe1);
      a.xor('edx', 'edx');
      a.mov('eax', '[rip+limit]');
      a.wrmsr();
      a.call('wait');
      a.hlt();
      a.label('wait');
      a.umonitor('rdi');
      a.umwait('ebx');
      a.ret();
      a.label('limit');
      a.db(0xa0, 0x86, 0x01, 0x00);
    });
    const texts: string[] = [];
    for (let at = 0; at < bytes.length - 4; ) {
      const they = iced(bytes.slice(at));
      expect(ours(bytes.slice(at)).text).toBe(they.text);
      texts.push(they.text);
      at += they.length;
    }
    expect(texts.join('; ')).toBe(
      'mov ecx, 0E1h; xor edx, edx; mov eax, dword ptr [rip+11h]; wrmsr; call 1006h; hlt; umonitor rdi; umwait ebx; ret',
    );
  });
});

describe('errors name the operation and what would be right', () => {
  // biome-ignore format: one row per case
  const cases: readonly (readonly [message: string, build: (a: Assembler) => void])[] = [
    ['umwait rcx: expected umwait r32', (a) => a.umwait('rcx')],
    ['umwait: expected umwait r32', (a) => a.umwait()],
    ['cpuid 1: expected cpuid', (a) => a.cpuid(1)],
    ['rdmsr eax, 16: expected rdmsr or rdmsr r64, imm32', (a) => a.rdmsr('eax', 16)],
    ['rdmsr rax, -1: expected rdmsr or rdmsr r64, imm32', (a) => a.rdmsr('rax', -1)],
    ['inc [rax]: expected a size before the bracket, such as qword ptr', (a) => a.inc('[rax]')],
    ['lock mov [rax], ecx: LOCK wants a memory destination, and an operation that writes it', (a) => a.lock().mov('[rax]', 'ecx')],
    ['lock add eax, ecx: LOCK wants a memory destination, and an operation that writes it', (a) => a.lock().add('eax', 'ecx')],
    ['mov ah, r8b: ah, ch, dh and bh cannot stand beside a REX prefix', (a) => a.mov('ah', 'r8b')],
    ['mov eax, [rax+rbx+rcx]: [rax+rbx+rcx]: expected at most a base and an index register', (a) => a.mov('eax', '[rax+rbx+rcx]')],
    ['mov eax, [rax+rsp*2]: rsp: cannot be an index register', (a) => a.mov('eax', '[rax+rsp*2]')],
    ['mov eax, [rax+rcx*3]: rcx*3: expected a scale of 1, 2, 4 or 8', (a) => a.mov('eax', '[rax+rcx*3]')],
    ['mov eax, [rax+ecx]: rax+ecx: expected base and index of one width', (a) => a.mov('eax', '[rax+ecx]')],
    ['mov eax, [ax]: [ax]: expected a 64-bit or 32-bit general register', (a) => a.mov('eax', '[ax]')],
    ['mov eax, [rax+x]: x: a label in memory needs rip: [rip+x]', (a) => a.mov('eax', '[rax+x]')],
    ['mov eax, [4294967296]: displacement 4294967296: more than 32 bits', (a) => a.mov('eax', '[4294967296]')],
    ['jmp nowhere: no label nowhere', (a) => a.jmp('nowhere')],
    ['mov rax, 1.5: 1.5: expected an integer, beyond 2^53 a bigint', (a) => a.mov('rax', 1.5)],
    ['label rax: expected a name that is no register', (a) => a.label('rax')],
    ['label x: it is there already', (a) => { a.label('x'); a.label('x'); }],
    ['db 256: expected bytes from 0 to 0xff', (a) => a.db(256)],
  ];
  test.each(cases)('%s', (message, build) => {
    expect(() => asm(build)).toThrow(new AssemblyError(message));
  });

  test('MOV lists its shapes', () => {
    expect(() => asm((a) => a.mov('cr1', 'rax'))).toThrow(
      /^mov cr1, rax: expected mov r\/m8, r8 or .* mov cr0\/cr2\/cr3\/cr4\/cr8, r64$/,
    );
  });
});
