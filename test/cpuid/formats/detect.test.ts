import { describe, expect, test } from 'vitest';
import { detectText } from '../../../src/cpuid/formats/detect.js';
import { readHost, readPayload } from '../../../src/cpuid/formats/index.js';
import { MAX_BYTES } from '../../../src/cpuid/formats/text.js';
import { bytesOf, fixtureFile, formatError, ONE_CPU } from './support.js';

const RULE = '-'.repeat(80);
const AIDA64_ROW = 'CPUID 00000000: 00000001-68747541-444D4163-69746E65';

describe('detectText', () => {
  test.each([
    ['cpuid-r', ONE_CPU],
    ['cpuid-r', `prose first\n\n  ${ONE_CPU.split('\n')[1]}`],
    ['aida64', `------[ Versions ]------\n\n------[ Logical CPU #0 ]------\n${AIDA64_ROW}\n`],
    ['aida64', AIDA64_ROW],
    ['aida64', `CPU#000 AffMask: 0x1\n${AIDA64_ROW}`],
    ['libcpuid', `${AIDA64_ROW}\n${RULE}\nx86\n`],
    ['libcpuid', 'version=0.7.0\nbasic_cpuid[0]=1 2 3 4\n'],
    ['libvirt', "<!-- CPU -->\n<cpudata arch='x86'/>"],
    ['strace', 'execve("/bin/qemu") = 0\nioctl(9, KVM_SET_CPUID2, {nent=0, entries=[]}) = 0\n'],
    ['strace', '[pid 30590] ioctl(9, KVM_SET_CPUID2, {nent=0, entries=[]}) = 0\n'],
    ['json', ' {"entries": []}'],
    ['json', '["00000000 00000000 0 00000001 0 0 0"]'],
    ['json', '{"about": "ioctl(KVM_SET_CPUID2) <cpuid/> 0x0 0x0: eax=0x0"}'],
  ])('%s', (format, text) => {
    expect(detectText(text, 'x')).toBe(format);
  });

  test('nothing that is known', () => {
    const error = formatError(() => detectText('hello\n', 'x'));
    expect(error.message).toMatch(/^x: an unknown format; expected `cpuid -r` text, .* or a raw struct kvm_cpuid2$/);
  });
});

describe('readHost and readPayload', () => {
  test.each([
    ['nothing', new Uint8Array(), 'x: an empty file'],
    ['gzip', new Uint8Array([0x1f, 0x8b, 8, 0]), 'x@0x0: gzip data; expected the decompressed document'],
    ['too much', new Uint8Array(MAX_BYTES + 1), 'x: 67108865 bytes; expected at most 67108864 (64 MiB)'],
    ['broken JSON', bytesOf('{"entries": ['), 'broken JSON; expected a complete JSON document'],
  ])('%s', (_, bytes, message) => {
    for (const read of [readHost, readPayload]) expect(formatError(() => read(bytes, 'x')).message).toContain(message);
  });

  test('UTF-8 and UTF-16 with a byte order mark', () => {
    const plain = readHost(bytesOf(ONE_CPU), 'x');
    const wide = Uint8Array.from(`\ufeff${ONE_CPU}`, () => 0);
    const little = new Uint8Array(2 * wide.length);
    const big = new Uint8Array(2 * wide.length);
    [...`\ufeff${ONE_CPU}`].forEach((char, i) => {
      new DataView(little.buffer).setUint16(2 * i, char.charCodeAt(0), true);
      new DataView(big.buffer).setUint16(2 * i, char.charCodeAt(0), false);
    });
    for (const bytes of [bytesOf(`\ufeff${ONE_CPU}`), little, big]) expect(readHost(bytes, 'x')).toEqual(plain);
  });

  test('a payload serves as a host, one CPU per table', () => {
    const [row] = readHost(bytesOf(ONE_CPU), 'x').cpus[0]?.rows ?? [];
    const tables = { vcpus: [{ entries: [{ ...row, flags: 0 }] }, { entries: [{ ...row, flags: 1 }] }] };
    const dump = readHost(bytesOf(JSON.stringify(tables)), 'x');
    expect(dump.cpus).toEqual([
      { label: 'CPU 0', rows: [row] },
      { label: 'CPU 1', rows: [row] },
    ]);
    expect(readHost(fixtureFile('formats/kvm_cpuid2-Skylake-Server-v5.bin').bytes, 'x').cpus[0]?.rows).toHaveLength(38);
    expect(readHost(fixtureFile('formats/strace-qemu-7.2.txt').bytes, 'x').cpus[0]?.rows).toHaveLength(20);
    expect(formatError(() => readHost(bytesOf('[]'), 'x')).message).toContain('no CPUID row');
  });

  test('a host serves as a payload, with the flags of indexed functions', () => {
    const [table] = readPayload(bytesOf(ONE_CPU), 'x').tables;
    expect(table?.label).toBe('');
    expect(table?.entries.map((entry) => [entry.function, entry.flags])).toEqual([
      [0, 0],
      [1, 0],
      [4, 1],
      [4, 1],
      [7, 1],
      [0x8000_0000, 0],
      [0x8000_0001, 0],
    ]);
  });

  test('a path is for JSON', () => {
    const binary = fixtureFile('formats/kvm_cpuid2-Skylake-Server-v5.bin').bytes;
    for (const bytes of [bytesOf(ONE_CPU), binary]) {
      const error = formatError(() => readPayload(bytes, 'x', 'models.a'));
      expect(error.message).toBe(
        'x#models.a: a path into something that is not JSON; expected a JSON document, or no path',
      );
    }
  });
});
