import { describe, expect, test } from 'vitest';
import { EXPECTATIONS_RULE, readLibcpuid } from '../../../src/cpuid/formats/libcpuid.js';
import { formatError } from './support.js';

const read = (text: string) => readLibcpuid(text, 'cpu.test');
const WORDS = '0000000d 756e6547 6c65746e 49656e69';
const REGISTERS = { eax: 0xd, ebx: 0x756e_6547, ecx: 0x6c65_746e, edx: 0x4965_6e69 };

describe('readLibcpuid', () => {
  test.each([
    ['basic_cpuid[13]', 0xd, 0],
    ['ext_cpuid[8]', 0x8000_0008, 0],
    ['intel_fn4[3]', 4, 3],
    ['intel_fn11[1]', 0xb, 1],
    ['intel_fn12h[2]', 0x12, 2],
    ['intel_fn14h[1]', 0x14, 1],
    ['amd_fn8000001dh[3]', 0x8000_001d, 3],
    ['amd_fn80000026h[10]', 0x8000_0026, 10],
  ])('%s is CPUID with EAX=%i, ECX=%i', (element, fn, index) => {
    expect(read(`version=0.7.0\n${element}=${WORDS}\n`).cpus).toEqual([
      { label: 'CPU 0', rows: [{ function: fn, index, ...REGISTERS }] },
    ]);
  });

  test('one CPU per header', () => {
    const header = (n: number) => `_________________ Logical CPU #${n} _________________`;
    const dump = read(`${header(0)}\nbasic_cpuid[0]=${WORDS}\n${header(1)}\nbasic_cpuid[0]=${WORDS}\n`);
    expect(dump.cpus.map((cpu) => cpu.label)).toEqual(['CPU 0', 'CPU 1']);
  });

  test("reads AIDA64's lines as well, and nothing below the rule", () => {
    const row = 'CPUID 00000004: 0000000D-756E6547-6C65746E-49656E69 [SL 01]';
    const text = `------[ Logical CPU #0 ]------\n${row}\n${EXPECTATIONS_RULE}\nbasic_cpuid[1]=broken\nx86-64-v1\n`;
    const dump = read(text);
    expect(dump.format).toBe('libcpuid');
    expect(dump.cpus).toEqual([{ label: 'CPU 0', rows: [{ function: 4, index: 1, ...REGISTERS }] }]);
  });

  test('the arrays repeat rows; a contradiction is remarked', () => {
    const dump = read(`basic_cpuid[4]=${WORDS}\nintel_fn4[0]=${WORDS}\nintel_fn4[0]=0 0 0 0\n`);
    expect(dump.cpus[0]?.rows).toHaveLength(1);
    expect(dump.warnings).toEqual(['cpu.test:3: a second, different row 00000004.0 is ignored']);
  });

  test.each([
    ['a word too few', 'basic_cpuid[1]=00000000 00000000 00000000'],
    ['a word too long', `basic_cpuid[1]=0${WORDS}`],
    ['no index', `basic_cpuid[]=${WORDS}`],
    ['an index that is no number', `intel_fn4[x]=${WORDS}`],
    ['no equals sign', `ext_cpuid[1] ${WORDS}`],
  ])('a broken row is an error with its line: %s', (_, row) => {
    const error = formatError(() => read(`basic_cpuid[0]=${WORDS}\n${row}\n`));
    expect(error.where).toBe('cpu.test:2');
    expect(error.expected).toContain('basic_cpuid[7]=');
  });

  test('a dump of another architecture has no row', () => {
    expect(formatError(() => read('version=0.7.0\narm_midr=00000000410fd034\n')).message).toContain('no CPUID row');
  });
});
