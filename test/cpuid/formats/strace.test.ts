import { describe, expect, test } from 'vitest';
import { readStrace } from '../../../src/cpuid/formats/strace.js';
import { fixtureFile, formatError, textOf } from './support.js';

const read = (text: string) => readStrace(text, 'trace.txt');
const ENTRY = '{function=0x1, index=0, flags=0, eax=0x506e3, ebx=0x800, ecx=0x81202000, edx=0x78bfbff}';
const PARSED = { function: 1, index: 0, flags: 0, eax: 0x506e3, ebx: 0x800, ecx: 0x8120_2000, edx: 0x78b_fbff };
const call = (fd: string, entries: readonly string[], end = ' = 0') =>
  `ioctl(${fd}, KVM_SET_CPUID2, {nent=${entries.length}, entries=[${entries.join(', ')}]})${end}\n`;
const withFlags = (flags: string) => ENTRY.replace('flags=0', `flags=${flags}`);

describe('readStrace', () => {
  test('a recorded QEMU start', () => {
    const { name, bytes } = fixtureFile('formats/strace-qemu-7.2.txt');
    const payload = readStrace(textOf(bytes), name);
    expect(payload.warnings).toEqual([]);
    expect(payload.tables.map((table) => [table.label, table.entries.length])).toEqual([['', 20]]);
    const [first] = payload.tables[0]?.entries ?? [];
    expect(first).toEqual({
      function: 0x4000_0000,
      index: 0,
      flags: 0,
      eax: 0x4000_0001,
      ebx: 0x4b4d_564b,
      ecx: 0x564b_4d56,
      edx: 0x4d,
    });
  });

  test.each([
    ['plain', call('9', [ENTRY])],
    ['refused', call('9', [ENTRY], ' = -1 EINVAL (Invalid argument)')],
    ['of a thread, with a time', `[pid 30590] 12:00:00.000001 ${call('9', [ENTRY])}`],
    ['unfinished', call('9', [ENTRY], ' <unfinished ...>').replace('})', '}')],
    ['with paths (-y)', call('9<anon_inode:kvm-vcpu:0>', [ENTRY])],
    ['with raw commands (-X verbose)', call('9', [ENTRY]).replace('KVM_SET_CPUID2', '0x4008ae90 /* KVM_SET_CPUID2 */')],
  ])('a call, %s', (_, text) => {
    expect(read(text)).toEqual({ format: 'strace', tables: [{ label: '', entries: [PARSED] }], warnings: [] });
  });

  test.each([
    ['KVM_CPUID_FLAG_SIGNIFCANT_INDEX', 1],
    ['KVM_CPUID_FLAG_STATEFUL_FUNC|KVM_CPUID_FLAG_STATE_READ_NEXT', 6],
    ['KVM_CPUID_FLAG_SIGNIFCANT_INDEX|0x80000000', 0x8000_0001],
    ['0x8 /* KVM_CPUID_FLAG_??? */', 8],
    ['0x1', 1],
  ])('flags %s', (flags, value) => {
    expect(read(call('9', [withFlags(flags)])).tables[0]?.entries).toEqual([{ ...PARSED, flags: value }]);
  });

  test('padding, where strace prints it', () => {
    const padded = ENTRY.replace('}', ', padding=[0, 0x2, 0]}');
    expect(read(call('9', [padded])).tables[0]?.entries).toEqual([{ ...PARSED, padding: [0, 2, 0] }]);
  });

  test('an empty table', () => {
    expect(read(call('9', [])).tables).toEqual([{ label: '', entries: [] }]);
  });

  test('tables are called after their vCPU: by its creation, by -y, by the order of the fds', () => {
    const created = 'ioctl(8, KVM_CREATE_VCPU, 5)      = 9\n';
    const labels = (text: string) => read(text).tables.map((table) => table.label);
    expect(labels(created + call('9', [ENTRY]) + call('9', [ENTRY]))).toEqual(['vcpu 5', 'vcpu 5, call 2']);
    expect(labels(call('7<anon_inode:kvm-vcpu:3>', []) + call('8<anon_inode:kvm-vcpu:1>', []))).toEqual([
      'vcpu 3',
      'vcpu 1',
    ]);
    expect(labels(call('12', []) + call('9', []) + call('12', []))).toEqual(['vcpu 0', 'vcpu 1', 'vcpu 0, call 2']);
  });

  test('a call with a pointer only is remarked', () => {
    const pointers = 'ioctl(9, KVM_SET_CPUID2, NULL) = -1 EFAULT\nioctl(9, KVM_SET_CPUID2, 0x7f0000) = -1 EFAULT\n';
    const payload = read(pointers + call('9', [ENTRY]));
    expect(payload.tables).toHaveLength(1);
    expect(payload.warnings).toHaveLength(2);
    expect(formatError(() => read(pointers)).expected).toContain('strace -v');
  });

  test.each([
    ['abbreviated', 'ioctl(9, KVM_SET_CPUID2, {nent=65, entries=[...]}) = 0', 'strace -v'],
    ['abbreviated behind the first', `ioctl(9, KVM_SET_CPUID2, {nent=2, entries=[${ENTRY}, ...]}) = 0`, 'strace -v'],
    ['fewer entries than nent', `ioctl(9, KVM_SET_CPUID2, {nent=2, entries=[${ENTRY}]}) = 0`, 'strace -v'],
    ['an unknown flag', call('9', [withFlags('KVM_CPUID_FLAG_NEW')]), 'function=0x1'],
    ['a number too large', call('9', [ENTRY.replace('ebx=0x800', 'ebx=4294967296')]), 'function=0x1'],
    ['a field missing', call('9', [ENTRY.replace(', ebx=0x800', '')]), 'function=0x1'],
    ['no table', 'ioctl(9, KVM_SET_CPUID2, what?) = 0', 'nent='],
  ])('%s is an error with its line', (_, text, expected) => {
    const error = formatError(() => read(`execve("qemu") = 0\n${text}`));
    expect(error.where).toBe('trace.txt:2');
    expect(error.expected).toContain(expected);
  });

  test('a trace without the call', () => {
    expect(formatError(() => read('ioctl(3, KVM_GET_API_VERSION, 0) = 12\n')).message).toContain(
      'no KVM_SET_CPUID2 call',
    );
  });
});
