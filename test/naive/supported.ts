// KVM_GET_SUPPORTED_CPUID and KVM_GET_EMULATED_CPUID of a naive host.
import { evaluateNumber, evaluateTruth } from './expression.js';
import { hasCap, kvmScope, type NaiveHost, numberOf } from './kvm.js';
import {
  byKernel,
  exists,
  type LeafRegisters,
  type LeafRule,
  profiles,
  REGISTERS,
  type Registers,
} from './reference.js';

interface Entry extends Registers {
  function: number;
  index: number;
  flags: number;
}

const MAX_ENTRIES = 256;
const XTILE_CFG = 1 << 17;
const XTILE_DATA = 1 << 18;

export function hex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0');
}

function text(entry: Entry): string {
  const registers = REGISTERS.map((register) => hex(entry[register]));
  return [hex(entry.function), hex(entry.index), entry.flags.toString(16), ...registers].join(' ');
}

/** The XCR0 bits this process may hand to a guest. */
export function permittedXcr0(host: NaiveHost, guestPermAmx: boolean): number {
  const supported = numberOf(host, 'supported_xcr0');
  if ((supported & XTILE_DATA) === 0 || guestPermAmx) return supported;
  const dropped = host.parameters.xtile_cfg_follows_xtile_data ? XTILE_DATA | XTILE_CFG : XTILE_DATA;
  return (supported & ~dropped) >>> 0;
}

/** Size of an XSAVE area that holds the components of `bv`. */
function xsaveSize(host: NaiveHost, bv: number, compacted: boolean): number {
  let size = 576;
  for (let component = 2; component < 20; component++) {
    if (((bv >>> component) & 1) === 0) continue;
    const { eax, ebx, ecx } = host.raw.inRange(0xd, component);
    const aligned = (ecx & 2) !== 0 ? Math.ceil(size / 64) * 64 : size;
    size = Math.max(size, (compacted ? aligned : ebx) + eax);
  }
  return size >>> 0;
}

function fetch(host: NaiveHost, fn: number, index: number): Entry {
  const zeros: Entry = { function: fn, index, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const range = fn >>> 30;
  if (range === 1) return zeros;
  if (range === 2 && fn > host.raw.inRange(0x80000000, 0).eax) return zeros;
  const indexed = host.parameters.indexed_functions.some((listed) => Number(listed) === fn);
  return { ...zeros, flags: indexed ? 1 : 0, ...host.raw.inRange(fn, index) };
}

/** `raw` with every register the rule names replaced by its expression. */
function applyRegisters(host: NaiveHost, rule: LeafRegisters, raw: Entry): Entry {
  const result = { ...raw };
  for (const register of REGISTERS) {
    const expression = rule[register];
    if (expression === undefined) continue;
    result[register] = evaluateNumber(byKernel(expression, host.kernel), kvmScope(host, { raw: raw[register] }));
  }
  return result;
}

function cacheLoop(host: NaiveHost, fn: number): Entry[] {
  const entries = [fetch(host, fn, 0)];
  while (((entries.at(-1)?.eax ?? 0) & 0x1f) !== 0 && entries.length <= MAX_ENTRIES) {
    entries.push(fetch(host, fn, entries.length));
  }
  return entries;
}

function rawIndexRange(host: NaiveHost, fn: number): Entry[] {
  const first = fetch(host, fn, 0);
  const entries = [first];
  while (entries.length <= first.eax && entries.length <= MAX_ENTRIES) entries.push(fetch(host, fn, entries.length));
  return entries;
}

function pmu(host: NaiveHost): Entry {
  const entry = { ...fetch(host, 0xa, 0), eax: 0, ebx: 0, ecx: 0, edx: 0 };
  if (numberOf(host, 'enable_pmu') === 0 || !host.boot.has('ARCH_PERFMON')) return entry;
  const of = (name: string): number => numberOf(host, `pmu_${name}`);
  entry.eax = (of('version') | (of('gp') << 8) | (of('gp_width') << 16) | (of('mask_len') << 24)) >>> 0;
  entry.ebx = of('events_mask');
  entry.edx = (of('fixed') | (of('fixed_width') << 5) | (of('version') !== 0 ? 1 << 15 : 0)) >>> 0;
  return entry;
}

function xsave(host: NaiveHost, guestPermAmx: boolean): Entry[] {
  const xcr0 = permittedXcr0(host, guestPermAmx);
  const xss = numberOf(host, 'supported_xss');
  const first = fetch(host, 0xd, 0);
  const size = xsaveSize(host, xcr0, false);
  const entries: Entry[] = [{ ...first, eax: (first.eax & xcr0) >>> 0, ebx: size, ecx: size, edx: 0 }];
  if (xcr0 === 0) return entries;

  const second = fetch(host, 0xd, 1);
  const features = host.caps.CPUID_D_1_EAX ?? 0;
  // Bits 1 and 3: XSAVEC and XSAVES, the instructions that write the compacted format.
  const compactedSize = (features & 0xa) !== 0 ? xsaveSize(host, (xcr0 | xss) >>> 0, true) : 0;
  entries.push({ ...second, eax: features, ebx: compactedSize, ecx: (second.ecx & xss) >>> 0, edx: 0 });

  for (let component = 2; component < 32; component++) {
    const inXcr0 = ((xcr0 >>> component) & 1) === 1;
    const inXss = ((xss >>> component) & 1) === 1;
    if (!inXcr0 && !inXss) continue;
    const entry = fetch(host, 0xd, component);
    // KVM warns about and drops a component that the CPU describes otherwise than KVM expects.
    if (entry.eax === 0 || (entry.ecx & 1) !== (inXss ? 1 : 0)) continue;
    const ecx = hasCap(host.caps, 'XFD') ? entry.ecx : (entry.ecx & ~4) >>> 0;
    entries.push({ ...entry, ecx, edx: 0 });
  }
  return entries;
}

function extendedMaximum(host: NaiveHost, raw: number): number {
  const maximum = Math.min(raw, numberOf(host, 'max_extended_leaf'));
  if (maximum < 0x8000001d) return maximum;
  const raised = host.boot.has('LFENCE_RDTSC') || host.bugs.NULL_SEG === 0;
  return raised ? Math.max(maximum, 0x80000021) : maximum;
}

function addressSizes(host: NaiveHost, rule: LeafRule, raw: number): number {
  const tdp = numberOf(host, 'tdp_enabled') !== 0;
  const physical = tdp ? raw & 0xff : numberOf(host, 'x86_phys_bits') & 0xff;
  const virtual = Math.max((raw >>> 8) & 0xff, 48);
  let guest = tdp ? physical : 0;
  if (numberOf(host, 'max_tdp_level') < 5) guest = Math.min(guest, 48);
  if (!exists({ since: rule.guest_phys_addr_size_since as string }, host.kernel)) guest = 0;
  return (physical | (virtual << 8) | (guest << 16)) >>> 0;
}

const ALL_ZERO: LeafRegisters = { eax: '0', ebx: '0', ecx: '0', edx: '0' };

function withSubLeaves(host: NaiveHost, rule: LeafRule, fn: number): Entry[] {
  const first = applyRegisters(host, rule, fetch(host, fn, 0));
  const entries = [first];
  for (const sub of rule.sub ?? []) {
    if (!exists(sub, host.kernel) || first.eax < (sub.if_parent_eax_at_least ?? 0)) continue;
    entries.push(applyRegisters(host, sub, fetch(host, fn, sub.index)));
  }
  return entries;
}

function entriesOf(host: NaiveHost, fn: number, guestPermAmx: boolean): Entry[] {
  const rule = profiles.leaf_rules.find((candidate) => Number(candidate.function) === fn);
  const fetched = fetch(host, fn, 0);
  if (rule === undefined || !exists(rule, host.kernel)) return [applyRegisters(host, ALL_ZERO, fetched)];
  if (rule.gate !== undefined && !evaluateTruth(rule.gate, kvmScope(host))) {
    return [applyRegisters(host, ALL_ZERO, fetched)];
  }
  switch (rule.rule) {
    case undefined:
      return withSubLeaves(host, rule, fn);
    case 'cache_loop':
      return cacheLoop(host, fn);
    case 'raw_index_range':
      return rawIndexRange(host, fn);
    case 'pmu':
      return [pmu(host)];
    case 'xsave':
      return xsave(host, guestPermAmx);
    case 'ext_max':
      return [{ ...applyRegisters(host, rule, fetched), eax: extendedMaximum(host, fetched.eax) }];
    case 'address_sizes':
      return [{ ...applyRegisters(host, rule, fetched), eax: addressSizes(host, rule, fetched.eax) }];
    default:
      throw new Error(`unknown leaf rule '${rule.rule}'`);
  }
}

/** The entries in the order of the ioctl. */
export function naiveSupported(host: NaiveHost, guestPermAmx: boolean = host.guestPermAmx): string[] {
  if (host.vendorModule === null) throw new Error('no KVM vendor module loads on this host');
  const bases = [0, 0x80000000, 0xc0000000, 0x40000000].filter(
    (base) => base !== 0xc0000000 || host.parameters.centaur_range_vendors.includes(host.vendor),
  );
  const entries: Entry[] = [];
  const emit = (fn: number): void => {
    entries.push(...entriesOf(host, fn, guestPermAmx));
    if (entries.length > MAX_ENTRIES) throw new Error('E2BIG');
  };
  for (const base of bases) {
    emit(base);
    const limit = entries.at(-1)?.eax ?? 0;
    for (let fn = base + 1; fn <= limit; fn++) emit(fn);
  }
  return entries.map(text);
}

export function naiveEmulated(host: NaiveHost): string[] {
  return profiles.emulated.entries.map((row) => {
    const bare: Entry = { function: Number(row.function), index: row.index ?? 0, flags: row.flags ?? 0, ...ZEROS };
    return text(applyRegisters(host, row, bare));
  });
}

const ZEROS: Registers = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
