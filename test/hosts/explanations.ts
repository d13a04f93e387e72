import { names } from '../../src/hosts/model.js';
import type { Explanation } from './compare.js';

/** The dump of a real part that a model is held against, and where and why the two differ. */
export interface DumpedHost {
  readonly dump: string;
  readonly explanations: readonly Explanation[];
}

// Reasons that several hosts share.

/** `places`: those of 0xD.0:EBX and 0xD.1:EBX that differ. */
const linuxState = (...places: readonly string[]): Explanation => ({
  bits: names('OSPKE'),
  places,
  why: 'models show CR4, XCR0 and XSS as a running Linux leaves them; the dump shows another system, without CR4.PKE',
});

const longMode: Explanation = {
  bits: names('SYSCALL'),
  why: 'Intel reports SYSCALL to 64-bit code only (SDM, CPUID 80000001H); the dump was read by 32-bit code',
};

const listEnds = (...places: readonly string[]): Explanation => ({
  places,
  why: 'the dump ends with the last level; models have the sub-leaf behind it, which still echoes its number',
});

const dumpStopsAtSubleaf1 = (...places: readonly string[]): Explanation => ({
  places,
  why: 'the dump tool reads sub-leaves 0 and 1 of leaf 0x10 only, whatever sub-leaf 0 announces',
});

const sgxIsOn = (...bits: readonly string[]): Explanation => ({
  bits,
  places: names('12.0 12.1 12.2'),
  why: 'TDX platforms have SGX set up by their firmware; on the machine of the dump it is off',
});

const addressLimit: Explanation = {
  places: ['80000008.0 eax'],
  why: "the part has 52 bits, which a TDX set-up leaves it; the firmware of the dump's machine limits them to 46",
};

const otherXeon = (product: string): Explanation => ({
  places: [
    ...['4.3 ecx', 'b.1 ebx', '1f.1 ebx', 'f.0 ebx', 'f.1 ebx', 'f.1 ecx', '15.0 ebx', '16.0 eax', '16.0 ebx'],
    '80000003.0',
  ],
  why: `the dump is of a ${product}: other core count, L3 cache, clock and brand string`,
});

const reservedBits = (...places: readonly string[]): Explanation => ({
  places,
  why: 'set on the silicon, reserved or absent in the manuals: models say nothing without a name',
});

const zenReservedBits = ['80000007.0 ebx[4]', '8000000a.0 edx[11]'] as const;
const zen3ReservedBits = [...zenReservedBits, '80000007.0 ebx[5]'] as const;

/** What counts threads, and the APIC ID bits for them. */
const withoutSmt = (product: string, ...places: readonly string[]): Explanation => ({
  places: [
    '1.0 ebx',
    ...['b.0 eax', 'b.0 ebx', 'b.1 eax', 'b.1 ebx', '80000008.0 ecx'],
    ...['8000001d.0 eax', '8000001d.1 eax', '8000001d.2 eax', '8000001d.3 eax', '8000001e.0 ebx'],
    ...places,
  ],
  why: `the dump's ${product} runs with SMT off`,
});

const bandwidthSubleaf: Explanation = {
  places: ['80000020.1'],
  why: "the dump is older than the tool's knowledge of 0x80000020 sub-leaves; sub-leaf 0 announces this one",
};

export const DUMPED_HOSTS: Readonly<Record<string, DumpedHost>> = {
  'granite-rapids': {
    dump: 'intel-graniterapids',
    explanations: [
      linuxState('d.1 ebx'),
      longMode,
      listEnds('b.2', '1f.2'),
      dumpStopsAtSubleaf1('10.2', '10.3'),
      sgxIsOn('SGX', 'SGX_LC', 'sgx_keys'),
      otherXeon('Xeon 658X (workstation, 24 cores)'),
      reservedBits('6.0 eax[21]'),
    ],
  },
  'emerald-rapids': {
    dump: 'intel-emeraldrapids-8570',
    explanations: [
      linuxState('d.0 ebx', 'd.1 ebx'),
      longMode,
      listEnds('b.2', '1f.2'),
      dumpStopsAtSubleaf1('10.2', '10.3'),
      sgxIsOn(),
      addressLimit,
    ],
  },
  'sapphire-rapids': {
    dump: 'intel-sapphirerapids',
    explanations: [
      linuxState('d.1 ebx'),
      longMode,
      listEnds('b.2', '1f.2'),
      dumpStopsAtSubleaf1('10.2', '10.3'),
      sgxIsOn('SGX', 'SGX_LC', 'sgx_keys'),
      addressLimit,
      otherXeon('Xeon w9-3475X (workstation, 36 cores)'),
    ],
  },
  'ice-lake-sp': {
    dump: 'intel-icelake-sp',
    explanations: [linuxState('d.0 ebx', 'd.1 ebx'), longMode, listEnds('b.2'), dumpStopsAtSubleaf1('10.3')],
  },
  'cascade-lake': {
    dump: 'intel-cascadelake-sp',
    explanations: [linuxState('d.0 ebx', 'd.1 ebx'), longMode, listEnds('b.2'), dumpStopsAtSubleaf1('10.3')],
  },
  'skylake-sp': {
    dump: 'intel-skylake-sp',
    explanations: [
      linuxState('d.0 ebx', 'd.1 ebx'),
      longMode,
      listEnds('b.2'),
      dumpStopsAtSubleaf1('10.3'),
      { bits: names('turbo_boost'), why: "turbo is turned off in the firmware of the dump's machine" },
    ],
  },
  turin: {
    dump: 'amd-zen5-turin',
    explanations: [
      linuxState('d.0 ebx', 'd.1 ebx'),
      listEnds('b.2', '80000026.4'),
      withoutSmt(
        'EPYC 9655 has only 64 of its 96 cores enabled and',
        ...['80000006.0 edx', '80000026.0 eax', '80000026.0 ebx', '80000026.1 ebx', '80000026.2 ebx'],
        ...['80000026.3 eax', '80000026.3 ebx'],
      ),
      reservedBits(...zen3ReservedBits, '80000027.0 eax'),
    ],
  },
  genoa: {
    dump: 'amd-zen4-genoa',
    explanations: [
      linuxState('d.0 ebx', 'd.1 ebx'),
      listEnds('b.2', '80000026.4'),
      reservedBits(...zen3ReservedBits),
      { bits: names('SEV_SNP'), why: "SEV-SNP is turned off in the firmware of the dump's machine" },
    ],
  },
  milan: {
    dump: 'amd-zen3-milan',
    explanations: [
      linuxState('d.0 ebx', 'd.1 ebx'),
      listEnds('b.2'),
      withoutSmt('EPYC 7763'),
      bandwidthSubleaf,
      reservedBits(...zen3ReservedBits),
      { bits: names('X2APIC'), why: "the firmware of the dump's machine hides x2APIC mode" },
    ],
  },
  rome: {
    dump: 'amd-zen2-rome',
    explanations: [listEnds('b.2'), bandwidthSubleaf, reservedBits(...zenReservedBits)],
  },
  naples: {
    dump: 'amd-zen-naples',
    explanations: [
      reservedBits(...zenReservedBits),
      { bits: names('AMD_IBPB'), why: 'the dump was taken before the microcode of 2018 brought IBPB' },
    ],
  },
  'zhaoxin-kh40000': {
    dump: 'zhaoxin-kh40000',
    explanations: [
      linuxState('d.0 ebx'),
      listEnds('b.2', '1f.3'),
      {
        places: ['c0000004.0', 'c0000005.0'],
        why: 'undocumented; they look like temperature, voltage and ratio readings of that moment',
      },
    ],
  },
};
