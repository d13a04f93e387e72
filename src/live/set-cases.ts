/** The tables that KVM_SET_CPUID2 is given: variations of the supported set that ask one question each. */
import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, REGISTERS } from '../cpuid/entry.js';
import { KVM_MAX_CPUID_ENTRIES } from '../kvm/supported.js';

type Entries = readonly CpuidEntry2[];

export interface SetCase {
  readonly id: string;
  readonly entries: Entries;
  /** The padding of `struct kvm_cpuid2` itself. */
  readonly headPadding?: number;
}

const ONES = 0xffff_ffff;
const ZERO_REGISTERS = { eax: 0, ebx: 0, ecx: 0, edx: 0 } as const;
const ONE_REGISTERS = { eax: ONES, ebx: ONES, ecx: ONES, edx: ONES } as const;

/** An entry of a leaf without sub-leaves; zeros where nothing else is said. */
export function leaf(fn: number, change: Partial<CpuidEntry2> = {}): CpuidEntry2 {
  return { function: fn >>> 0, index: 0, flags: 0, ...ZERO_REGISTERS, ...change };
}

/** The position of (function, index), whatever its flags; -1 when there is none. */
export function positionOf(entries: Entries, fn: number, index = 0): number {
  return entries.findIndex((entry) => entry.function === fn && entry.index === index);
}

/** Changes the entry of (function, index) where there is one. */
export function changed(
  entries: Entries,
  fn: number,
  index: number,
  change: (entry: CpuidEntry2) => Partial<CpuidEntry2>,
): Entries {
  const position = positionOf(entries, fn, index);
  const entry = entries[position];
  return entry ? entries.with(position, { ...entry, ...change(entry) }) : entries;
}

/** Fills a table up to a length with leaves that KVM does not know. */
export function filled(entries: Entries, nent: number): Entries {
  const more = Array.from({ length: Math.max(nent - entries.length, 0) }, (_, n) => {
    const position = entries.length + n;
    return leaf(0x5000_0000 + position, { eax: 1, ebx: 2, ecx: 3, edx: position });
  });
  return [...entries, ...more];
}

const hex = (value: number): string => value.toString(16);
const nameOf = ({ function: fn, index }: CpuidEntry2): string => `${hex(fn)}.${hex(index)}`;
const mapped = (entries: Entries, change: (entry: CpuidEntry2) => Partial<CpuidEntry2>): Entries =>
  entries.map((entry) => ({ ...entry, ...change(entry) }));

/** All cases, in the order in which one vCPU is given them. */
export function setCases(supported: Entries): SetCase[] {
  const groups = [lengths, unknownLeaves, registers, keys, padding, order, removals, duplicates, widths, runtimeBits];
  return [...groups, hypervisorLeaves].flatMap((group) => group(supported));
}

function lengths(supported: Entries): SetCase[] {
  const nearLimit = [KVM_MAX_CPUID_ENTRIES - 1, KVM_MAX_CPUID_ENTRIES, KVM_MAX_CPUID_ENTRIES + 1];
  return [
    { id: 'supported', entries: supported },
    { id: 'head padding non-zero', entries: supported, headPadding: 0xdead_beef },
    { id: 'nent 0', entries: [] },
    { id: 'supported again', entries: supported },
    { id: 'nent 1', entries: supported.slice(0, 1) },
    ...nearLimit.map((nent) => ({
      id: `nent ${nent} (filled with unknown leaves)`,
      entries: filled(supported, nent),
    })),
    {
      id: `nent ${KVM_MAX_CPUID_ENTRIES} all zero entries`,
      entries: Array.from({ length: KVM_MAX_CPUID_ENTRIES }, () => leaf(0)),
    },
  ];
}

/** Known to hardware but not to KVM, reserved, or in nobody's range. */
// biome-ignore format: a list
const UNKNOWN: readonly number[] = [
  0x2, 0x3, 0xa, 0x1a, 0x23, 0x40, 0xffff, 0x2000_0000, 0x3fff_ffff, 0x4000_0002, 0x4000_0010, 0x4000_0100, 0x4fff_ffff,
  0x7fff_ffff, 0x8000_0002, 0x8000_0005, 0x8000_0030, 0x8fff_fffe, 0xc000_0000, 0xc000_0001, 0xffff_ffff,
];

function unknownLeaves(supported: Entries): SetCase[] {
  return [
    ...UNKNOWN.map((fn) => ({ id: `append ${hex(fn)} all ones`, entries: [...supported, leaf(fn, ONE_REGISTERS)] })),
    {
      id: 'only unknown leaves',
      entries: UNKNOWN.map((fn, n) =>
        leaf(fn, { index: n, flags: n & 1, eax: 0xa5a5_a5a5, ebx: 0x5a5a_5a5a, ecx: n, edx: ~n >>> 0 }),
      ),
    },
  ];
}

function registers(supported: Entries): SetCase[] {
  const checked = [0xd, 0x8000_0008];
  return [
    { id: 'all registers zero', entries: mapped(supported, () => ZERO_REGISTERS) },
    {
      id: 'all registers ones except d, 80000008',
      entries: mapped(supported, (entry) => (checked.includes(entry.function) ? {} : ONE_REGISTERS)),
    },
    { id: 'all registers ones', entries: mapped(supported, () => ONE_REGISTERS) },
    {
      id: 'all registers inverted except d, 80000008',
      entries: mapped(supported, (entry) => (checked.includes(entry.function) ? {} : inverted(entry))),
    },
    ...REGISTERS.map((register) => ({
      id: `${register} zero on all`,
      entries: mapped(supported, () => ({ [register]: 0 })),
    })),
    ...[17, 18, 19, 62, 63].map((bit) => ({
      id: `d.0 with component ${bit}`,
      entries: changed(supported, 0xd, 0, (entry) =>
        bit < 32 ? { eax: (entry.eax | (1 << bit)) >>> 0 } : { edx: (entry.edx | (1 << (bit - 32))) >>> 0 },
      ),
    })),
  ];
}

function inverted({ eax, ebx, ecx, edx }: CpuidEntry2): Partial<CpuidEntry2> {
  return { eax: ~eax >>> 0, ebx: ~ebx >>> 0, ecx: ~ecx >>> 0, edx: ~edx >>> 0 };
}

/** Flags and indices. */
function keys(supported: Entries): SetCase[] {
  const flags = [0, 1, 2, 4, 7, 8, 0x8000_0000, ONES];
  return [
    ...flags.map((value) => ({
      id: `flags ${hex(value)} on all`,
      entries: mapped(supported, () => ({ flags: value })),
    })),
    {
      id: 'SIGNIFCANT_INDEX toggled on all',
      entries: mapped(supported, (entry) => ({ flags: entry.flags ^ KVM_CPUID_FLAG_SIGNIFCANT_INDEX })),
    },
    {
      id: 'index + 100 on all',
      entries: mapped(supported, (entry) => ({ index: (entry.index + 100) >>> 0 })),
    },
  ];
}

function padding(supported: Entries): SetCase[] {
  return [{ id: 'padding non-zero on all', entries: mapped(supported, () => ({ padding: [1, 2, ONES] })) }];
}

function order(supported: Entries): SetCase[] {
  const byIndex = [...supported].sort((a, b) => b.index - a.index);
  return [
    { id: 'reversed', entries: supported.toReversed() },
    { id: 'highest index first', entries: byIndex },
    {
      id: `whole set twice (cut at ${KVM_MAX_CPUID_ENTRIES})`,
      entries: [...supported, ...supported].slice(0, KVM_MAX_CPUID_ENTRIES),
    },
  ];
}

/** Leaves that KVM itself looks up. */
const LOOKED_UP: readonly number[] = [0, 1, 7, 0xd, 0x4000_0000, 0x4000_0001, 0x8000_0000, 0x8000_0001, 0x8000_0008];

function removals(supported: Entries): SetCase[] {
  return supported.flatMap((entry, position) =>
    LOOKED_UP.includes(entry.function)
      ? [{ id: `without ${nameOf(entry)}`, entries: supported.toSpliced(position, 1) }]
      : [],
  );
}

function duplicates(supported: Entries): SetCase[] {
  return supported.flatMap((entry, position) => {
    if (!LOOKED_UP.includes(entry.function) || entry.index > 1) return [];
    const zero = { ...entry, ...ZERO_REGISTERS };
    const twice = (what: string, first: CpuidEntry2, second: CpuidEntry2) => ({
      id: `duplicate ${nameOf(entry)} ${what}`,
      entries: supported.toSpliced(position, 1, first, second),
    });
    return [
      twice('same', entry, entry),
      twice('zero copy behind', entry, zero),
      twice('zero copy before', zero, entry),
    ];
  });
}

const BAD_WIDTH = 52;
const byteOf = (eax: number, byte: number, value: number): number =>
  ((eax & ~(0xff << (8 * byte))) | (value << (8 * byte))) >>> 0;

/** Replaces one byte of 80000008 EAX. */
export function withSizeByte(entries: Entries, byte: number, value: number): Entries {
  return changed(entries, 0x8000_0008, 0, ({ eax }) => ({ eax: byteOf(eax, byte, value) }));
}

/** Which 80000008 entry the width check looks at, and which widths it takes. */
function widths(supported: Entries): SetCase[] {
  const position = positionOf(supported, 0x8000_0008);
  const good = supported[position];
  if (!good) return [];
  const bad = { ...good, eax: byteOf(good.eax, 1, BAD_WIDTH) };
  const significant = { index: 1, flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX };
  const instead = (what: string, ...entries: CpuidEntry2[]) => ({
    id: `80000008: ${what}`,
    entries: supported.toSpliced(position, 1, ...entries),
  });
  return [
    instead('bad width', bad),
    instead('bad behind good', good, bad),
    instead('good behind bad', bad, good),
    instead('bad, index 1, flag 0', { ...bad, index: 1 }),
    instead('bad, index 1, flag SIGNIFICANT', { ...bad, ...significant }),
    instead('bad, index 0, flag SIGNIFICANT', { ...bad, flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX }),
    instead('bad idx1 significant, good idx0 behind', { ...bad, ...significant }, good),
    instead('good idx1 significant, bad idx0 behind', { ...good, ...significant }, bad),
    instead('bad, flags 6', { ...bad, flags: 6 }),
    instead('bad, index ffffffff, flag 0', { ...bad, index: ONES }),
    instead('bad, index ffffffff, SIGNIFICANT', { ...bad, ...significant, index: ONES }),
    { id: '80000008: bad only entry', entries: [bad] },
    ...[0, 32, 47, 48, 49, 52, 57, 64].map((width) => ({
      id: `vaddr width ${width}`,
      entries: withSizeByte(supported, 1, width),
    })),
    ...[0, 31, 32, 36, 39, 40, 46, 48, 51, 52, 53, 57, 64, 255].map((width) => ({
      id: `MAXPHYADDR ${width}`,
      entries: withSizeByte(supported, 0, width),
    })),
    {
      id: 'bad width and component 18',
      entries: changed(withSizeByte(supported, 1, BAD_WIDTH), 0xd, 0, ({ eax }) => ({ eax: (eax | (1 << 18)) >>> 0 })),
    },
  ];
}

/** Bits of 1 and 7.0 that KVM derives from the vCPU's state. */
const RUNTIME_BITS: readonly (readonly [fn: number, register: 'ecx' | 'edx', mask: number])[] = [
  [0x1, 'ecx', (1 << 27) | (1 << 3)],
  [0x1, 'edx', 1 << 9],
  [0x7, 'ecx', 1 << 4],
];

/** The supported set with the runtime bits all clear or all set, and the XSAVE sizes at a value. */
export function withRuntimeBits(supported: Entries, on: boolean, size: number): Entries {
  const bits = RUNTIME_BITS.reduce(
    (entries, [fn, register, mask]) =>
      changed(entries, fn, 0, (entry) => ({
        [register]: (on ? entry[register] | mask : entry[register] & ~mask) >>> 0,
      })),
    supported,
  );
  return [0, 1].reduce((entries, index) => changed(entries, 0xd, index, () => ({ ebx: size })), bits);
}

function runtimeBits(supported: Entries): SetCase[] {
  return [
    {
      id: 'runtime bits clear (OSXSAVE MWAIT APIC OSPKE, d sizes 0)',
      entries: withRuntimeBits(supported, false, 0),
    },
    {
      id: 'runtime bits set (OSXSAVE MWAIT APIC OSPKE, d sizes ffff)',
      entries: withRuntimeBits(supported, true, 0xffff),
    },
  ];
}

const HYPERV = [
  leaf(0x4000_0000, { eax: 0x4000_0006, ebx: 0x7263_694d, ecx: 0x666f_736f, edx: 0x7648_2074 }),
  leaf(0x4000_0001, { eax: 0x3123_7648 }),
];
const XEN = [
  leaf(0x4000_0000, { eax: 0x4000_0004, ebx: 0x566e_6558, ecx: 0x6558_4d4d, edx: 0x4d4d_566e }),
  leaf(0x4000_0001, { eax: 0x4_0011 }),
];
const FOREIGN = [leaf(0x4000_0000, { eax: 0x4000_0001, ebx: 0x4141_4141, ecx: 0x4242_4242, edx: 0x4343_4343 })];

/** Other hypervisors' signatures, and KVM's at another base. */
function hypervisorLeaves(supported: Entries): SetCase[] {
  const signature = supported[positionOf(supported, 0x4000_0000)];
  if (!signature) return [];
  const features = supported[positionOf(supported, 0x4000_0001)] ?? signature;
  const others = supported.filter((entry) => entry !== signature && entry !== features);
  const kvmAt = (base: number): Entries => [
    { ...signature, function: base, eax: base + 1 },
    { ...features, function: base + 1 },
  ];
  return [
    {
      id: 'Hv#1 interface at 40000000/1, KVM at 40000100',
      entries: [...others, ...HYPERV, ...kvmAt(0x4000_0100)],
    },
    { id: 'Xen at 40000000, KVM at 40000100', entries: [...others, ...XEN, ...kvmAt(0x4000_0100)] },
    { id: 'foreign signature at 40000000', entries: [...others, ...FOREIGN] },
    { id: 'KVM at 4000ff00 only', entries: [...others, ...kvmAt(0x4000_ff00)] },
  ];
}
