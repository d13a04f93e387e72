import { expect, test } from 'vitest';
import { isIndexed, kvmIndexedFunctions } from '../../src/cpuid/indexed.js';
import { KERNEL_LINES } from '../../src/cpuid/kernel-line.js';

/** `cpuid_function_is_indexed()` of Linux 6.1. */
const FIRST = [0x4, 0x7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1d, 0x1e, 0x1f, 0x8000_001d];
const LATER = { '6.1': [], '6.12': [0x24], '6.18': [0x24], '7.1': [0x24], '7.3': [0x23, 0x24] };
/** Hardware has sub-leaves there that KVM does not report. */
const HARDWARE_ONLY = [0x1b, 0x20, 0x8000_0020, 0x8000_0026];

const sorted = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b);

test.each(KERNEL_LINES)('the functions whose index KVM of %s looks at', (line) => {
  expect(sorted(kvmIndexedFunctions(line))).toEqual(sorted([...FIRST, ...LATER[line]]));
});

test('the functions whose index a CPU looks at', () => {
  const asked = [...Array(0x40).keys()].flatMap((n) => [n, 0x4000_0000 + n, 0x8000_0000 + n]);
  expect(sorted(asked.filter(isIndexed))).toEqual(sorted([...FIRST, 0x23, 0x24, ...HARDWARE_ONLY]));
});
