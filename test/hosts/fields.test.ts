import { expect, test } from 'vitest';
import { archCapabilities } from '../../src/hosts/arch-capabilities.js';
import { fieldRow, placeOf } from '../../src/hosts/fields.js';

test('a row is built from field names', () => {
  expect(fieldRow(0x1c, 0, { lbr_depth_mask: 0xb, lbr_cpl: 1 })).toEqual({
    function: 0x1c,
    index: 0,
    eax: 0xb,
    ebx: 1,
    ecx: 0,
    edx: 0,
  });
});

test('fields are looked up in their own sub-leaf', () => {
  expect(fieldRow(0x10, 3, { mba_max_delay: 89 }).eax).toBe(89);
  expect(() => fieldRow(0x10, 1, { mba_max_delay: 89 })).toThrow('CPUID 0x10.1 has no field mba_max_delay');
});

test('a value that its field cannot hold is refused', () => {
  expect(fieldRow(0xd, 2, { xsave_sz: 0xffff_ffff }).eax).toBe(0xffff_ffff);
  expect(() => fieldRow(0xa, 0, { pmu_version: 256 })).toThrow('256 does not fit into pmu_version of CPUID 0xa.0');
  expect(() => fieldRow(0xa, 0, { pmu_version: 1.5 })).toThrow('does not fit');
});

test('a feature has its kernel name first, then the name of the architecture', () => {
  expect(placeOf('AVX512F')).toEqual({ function: 7, index: 0, register: 'ebx', mask: 0x1_0000 });
  expect(placeOf('tm2')).toEqual({ function: 1, index: 0, register: 'ecx', mask: 0x100 });
  expect(placeOf('SPEC_CTRL_SSBD').mask).toBe(0x8000_0000);
});

test('a name that several functions share needs its leaf', () => {
  expect(() => placeOf('mba')).toThrow('mba is in the functions 0x10, 0x80000008, 0x80000020');
  expect(placeOf('mba@80000020')).toEqual({ function: 0x8000_0020, index: 0, register: 'ebx', mask: 2 });
});

test('neither made-up names nor flags without a CPUID bit have a place', () => {
  expect(() => placeOf('AVX1024')).toThrow('no CPUID bit is called AVX1024');
  expect(() => placeOf('PEBS')).toThrow('no CPUID bit is called PEBS');
  expect(() => placeOf('STEAL_TIME')).toThrow('no CPUID bit is called STEAL_TIME');
  expect(() => archCapabilities(['MELTDOWN_NO'])).toThrow('IA32_ARCH_CAPABILITIES has no bit called MELTDOWN_NO');
});
