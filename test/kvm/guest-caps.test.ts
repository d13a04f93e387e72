import { describe, expect, test } from 'vitest';
import { featureNamed, WORDS, type Word } from '../../src/cpuid/features.js';
import { type CpuidEntry2, KERNEL_LINES, type KernelLine } from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import type { GuestCaps } from '../../src/kvm/guest-caps.js';
import type { KvmOptions } from '../../src/kvm/module.js';
import { Vcpu } from '../../src/kvm/vcpu.js';
import { Vm } from '../../src/kvm/vm.js';
import { entry, kvmOn, VcpuUser } from '../support/vcpu-user.js';

/** What a guest with this table may use. */
function capsOf(
  host: string,
  line: KernelLine,
  entries: readonly CpuidEntry2[],
  prepare?: (vcpu: Vcpu) => void,
  options?: KvmOptions,
): GuestCaps {
  const module = kvmOn(host, line, options);
  const user = new VcpuUser(module);
  const vcpu = new Vcpu(new Vm(module, user.process, 0, module.defaultOverlay), user.process, 1);
  // The object that the test can look into is reached through a descriptor of its own.
  const it = Object.assign(Object.create(user) as VcpuUser, { vcpu: user.process.install(vcpu) });
  expect(it.setCpuid(entries)).toBe('OK');
  prepare?.(vcpu);
  return vcpu.guestCaps;
}

const has = (caps: GuestCaps, name: string): boolean => caps.has(featureNamed(name));
const mask = (name: string): number => featureNamed(name).mask;
const OLD: readonly KernelLine[] = ['6.1', '6.12'];
const isOld = (line: KernelLine): boolean => OLD.includes(line);

describe.each(KERNEL_LINES)('capabilities of a guest, %s', (line) => {
  test('nothing without a table', () => {
    const caps = capsOf('sapphire-rapids', line, []);
    // With TDP, GBPAGES are the hardware's; the array exists from 6.18 on.
    const gbpages = featureNamed('GBPAGES');
    const expected = new Uint32Array(caps.words.length);
    if (!isOld(line)) expected[gbpages.word.id] = gbpages.mask;
    expect(caps.words).toEqual(expected);
    expect(caps).toMatchObject({
      supportedXcr0: 0,
      supportedXss: 0,
      maxPhysicalAddressBits: 36,
      reservedGpaBits: 2n ** 64n - 2n ** 36n,
      isAmdCompatible: false,
      pvFeatures: 0,
    });
  });

  test('a bit that KVM lacks counts only where KVM reads the table itself', () => {
    const caps = capsOf('genoa', line, [entry(1, { ecx: mask('VMX') | mask('XSAVE') })]);
    expect([has(caps, 'XSAVE'), has(caps, 'VMX')]).toEqual([true, isOld(line)]);
    expect(caps.tableHas(featureNamed('VMX'))).toBe(true);
  });

  test('CR4 needs KVM as well as the guest', () => {
    const caps = capsOf('genoa', line, [entry(1, { ecx: mask('VMX') | mask('XSAVE') })]);
    const reserved = (bit: number) => (caps.cr4ReservedBits >> BigInt(bit)) & 1n;
    expect([13, 18, 20, 5, 14, 32].map(reserved)).toEqual([1n, 0n, 1n, 0n, 1n, 1n]);
  });

  test('CR4 needs the guest alone with the defect of before 5.6', () => {
    const defects = ['cr4-guest-cpuid-only'] as const;
    const caps = capsOf('genoa', line, [entry(1, { ecx: mask('VMX') | mask('XSAVE') })], undefined, { defects });
    const reserved = (bit: number) => (caps.cr4ReservedBits >> BigInt(bit)) & 1n;
    expect([13, 18, 20, 5, 14, 32].map(reserved)).toEqual([0n, 0n, 1n, 0n, 1n, 1n]);
  });

  test('MWAIT, which KVM does not report, counts as emulated in part', () => {
    expect(has(capsOf('sapphire-rapids', line, [entry(1, { ecx: mask('MWAIT') })]), 'MWAIT')).toBe(true);
  });

  test('RDPID, emulated in 7.0.ECX, leaks into 7.1.ECX before 7.3', () => {
    // The bit of 7.1.ECX in the place of RDPID has no name.
    const caps = capsOf('sapphire-rapids', line, [entry(7, { flags: 1, index: 1, ecx: mask('RDPID') })]);
    const word = featureNamed('MSR_IMM').word; // CPUID.(EAX=7,ECX=1):ECX
    expect(caps.words[word.id]).toBe(line === '7.3' ? 0 : mask('RDPID'));
  });

  test('runtime bits follow the state', () => {
    const caps = capsOf('sapphire-rapids', line, [entry(1, { ecx: mask('XSAVE') })], (vcpu) => {
      vcpu.state.sregs.setBigUint64(abi.SREGS_CR4, 1n << 18n, true);
      vcpu.cpuid.stateChanged();
    });
    expect([has(caps, 'OSXSAVE'), has(caps, 'APIC')]).toEqual([true, true]);
  });

  test('XSAVE components: what the table offers of what KVM supports', () => {
    const caps = capsOf('sapphire-rapids', line, [
      entry(0xd, { flags: 1, eax: 0xff07 }),
      entry(0xd, { flags: 1, index: 1, eax: 8, ecx: 0xff00 }),
    ]);
    expect([caps.supportedXcr0, caps.supportedXss]).toEqual([0x207, isOld(line) ? 0 : 0x1800]);
  });
});

describe('XSAVES, which the vendors treat apart', () => {
  const withXsave = entry(1, { ecx: mask('XSAVE') });
  const withXsaves = entry(0xd, { flags: 1, index: 1, eax: mask('XSAVES') });

  test('VMX: not without XSAVE', () => {
    expect(has(capsOf('sapphire-rapids', '7.3', [withXsaves]), 'XSAVES')).toBe(false);
    expect(has(capsOf('sapphire-rapids', '7.3', [withXsave, withXsaves]), 'XSAVES')).toBe(true);
  });

  test('SVM: with XSAVE, whatever the table says', () => {
    expect(has(capsOf('genoa', '7.3', [withXsave]), 'XSAVES')).toBe(true);
    expect(has(capsOf('genoa', '7.3', [withXsaves]), 'XSAVES')).toBe(false);
    expect(has(capsOf('genoa', '6.12', [withXsaves]), 'XSAVES')).toBe(true);
  });
});

describe('addresses', () => {
  const sizes = (eax: number, extended = 0x8000_0008) => [
    entry(0x8000_0000, { eax: extended }),
    entry(0x8000_0008, { eax }),
  ];
  const rows: readonly (readonly [name: string, entries: readonly CpuidEntry2[], bits: number])[] = [
    ['52 bits', sizes(52), 52],
    ['0 bits', sizes(0), 0],
    ['255 bits', sizes(255), 255],
    ['63 bits', sizes(63), 63],
    ['64 bits', sizes(64), 64],
    ['the other order', sizes(52).toReversed(), 52],
    ['a maximum below the leaf', sizes(52, 0x8000_0007), 36],
    ['no 80000000', sizes(52).slice(1), 36],
    ['no 80000008', sizes(52).slice(0, 1), 36],
    ['no 80000000, and flags that look like a maximum', [entry(0x8000_0008, { eax: 52, flags: 0x8000_0008 })], 36],
  ];

  test.each(rows)('%s', (_, entries, bits) => {
    const caps = capsOf('genoa', '7.3', entries);
    expect(caps.maxPhysicalAddressBits).toBe(bits);
    expect(caps.reservedGpaBits).toBe(bits > 63 ? 0n : 2n ** 64n - 2n ** BigInt(bits));
  });
});

describe('vendor and paravirtual features', () => {
  const vendors = [
    ['AuthenticAMD', { ebx: 0x68747541, ecx: 0x444d4163, edx: 0x69746e65 }, true],
    ['HygonGenuine', { ebx: 0x6f677948, ecx: 0x656e6975, edx: 0x6e65476e }, true],
    ['AMDisbetter!', { ebx: 0x69444d41, ecx: 0x21726574, edx: 0x74656273 }, true],
    ['the start of AuthenticAMD', { ebx: 0x68747541, ecx: 0x444d4163, edx: 0x6e65476e }, false],
    ['the middle of AuthenticAMD', { ebx: 0x6f677948, ecx: 0x444d4163, edx: 0x6e65476e }, false],
    ['the end of AuthenticAMD', { ebx: 0x6f677948, ecx: 0x6e656975, edx: 0x69746e65 }, false],
    ['all but its start', { ebx: 0, ecx: 0x444d4163, edx: 0x69746e65 }, false],
    ['all but its middle', { ebx: 0x68747541, ecx: 0, edx: 0x69746e65 }, false],
    ['GenuineIntel', { ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 }, false],
  ] as const;

  test.each(vendors)('%s', (_, registers, isAmd) => {
    expect(capsOf('genoa', '7.3', [entry(0, registers)]).isAmdCompatible).toBe(isAmd);
  });

  test('the vendor is that of leaf 0, not of registers that hold the same', () => {
    const shifted = entry(1, { eax: 0x68747541, ebx: 0x444d4163, ecx: 0x69746e65 });
    expect(capsOf('genoa', '7.3', [shifted]).isAmdCompatible).toBe(false);
  });

  const signature = { ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d };

  test('the features leaf may come first', () => {
    const table = [entry(0x4000_0001, { eax: 0x21 }), entry(0x4000_0000, signature)];
    expect(capsOf('genoa', '7.3', table).pvFeatures).toBe(0x21);
  });

  test('no features without the leaf, or without the signature', () => {
    const other = entry(2, { flags: 1, eax: 0xff });
    expect(capsOf('genoa', '7.3', [other, entry(0x4000_0000, signature)]).pvFeatures).toBe(0);
    expect(capsOf('genoa', '7.3', [other, entry(0x4000_0001, { eax: 0x21 })]).pvFeatures).toBe(0);
  });

  test('the features leaf lies behind the signature', () => {
    const moved = [
      entry(0x4000_0000, { ebx: 0x566e6558 }),
      entry(0x4000_0001, { eax: 0xffff }),
      entry(0x4000_0100, signature),
      entry(0x4000_0101, { eax: 0x11 }),
    ];
    expect(capsOf('genoa', '7.3', moved).pvFeatures).toBe(0x11);
  });
});

describe('words of the table', () => {
  const words = WORDS.filter((word) => word?.kind === 'kernel' || word?.kind === 'kvm_only') as Word[];
  const features = words.flatMap((word) => word.features);
  const valueIn = (word: Word): number => Math.imul(word.id + 3, 0x9e37_79b1) >>> 0;

  test('are those of their own leaf, sub-leaf and register', () => {
    const places = new Map<string, CpuidEntry2>();
    for (const word of words) {
      const key = `${word.function} ${word.index}`;
      const place = places.get(key) ?? entry(word.function, { index: word.index, flags: 1 });
      places.set(key, { ...place, [word.register]: valueIn(word) });
    }
    // KVM writes a few bits itself.
    const runtime = ['OSXSAVE', 'OSPKE', 'APIC', 'MWAIT'];
    const own = features.filter(({ name }) => !runtime.includes(name));
    const caps = capsOf('sapphire-rapids', '7.3', [...places.values()].toReversed());
    expect(own.filter((item) => caps.tableHas(item) !== ((valueIn(item.word) & item.mask) !== 0))).toEqual([]);
  });

  test('are zero where the table has no such entry', () => {
    const all = 0xffff_ffff;
    const caps = capsOf('sapphire-rapids', '7.3', [entry(2, { flags: all, eax: all, ebx: all, ecx: all, edx: all })]);
    expect(features.filter((item) => caps.tableHas(item))).toEqual([]);
  });
});
