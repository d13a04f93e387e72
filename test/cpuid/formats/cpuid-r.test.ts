import { describe, expect, test } from 'vitest';
import { readCpuidR, writeCpuidR } from '../../../src/cpuid/formats/cpuid-r.js';
import { formatError, ONE_CPU, TWO_CPUS } from './support.js';

const ROW = '0x00000007 0x02: eax=0x00000001 ebx=0x00000002 ecx=0x00000003 edx=0xffffffff';
const PARSED = { function: 7, index: 2, eax: 1, ebx: 2, ecx: 3, edx: 0xffff_ffff };

describe('readCpuidR', () => {
  test.each([
    ['as the tool writes it', `CPU 0:\n   ${ROW}\n`],
    ['the header of `cpuid -1 -r`', `CPU:\n   ${ROW}\n`],
    ['no header', ROW],
    ['upper case', `CPU 0:\n${ROW.toUpperCase().replaceAll('0X', '0x')}`],
    ['upper case with 0X', ROW.toUpperCase()],
    ['Windows line endings', `CPU 0:\r\n   ${ROW}\r\n`],
    ['tabs, comments and blank lines', `# a note\n\nCPU 0:\n\t${ROW}\t\n`],
  ])('%s', (_, text) => {
    const dump = readCpuidR(text, 'host.txt');
    expect(dump).toEqual({ format: 'cpuid-r', cpus: [{ label: 'CPU 0', rows: [PARSED] }], warnings: [] });
  });

  test('one CPU per header, in the order of the text', () => {
    const dump = readCpuidR(TWO_CPUS, 'host.txt');
    expect(dump.cpus.map((cpu) => [cpu.label, cpu.rows.length])).toEqual([
      ['CPU 0', 7],
      ['CPU 1', 7],
    ]);
  });

  test('a row that is not there is absent, not zero', () => {
    const functions = readCpuidR(ONE_CPU, 'host.txt').cpus[0]?.rows.map((row) => row.function);
    expect(functions).not.toContain(2);
  });

  test('of two rows for one sub-leaf the first wins, and a different second one is remarked', () => {
    const other = ROW.replace('ebx=0x00000002', 'ebx=0x00000009');
    const dump = readCpuidR(`${ROW}\n${ROW}\n${other}\n`, 'host.txt');
    expect(dump.cpus[0]?.rows).toEqual([PARSED]);
    expect(dump.warnings).toEqual(['host.txt:3: a second, different row 00000007.2 is ignored']);
  });

  test('prose around the rows is skipped with one remark', () => {
    const dump = readCpuidR(`$ cpuid -r\n${ROW}\n$ exit\n`, 'host.txt');
    expect(dump.cpus[0]?.rows).toEqual([PARSED]);
    expect(dump.warnings).toEqual([
      'host.txt:1: skipped "$ cpuid -r", which is not a CPUID row, and all lines like it',
    ]);
  });

  test('a CPU without rows is left out with a remark', () => {
    const dump = readCpuidR(`CPU 0:\n${ROW}\nCPU 1:\n`, 'host.txt');
    expect(dump.cpus).toHaveLength(1);
    expect(dump.warnings).toEqual(['host.txt: CPU 1 has no rows and is left out']);
  });

  test.each([
    ['a digit that is none', ROW.replace('ebx=0x00000002', 'ebx=0x0000000g')],
    ['a register too few', ROW.replace(' ecx=0x00000003', '')],
    ['a ninth digit', ROW.replace('edx=0x', 'edx=0x0')],
    ['no sub-leaf', ROW.replace(' 0x02', '')],
    ['something behind it', `${ROW} and more`],
    ['registers in another order', ROW.replace('eax', 'ebx')],
  ])('a broken row is an error with its line: %s', (_, row) => {
    const error = formatError(() => readCpuidR(`CPU 0:\n   ${ROW}\n   ${row}\n`, 'host.txt'));
    expect(error.where).toBe('host.txt:3');
    expect(error.message).toContain('is not a CPUID row; expected "0x00000007 0x00: eax=');
  });

  test('no row at all', () => {
    expect(formatError(() => readCpuidR('CPU 0:\n', 'host.txt')).message).toMatch(/^host\.txt: no CPUID row; expected/);
  });

  test('more CPUs than any machine has', () => {
    const headers = Array.from({ length: 8193 }, (_, n) => `CPU ${n}:\n`).join('');
    expect(formatError(() => readCpuidR(headers, 'host.txt')).where).toBe('host.txt:8193');
  });
});

describe('writeCpuidR', () => {
  test('writes what it read', () => {
    expect(writeCpuidR(readCpuidR(TWO_CPUS, 'host.txt'))).toBe(TWO_CPUS);
  });

  test('numbers CPUs whose labels are not those of the tool', () => {
    const rows = [PARSED];
    const dump = { format: 'aida64', cpus: [{ label: 'APIC 8', rows }], warnings: [] } as const;
    expect(writeCpuidR(dump)).toBe(`CPU 0:\n   ${ROW}\n`);
  });
});
