import { describe, expect, test } from 'vitest';
import {
  FEATURES,
  featureNamed,
  featureOfCpuinfo,
  findFeature,
  inOverlay,
  KERNEL_WORD_COUNT,
  kvmClass,
  linuxPlace,
  maskOf,
  maskOfClasses,
  OVERLAYS,
  WORD_COUNT,
  WORDS,
  wordAt,
  wordNamed,
} from '../../src/cpuid/features.js';
import { KERNEL_LINES } from '../../src/cpuid/kernel-line.js';

const words = WORDS.filter((word) => word !== undefined);

describe('the table', () => {
  test('a word has one id, one name and one place', () => {
    expect(words.map(({ id }) => WORDS[id]?.id)).toEqual(words.map(({ id }) => id));
    expect(new Set(words.map(({ name }) => name)).size).toBe(words.length);
    expect(WORD_COUNT).toBe(WORDS.length);
    const places = words
      .filter(({ kind }) => kind !== 'linux')
      .map(({ function: fn, index, register }) => `${fn}.${index}.${register}`);
    expect(new Set(places).size).toBe(places.length);
  });

  test('the words that the host kernel shares with KVM have its numbers', () => {
    const shared = words.filter(({ kind }) => kind === 'kernel').map(({ id }) => id);
    expect(Math.max(...shared)).toBeLessThan(KERNEL_WORD_COUNT);
    expect(wordNamed('CPUID_1_EDX').id).toBe(0);
    expect(wordNamed('CPUID_7_0_EBX').id).toBe(9);
  });

  test('a bit of a word has one row', () => {
    for (const { name, features } of words) {
      const bits = features.map(({ bit }) => bit);
      expect([name, new Set(bits).size]).toEqual([name, bits.length]);
      expect(bits.every((bit) => Number.isInteger(bit) && bit >= 0 && bit < 32)).toBe(true);
      for (const feature of features) expect(feature.mask).toBe(2 ** feature.bit);
    }
  });

  test('a name means one feature; only the copies of 1.EDX share theirs', () => {
    const own = FEATURES.filter(({ kvm }) => kvm !== 'ALIASED_1_EDX');
    expect(new Set(own.map(({ name }) => name)).size).toBe(own.length);
    for (const copy of FEATURES.filter(({ kvm }) => kvm === 'ALIASED_1_EDX')) {
      expect([copy.word.name, copy.bit, featureNamed(copy.name).bit]).toEqual([
        'CPUID_8000_0001_EDX',
        copy.bit,
        copy.bit,
      ]);
      expect(featureNamed(copy.name).word.name).toBe('CPUID_1_EDX');
    }
  });

  test('a name of /proc/cpuinfo means one feature', () => {
    const shown = FEATURES.flatMap(({ cpuinfo }) => cpuinfo ?? []);
    expect(shown.filter((name, at) => shown.indexOf(name) !== at)).toEqual([]);
    for (const name of shown) expect(featureOfCpuinfo(name)?.cpuinfo).toBe(name);
  });

  test('every kernel knows how it lists a bit and where Linux keeps it', () => {
    for (const feature of FEATURES) {
      for (const line of KERNEL_LINES) {
        expect([feature.name, line, typeof kvmClass(feature, line)]).not.toContain('undefined');
        expect([feature.name, line, typeof linuxPlace(feature, line)]).not.toContain('undefined');
      }
    }
  });
});

describe('how kernels list a bit and where Linux keeps it', () => {
  test.each([
    // A word that Linux has too: there, unless a row says otherwise; since when, if not since ever.
    ['AVX2', '6.1', 'F', 'word'],
    ['HTT', '7.3', 'USER', null],
    ['FRED', '6.1', null, null],
    ['FRED', '6.12', null, 'word'],
    ['CMPCCXADD', '6.1', null, null],
    ['CMPCCXADD', '6.12', 'F', 'word'],
    ['ARCH_CAPABILITIES', '6.12', 'F', 'word'],
    ['ARCH_CAPABILITIES', '6.18', 'EMULATED', 'word'],
    ['SEV', '6.1', 'F', 'word'],
    ['SEV', '6.12', null, 'word'],
    // Words that are KVM's alone: nowhere, unless a row says so.
    ['AVX_VNNI_INT8', '6.12', 'F', null],
    ['SGX1', '6.12', 'SCATTERED', 'scattered'],
    ['MSR_IMM', '6.12', null, null],
    ['MSR_IMM', '6.18', 'SCATTERED', 'scattered'],
    ['CLOCKSOURCE', '6.12', 'PV', null],
  ] as const)('%s in %s', (name, line, kvm, linux) => {
    const feature = featureNamed(name);
    expect([kvmClass(feature, line), linuxPlace(feature, line)]).toEqual([kvm, linux]);
  });
});

describe('places, as the manuals have them', () => {
  test.each([
    ['XSAVE', 0x1, 0, 'ecx', 26],
    ['AVX2', 0x7, 0, 'ebx', 5],
    ['WAITPKG', 0x7, 0, 'ecx', 5],
    ['RDPID', 0x7, 0, 'ecx', 22],
    ['BUS_LOCK_DETECT', 0x7, 0, 'ecx', 24],
    ['SHSTK', 0x7, 0, 'ecx', 7],
    ['IBT', 0x7, 0, 'edx', 20],
    ['AMX_TILE', 0x7, 0, 'edx', 24],
    ['FRED', 0x7, 1, 'eax', 17],
    ['XSAVES', 0xd, 1, 'eax', 3],
    ['SVM', 0x8000_0001, 0, 'ecx', 2],
    ['NX', 0x8000_0001, 0, 'edx', 20],
    ['PV_UNHALT', 0x4000_0001, 0, 'eax', 7],
  ] as const)('%s', (name, fn, index, register, bit) => {
    const { word, ...feature } = featureNamed(name);
    expect([word.function, word.index, word.register, feature.bit]).toEqual([fn, index, register, bit]);
    expect(wordAt(fn, index, ['eax', 'ebx', 'ecx', 'edx'].indexOf(register))).toBe(word);
  });
});

describe('overlays', () => {
  test.each([
    ['HLE', ['DEFAULT', 'SVM']],
    ['RTM', ['DEFAULT', 'SVM']],
    ['WAITPKG', ['DEFAULT', 'SVM']],
    ['IBT', ['DEFAULT', 'TDX']],
    ['BUS_LOCK_DETECT', ['DEFAULT', 'TDX']],
    ['SHSTK', ['DEFAULT', 'SVM', 'TDX']],
    ['AVX2', ['DEFAULT', 'SVM', 'TDX']],
  ])('%s is in %s', (name, overlays) => {
    const feature = featureNamed(name);
    expect(OVERLAYS.filter((overlay) => inOverlay(feature, overlay))).toEqual(overlays);
  });

  test('what clobbers host state says which', () => {
    expect(featureNamed('WAITPKG').clobbers).toEqual(['IA32_UMWAIT_CONTROL']);
    for (const { clobbers } of FEATURES) expect(clobbers.every((name) => name !== '')).toBe(true);
  });
});

describe('lookups', () => {
  test('by name', () => {
    expect(findFeature('AVX2')).toBe(featureNamed('AVX2'));
    expect(findFeature('avx2')).toBeUndefined();
    expect(featureOfCpuinfo('avx2')).toBe(featureNamed('AVX2'));
    expect(featureOfCpuinfo('AVX2')).toBeUndefined();
    expect(() => featureNamed('NOSUCH')).toThrow('no feature is called NOSUCH');
    expect(() => wordNamed('NOSUCH')).toThrow('no word is called NOSUCH');
  });

  test('by place', () => {
    expect(wordAt(7, 0, 1)?.name).toBe('CPUID_7_0_EBX');
    expect(wordAt(7, 3, 1)).toBeUndefined();
    expect(wordAt(0, 0, 0)).toBeUndefined();
    expect(wordAt(0x8000_0001, 0, 2)?.name).toBe('CPUID_8000_0001_ECX');
  });

  test('masks', () => {
    const word = wordNamed('CPUID_7_0_EBX');
    expect(maskOf(word, ['FSGSBASE', 'AVX2'])).toBe(0x21);
    expect(maskOf(word, [])).toBe(0);
    expect(() => maskOf(word, ['XSAVE'])).toThrow('CPUID_7_0_EBX has no bit called XSAVE');
    expect(maskOf(wordNamed('CPUID_1_ECX'), ['HYPERVISOR'])).toBe(0x8000_0000);
  });

  test('masks of classes are those of the single bits', () => {
    for (const word of words) {
      for (const line of KERNEL_LINES) {
        for (const overlay of OVERLAYS) {
          const bits = word.features.filter((item) => kvmClass(item, line) === 'F' && inOverlay(item, overlay));
          const mask = bits.reduce((all, item) => (all | item.mask) >>> 0, 0);
          expect(maskOfClasses(word, line, ['F'], overlay)).toBe(mask);
        }
        expect(maskOfClasses(word, line, [])).toBe(0);
      }
    }
  });
});
