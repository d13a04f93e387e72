import fc, { type Arbitrary } from 'fast-check';
import { type CpuidEntry2, REGISTERS } from '../../cpuid/entry.js';
import { kvmIndexedFunctions } from '../../cpuid/indexed.js';
import { word } from './word.js';

const u32 = fc.nat(0xffff_ffff);

export const register = fc.constantFrom(...REGISTERS);
export const index = fc.oneof(fc.nat(3), fc.nat(70), fc.constantFrom(0x7fff_ffff, 0x8000_0000, 0xffff_ffff), u32);
export const flags = fc.oneof(fc.constantFrom(0, 1, 2, 4, 7), u32);

const indexed = fc.constantFrom(...kvmIndexedFunctions('7.3'));

/** Functions near the edges of ranges and of KVM's knowledge, and any other. */
const fn: Arbitrary<number> = fc.oneof(
  fc.nat(0x40),
  fc.nat(0x40).map((low) => (0x8000_0000 + low) >>> 0),
  fc.nat(0x13).map((low) => 0x4000_0000 + low),
  fc.nat(0xff).map((steps) => 0x4000_0000 + steps * 0x100),
  fc.nat(6).map((low) => 0xc000_0000 + low),
  indexed,
  fc.constantFrom(0x3fff_ffff, 0x5000_0000, 0x7fff_ffff, 0x8086_0000, 0x8fff_ffff, 0x9000_0000, 0xffff_ffff),
  u32,
);

/** An entry of which nothing is right but by chance. */
const wild: Arbitrary<CpuidEntry2> = fc
  .tuple(fn, index, flags, fc.tuple(word(), word(), word(), word()), fc.option(fc.tuple(u32, u32, u32), { freq: 9 }))
  .map(([fn, index, flags, [eax, ebx, ecx, edx], padding]) => ({
    ...{ function: fn, index, flags, eax, ebx, ecx, edx },
    ...(padding?.some((value) => value !== 0) && { padding }),
  }));

/** A sub-leaf that is far beyond all that exist, or an indexed function whose index does not count. */
const oddSubleaf: Arbitrary<CpuidEntry2> = fc
  .tuple(indexed, index, fc.constantFrom(0, 1), word(), register)
  .map(([fn, index, flags, value, register]) => ({
    ...{ function: fn, index, flags, eax: 0, ebx: 0, ecx: 0, edx: 0 },
    [register]: value,
  }));

/** One `struct kvm_cpuid_entry2`: any function, sub-leaf and value, likeliest where something may go wrong. */
export const entry = (): Arbitrary<CpuidEntry2> => fc.oneof({ weight: 3, arbitrary: wild }, oddSubleaf);
