import { describe, expect, test } from 'vitest';
import { readAida64 } from '../../../src/cpuid/formats/aida64.js';
import { formatError } from './support.js';

const read = (text: string) => readAida64(text, 'report.txt');
const registers = { eax: 0x1c00_4121, ebx: 0x01c0_003f, ecx: 0x3f, edx: 0 };
const ROW = 'CPUID 00000004: 1C004121-01C0003F-0000003F-00000000';

describe('readAida64', () => {
  test('takes the CPUID sections out of a report and leaves its prose alone', () => {
    const report = `------[ Versions ]------

Program Version : AIDA64 Extreme v6.88.6400

------[ CPU Info ]------

CPUID Manufacturer: GenuineIntel
CPUID Revision    : 000306C3h

------[ CPUID Registers / Logical CPU #0 ]------

allcpu: Package 0 / Core 0 / Thread 0: Valid

${ROW} [SL 00] [L1D: 32 KB]
CPUID 0000000D: 00000018-00000000-00000001-00000000 [SL 0C]
CPUID 80000005: 00000000-00000000-00000000-00000000 [L1D: 0 KB / L1I: 0 KB]

L1    Data Cache:    32 KB,  8-way Associative, 64-byte Line

------[ CPUID Registers / Logical CPU #1 ]------

${ROW} [SL 00] [L1D: 32 KB]

------[ MSR Registers / Logical CPU #0 ]------

MSR 00000017: 0010-0000-C107-0480 [PlatID = 4]
`;
    const dump = read(report);
    expect(dump.format).toBe('aida64');
    expect(dump.warnings).toEqual([]);
    expect(dump.cpus.map((cpu) => cpu.label)).toEqual(['CPU 0', 'CPU 1']);
    expect(dump.cpus[0]?.rows).toEqual([
      { function: 4, index: 0, ...registers },
      { function: 0xd, index: 12, eax: 0x18, ebx: 0, ecx: 1, edx: 0 },
      { function: 0x8000_0005, index: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 },
    ]);
    expect(dump.cpus[1]?.rows).toEqual([{ function: 4, index: 0, ...registers }]);
  });

  test.each([
    ['AIDA64', '------[ CPUID Registers / Logical CPU #3 ]------'],
    ['EVEREST 4.60', '------[ Logical CPU #3 ]------'],
    ['EVEREST before', 'CPUID Registers (CPU #3):'],
    ["InstLatX64's own tool", 'CPU#003 AffMask: 0x0000000000000008 '],
  ])('knows the header of %s', (_, header) => {
    expect(read(`${header}\n${ROW}\n`).cpus[0]?.label).toBe('CPU 3');
  });

  test('a dump of one CPU needs no header', () => {
    expect(read(`${ROW} \t[a note]\r\n`).cpus).toEqual([
      { label: 'CPU 0', rows: [{ function: 4, index: 0, ...registers }] },
    ]);
  });

  test('sub-leaves without a number are counted, per CPU and only where the function has any', () => {
    const leaves = [ROW, ROW.replace('4121', '4122'), 'CPUID 00000006: 00000001-00000000-00000000-00000000'];
    const text = ['CPUID Registers (CPU #1):', ...leaves, 'CPUID Registers (CPU #2):', ...leaves].join('\n');
    for (const cpu of read(text).cpus) {
      expect(cpu.rows.map((row) => [row.function, row.index])).toEqual([
        [4, 0],
        [4, 1],
        [6, 0],
      ]);
    }
  });

  test.each([
    ['a register too few', 'CPUID 00000004: 1C004121-01C0003F-0000003F'],
    ['a register too long', `${ROW}0`],
    ['a leaf too short', ROW.replace('00000004', '0000004')],
    ['a digit that is none', ROW.replace('1C00', '1X00')],
  ])('a broken row is an error with its line: %s', (_, row) => {
    const error = formatError(() => read(`------[ Logical CPU #0 ]------\n${row}\n`));
    expect(error.where).toBe('report.txt:2');
    expect(error.expected).toContain('CPUID 00000007: ');
  });

  test('a report without CPUID sections', () => {
    expect(formatError(() => read('------[ Versions ]------\n')).message).toMatch(/^report\.txt: no CPUID row/);
  });
});
