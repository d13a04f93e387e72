import type { CpuidRow } from '../cpuid/entry.js';
import { waysCode } from './caches.js';
import { type FieldValues, fieldRow } from './fields.js';
import type { HostModel, PageTlb, Tlb, TlbSize } from './model.js';

/**
 * TLBs: leaf 0x18, and the older lists in 0x80000005, 0x80000006 and 0x80000019.
 * Intel SDM volume 2A, CPUID, "Input EAX = 18H"; AMD APM volume 3, appendix E, functions 8000_0005, 8000_0006 and
 * 8000_0019.
 */

const TLB_TYPE = { data: 1, instruction: 2, unified: 3, load: 4, store: 5 } as const;
const FULL_8BIT = 0xff;
const FULL_CODE = 0xf;
/** What an L2 TLB size is counted in when 0x80000021 says so. */
const L2_UNIT = 32;

function leaf18Row(tlb: Tlb, index: number, threadsPerCore: number): CpuidRow {
  const pages = Object.fromEntries(tlb.pages.map((size) => [`tlb_${size}_page`, 1]));
  return fieldRow(0x18, index, {
    ...pages,
    n_way_associative: tlb.ways,
    n_sets: tlb.sets,
    tlb_type: TLB_TYPE[tlb.type],
    tlb_cache_level: tlb.level,
    is_fully_associative: tlb.sets === 1 ? 1 : 0,
    tlb_max_addressable_ids: threadsPerCore - 1,
  });
}

/** Sub-leaf 0 says how far the list goes and describes no TLB on any of our parts. */
function leaf18({ tlbs, topology }: HostModel): readonly CpuidRow[] {
  if (tlbs.length === 0) return [];
  const rows = tlbs.map((tlb, at) => leaf18Row(tlb, at + 1, topology.threadsPerCore));
  return [fieldRow(0x18, 0, { tlb_max_subleaf: tlbs.length }), ...rows];
}

/** Entries and ways as the L1 fields of 0x80000005 have them: eight bits each. */
function wide(prefix: string, size: TlbSize | undefined): FieldValues {
  if (!size) return {};
  const [entries, ways] = size;
  return { [`${prefix}_nentries`]: entries, [`${prefix}_assoc`]: ways === 'full' ? FULL_8BIT : ways };
}

/** Entries and ways as the other leaves have them: twelve bits and a code of four. */
function coded(prefix: string, size: TlbSize | undefined, unit = 1): FieldValues {
  if (!size) return {};
  const [entries, ways] = size;
  return { [`${prefix}_nentries`]: entries / unit, [`${prefix}_assoc`]: ways === 'full' ? FULL_CODE : waysCode(ways) };
}

function l2Fields(pages: string, tlb: PageTlb, unit: number): FieldValues {
  return { ...coded(`l2_itlb_${pages}`, tlb.l2Instruction, unit), ...coded(`l2_dtlb_${pages}`, tlb.l2Data, unit) };
}

function olderLists({ pageTlbs, features, maxima }: HostModel): readonly CpuidRow[] {
  if (!pageTlbs) return [];
  const unit = features.includes('l2_tlb_size_x32') ? L2_UNIT : 1;
  const { '4k': small, '2m': large, '1g': huge } = pageTlbs;
  const rows = [
    fieldRow(0x8000_0005, 0, {
      ...wide('l1_itlb_2m_4m', large.l1Instruction),
      ...wide('l1_dtlb_2m_4m', large.l1Data),
      ...wide('l1_itlb_4k', small.l1Instruction),
      ...wide('l1_dtlb_4k', small.l1Data),
    }),
    fieldRow(0x8000_0006, 0, { ...l2Fields('2m_4m', large, unit), ...l2Fields('4k', small, unit) }),
  ];
  if (maxima.extended >= 0x8000_0019) {
    const l1 = { ...coded('l1_itlb_1g', huge.l1Instruction), ...coded('l1_dtlb_1g', huge.l1Data) };
    rows.push(fieldRow(0x8000_0019, 0, { ...l1, ...l2Fields('1g', huge, unit) }));
  }
  return rows;
}

export function tlbRows(model: HostModel): readonly CpuidRow[] {
  return [...leaf18(model), ...olderLists(model)];
}
