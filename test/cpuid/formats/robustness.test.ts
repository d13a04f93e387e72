/** Whatever the bytes are, a reader gives data of the promised shape or a one-line FormatError, in linear time. */

import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import type { HostDump, Payload } from '../../../src/cpuid/dump.js';
import { FormatError } from '../../../src/cpuid/errors.js';
import { readHost, readPayload, selectPath, writeCpuidR, writeKvmCpuid2 } from '../../../src/cpuid/formats/index.js';
import { bytesOf, fixtureFiles, ONE_CPU, sharedFiles, type TestFile, TWO_CPUS } from './support.js';

/** KVM_CPUID_RUNS=100 runs a hundred times as many cases. A failure prints the seed and path that replay it. */
const FACTOR = Number(process.env.KVM_CPUID_RUNS ?? 1) || 1;
const runs = (n: number) => ({ numRuns: Math.ceil(n * FACTOR) });
vi.setConfig({ testTimeout: 120_000 * Math.max(1, FACTOR) });

const isU32 = (value: unknown) => typeof value === 'number' && value >>> 0 === value;

function checkHost({ cpus, warnings }: HostDump): void {
  expect(cpus.length).toBeGreaterThan(0);
  for (const { rows } of cpus) {
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.every((row) => Object.values(row).every(isU32))).toBe(true);
    expect(new Set(rows.map((row) => `${row.function}.${row.index}`)).size).toBe(rows.length);
  }
  checkLines(warnings);
}

function checkPayload({ tables, warnings }: Payload): void {
  expect(tables.length).toBeGreaterThan(0);
  for (const { entries, headPadding = 0 } of tables) {
    expect(isU32(headPadding)).toBe(true);
    const words = entries.flatMap(({ padding = [0, 0, 0], ...rest }) => [...padding, ...Object.values(rest)]);
    expect(words.every(isU32)).toBe(true);
  }
  checkLines(warnings);
}

function checkLines(lines: readonly string[]): void {
  for (const line of lines) expect(line).not.toMatch(/[\n\r\u2028\u2029]/);
}

/** Reads the bytes both ways; anything but data or a FormatError fails. */
function survives(bytes: Uint8Array, path = ''): void {
  attempt(() => checkHost(readHost(bytes, 'input', path)));
  attempt(() => checkPayload(readPayload(bytes, 'input', path)));
}

function attempt(read: () => void): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    checkLines([error.message]);
    expect(error.where.startsWith('input')).toBe(true);
    expect(error.message.length).toBeLessThan(1000);
  }
}

const BINARY = writeKvmCpuid2([
  { function: 7, index: 0, flags: 1, eax: 0, ebx: 1, ecx: 2, edx: 3, padding: [1, 2, 3] },
]);

const AUTHORED: readonly TestFile[] = [
  { name: 'one CPU', bytes: bytesOf(ONE_CPU) },
  { name: 'two CPUs', bytes: bytesOf(TWO_CPUS) },
  {
    name: 'AIDA64',
    bytes: bytesOf('------[ Logical CPU #0 ]------\nCPUID 00000004: 1C004121-01C0003F-0000003F-00000000 [SL 00]\n'),
  },
  {
    name: 'libcpuid',
    bytes: bytesOf(
      '___ Logical CPU #0 ___\nbasic_cpuid[0]=0000000d 756e6547 6c65746e 49656e69\nintel_fn4[1]=1 2 3 4\n',
    ),
  },
  {
    name: 'libvirt',
    bytes: bytesOf(
      "<!-- x -->\n<cpudata>\n<cpuid eax_in='0x07' ecx_in='0x01' eax='0x01' ebx='0'/>\n<msr index='1'/></cpudata>",
    ),
  },
  {
    name: 'strace',
    bytes: bytesOf(
      'ioctl(9, KVM_SET_CPUID2, {nent=1, entries=[{function=0x1, index=0, flags=KVM_CPUID_FLAG_STATEFUL_FUNC, eax=0x506e3, ebx=0x800, ecx=0, edx=0x1}]}) = 0',
    ),
  },
  {
    name: 'entries',
    bytes: bytesOf(
      '{"vcpus":[{"entries":["7 0 1 0 0 0 0",["7","0",1,"0","0","0","0"],{"function":7,"eax":0,"ebx":"1","ecx":2,"edx":3}]},[]]}',
    ),
  },
  {
    name: 'capture',
    bytes: bytesOf(
      '{"schema":"kvm-cpuid-oracle/1","raw":["0 0 1 2 3 4"],"supported":{"errno":"OK","entries":["0 0 0 1 2 3 4"]}}',
    ),
  },
  { name: 'struct', bytes: BINARY },
];

/** Real files, but the largest, so that a run stays short. */
const REAL = [
  ...fixtureFiles('formats', ''),
  ...fixtureFiles('captures', 'qemu64.json.gz'),
  ...sharedFiles('formats', '').filter((file) => file.bytes.length < 150_000),
  ...sharedFiles('dumps', 'zen4-genoa.txt'),
];

type Mutation = (bytes: Uint8Array) => Uint8Array;

const splice = (bytes: Uint8Array, at: number, removed: number, inserted: Uint8Array) =>
  Uint8Array.from([...bytes.subarray(0, at), ...inserted, ...bytes.subarray(at + removed)]);

/** A place in a file of any length. */
const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
const at = (bytes: Uint8Array, where: number) => Math.floor(where * bytes.length);
/** Characters that mean something in some format are likelier to lead somewhere than others. */
const snippet = fc.oneof(
  fc.uint8Array({ maxLength: 8 }),
  fc.constantFrom(...'{}[]<>"\'=:,.-_#\n\r\0x0fFz '.split('')).map(bytesOf),
  fc
    .constantFrom(
      'CPU 0:',
      '0x',
      'null',
      '-1',
      '1e999',
      '[SL 0',
      '-->',
      '<!--',
      '<cpuid ',
      'entries',
      '"vcpus":',
      '\ufeff',
    )
    .map(bytesOf),
);

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(place, fc.nat(7)).map(
    ([where, bit]): Mutation =>
      (bytes) => {
        const flipped = Uint8Array.from(bytes);
        const i = at(bytes, where);
        if (i < flipped.length) flipped[i] = (flipped[i] ?? 0) ^ (1 << bit);
        return flipped;
      },
  ),
  fc.tuple(place, snippet).map(
    ([where, text]): Mutation =>
      (bytes) =>
        splice(bytes, at(bytes, where), 0, text),
  ),
  fc.tuple(place, snippet).map(
    ([where, text]): Mutation =>
      (bytes) =>
        splice(bytes, at(bytes, where), text.length, text),
  ),
  fc.tuple(place, fc.nat(40)).map(
    ([where, n]): Mutation =>
      (bytes) =>
        splice(bytes, at(bytes, where), n, new Uint8Array()),
  ),
  fc.tuple(place, place).map(
    ([where, from]): Mutation =>
      (bytes) => {
        const start = at(bytes, from);
        return splice(bytes, at(bytes, where), 0, bytes.subarray(start, start + 200));
      },
  ),
  place.map(
    (where): Mutation =>
      (bytes) =>
        bytes.subarray(0, at(bytes, where)),
  ),
);

const mutated = (files: readonly TestFile[]) =>
  fc
    .tuple(fc.constantFrom(...files), fc.array(mutation, { minLength: 1, maxLength: 4 }))
    .map(([file, mutations]) => mutations.reduce((bytes, mutate) => mutate(bytes), file.bytes));

describe('a reader raises nothing but a FormatError', () => {
  test('on arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => survives(bytes)),
      runs(2000),
    );
  });

  test('on bytes that start as one of the formats', () => {
    const start = fc.constantFrom(
      '{',
      '[',
      '<cpuid ',
      'CPU 0:\n0x',
      'CPUID 00000000: ',
      'basic_cpuid[',
      'ioctl(9, KVM_SET_CPUID2, ',
    );
    const input = fc
      .tuple(start, fc.string({ maxLength: 100, unit: 'binary' }))
      .map(([head, tail]) => bytesOf(head + tail));
    fc.assert(
      fc.property(input, (bytes) => survives(bytes)),
      runs(1000),
    );
  });

  test('on any JSON document and any path into it', () => {
    const word = fc.oneof(fc.constantFrom('7', 'ffffffff', 0, 1, 2 ** 32, -1), fc.jsonValue());
    const entry = fc.oneof(
      fc.array(word, { minLength: 6, maxLength: 8 }),
      fc.jsonValue(),
      fc.constant('7 0 1 0 0 0 0'),
    );
    const table = fc.record({ entries: fc.array(entry), head_padding: word }, { requiredKeys: [] });
    const document = fc.oneof(
      fc.jsonValue(),
      fc.array(entry),
      fc.record(
        { schema: fc.constant('kvm-cpuid-oracle/1'), raw: fc.array(entry), supported: fc.oneof(table, fc.jsonValue()) },
        { requiredKeys: [] },
      ),
      fc.record({ vcpus: fc.array(fc.oneof(table, fc.jsonValue())), entries: fc.jsonValue() }, { requiredKeys: [] }),
    );
    const path = fc.oneof(
      fc.constant(''),
      fc
        .array(fc.constantFrom('entries', 'vcpus', '0', '1', 'raw', '', 'length', '__proto__'))
        .map((steps) => steps.join('.')),
      fc.string(),
    );
    fc.assert(
      fc.property(document, path, (value, steps) => survives(bytesOf(JSON.stringify(value)), steps)),
      runs(1000),
    );
    fc.assert(
      fc.property(document, path, (value, steps) => attempt(() => void selectPath(value, steps, 'input'))),
      runs(1000),
    );
  });

  test.each(AUTHORED)('on a mutated file: $name', (file) => {
    survives(file.bytes);
    fc.assert(
      fc.property(mutated([file]), (bytes) => survives(bytes)),
      runs(300),
    );
  });

  test(`on ${REAL.length} mutated real files`, () => {
    for (const file of REAL) survives(file.bytes);
    fc.assert(
      fc.property(mutated(REAL), (bytes) => survives(bytes)),
      runs(150),
    );
  });
});

test('reading what was written is a fixed point, even of mutated files', () => {
  fc.assert(
    fc.property(mutated(AUTHORED), (bytes) => {
      attempt(() => {
        const text = writeCpuidR(readHost(bytes, 'input'));
        expect(writeCpuidR(readHost(bytesOf(text), 'input'))).toBe(text);
      });
    }),
    runs(500),
  );
});

describe('a megabyte of the worst takes no longer than a megabyte', () => {
  const MEGABYTE = 1 << 20;
  const filled = (text: string) => text.repeat(Math.ceil(MEGABYTE / text.length));

  test.each([
    ['brackets', filled('[')],
    ['braces', filled('{"a":')],
    ['tags', `<cpuid eax_in='0'/>${filled('<')}`],
    ['comments', `<${filled('!--')}`],
    ['unclosed quotes', filled("<cpuid eax_in='")],
    ['white space in a tag', `<cpuid eax_in${filled(' ')}`],
    ['white space before attributes', `<cpuid${filled(' \n')}x`],
    ['attributes', `<cpuid ${filled("a='b' ")}`],
    ['elements', `<cpudata>${filled("<cpuid eax_in='0' eax='1'/>\n")}`],
    ['white space in a row', `0x00000000${filled(' ')}`],
    ['registers', filled('eax=')],
    ['headers', filled('CPU 0:\n')],
    ['contradictions', filled('basic_cpuid[0]=1 2 3 4\nbasic_cpuid[0]=2 3 4 5\n')],
    ['underscores', `basic_cpuid[0]=1 2 3 4\n${filled('_')}`],
    ['dashes', `CPUID 00000000: 00000000-00000000-00000000-00000000\n${filled('-')}`],
    ['ioctls', `KVM_${filled('ioctl(9<')}`],
    ['tables', `ioctl(9, KVM_SET_CPUID2, {nent=1, entries=[${filled('{')}`],
    ['entries of a trace', `ioctl(9, KVM_SET_CPUID2, {nent=1, entries=[{${filled('a=b, ')}`],
    ['newlines', filled('\n')],
    ['digits', filled('0')],
    [
      'keys',
      JSON.stringify({ entries: [Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`key ${i}`, i]))] }),
    ],
  ])('%s', (_, text) => {
    const start = performance.now();
    survives(bytesOf(text));
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
