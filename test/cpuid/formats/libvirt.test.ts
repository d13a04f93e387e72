import { describe, expect, test } from 'vitest';
import { readCpuidR } from '../../../src/cpuid/formats/cpuid-r.js';
import { readLibvirt, writeLibvirt } from '../../../src/cpuid/formats/libvirt.js';
import { formatError, TWO_CPUS } from './support.js';

const read = (text: string) => readLibvirt(text, 'host.xml');
const cpudata = (...elements: string[]) => `<cpudata arch='x86'>\n  ${elements.join('\n  ')}\n</cpudata>\n`;
const ROW = { function: 7, index: 1, eax: 1, ebx: 2, ecx: 3, edx: 0xffff_ffff };

describe('readLibvirt', () => {
  test.each([
    ['as libvirt writes it', "<cpuid eax_in='0x07' ecx_in='0x01' eax='0x01' ebx='0x02' ecx='0x03' edx='0xffffffff'/>"],
    ['double quotes', '<cpuid eax_in="0x07" ecx_in="0x01" eax="1" ebx="2" ecx="3" edx="4294967295"/>'],
    ['another order', "<cpuid edx='0xFFFFFFFF' ecx='3' ebx='2' eax='1' ecx_in='1' eax_in='7' />"],
    ['over several lines', "<cpuid\n eax_in = '7'\n\tecx_in='1' eax='1' ebx='2' ecx='3' edx='0xffffffff'\n>"],
  ])('%s', (_, element) => {
    expect(read(cpudata(element))).toEqual({
      format: 'libvirt',
      cpus: [{ label: 'CPU 0', rows: [ROW] }],
      warnings: [],
    });
  });

  test('what is missing is zero, as in libvirt', () => {
    const rows = read(cpudata("<cpuid function='0x80000001' ecx='0x20'/>")).cpus[0]?.rows;
    expect(rows).toEqual([{ function: 0x8000_0001, index: 0, eax: 0, ebx: 0, ecx: 0x20, edx: 0 }]);
  });

  test('comments and other elements are passed over; MSRs are read', () => {
    const text = `<?xml version='1.0'?>\n<!-- <cpuid eax_in='9'/> -->\n${cpudata("<cpuid eax_in='7'/>", "<msr index='0x10a' edx='0x1' eax='0x69'/>")}`;
    const dump = read(text);
    expect(dump.cpus[0]?.rows.map((row) => row.function)).toEqual([7]);
    expect(dump.warnings).toEqual([]);
    expect([...(dump.msrs ?? [])]).toEqual([[0x10a, 0x1_0000_0069n]]);
    expect(read(writeLibvirt(dump)).msrs).toEqual(dump.msrs);
  });

  test.each([
    ['no input', "<cpuid eax='0x1'/>"],
    ['a number that is none', "<cpuid eax_in='0x7' eax='0x12345678g'/>"],
    ['a number too large', "<cpuid eax_in='4294967296'/>"],
    ['a quote that does not end', "<cpuid eax_in='0x7/>"],
    ['no quotes', '<cpuid eax_in=0x7/>'],
    ['no end', "<cpuid eax_in='0x7'"],
    ['a comment that does not end', '<!-- '],
  ])('a broken element is an error with its line: %s', (_, element) => {
    const error = formatError(() => read(`<cpudata>\n<cpuid eax_in='0'/>\n${element}`));
    expect(error.where).toBe('host.xml:3');
  });

  test('no element at all', () => {
    expect(formatError(() => read('<capabilities/>')).message).toMatch(/^host\.xml: no CPUID row/);
  });
});

describe('writeLibvirt', () => {
  test('writes one CPU, the first unless told otherwise', () => {
    const dump = readCpuidR(TWO_CPUS, 'host.txt');
    for (const n of [0, 1]) expect(read(writeLibvirt(dump, n)).cpus[0]?.rows).toEqual(dump.cpus[n]?.rows);
    expect(writeLibvirt(dump)).toBe(writeLibvirt(dump, 0));
  });

  test('the elements of libvirt, digit for digit', () => {
    const dump = { format: 'libvirt', cpus: [{ label: 'CPU 0', rows: [ROW] }], warnings: [] } as const;
    const element =
      "<cpuid eax_in='0x00000007' ecx_in='0x01' eax='0x00000001' ebx='0x00000002' ecx='0x00000003' edx='0xffffffff'/>";
    expect(writeLibvirt(dump)).toBe(cpudata(element));
  });

  test('there is no such CPU', () => {
    const dump = readCpuidR(TWO_CPUS, 'host.txt');
    expect(formatError(() => writeLibvirt(dump, 2)).message).toBe('cpu: no CPU 2: the dump has 2; expected 0 to 1');
  });
});
