// What is verified: a built-in host, its rules, and tables that they allow.
import { bootKvm, builtInHost, describeBuiltIn, Vmm } from '../../dist/index.js';
import { putEntry } from '../../dist/kvm/cpuid-table.js';
import { random } from './random.mjs';

/** Words of an entry. */
export const STRIDE = 10;
const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'];
const HYPER_V = [
  { function: 0x40000000, index: 0, flags: 0, eax: 0x40000006, ebx: 0x7263694d, ecx: 0x666f736f, edx: 0x76482074 },
  { function: 0x40000001, index: 0, flags: 0, eax: 0x31237648, ebx: 0, ecx: 0, edx: 0 },
];

/** The rules of one overlay of a built-in host, and what KVM reports there. */
export function rulesOf(name, overlay, options = {}) {
  const module = bootKvm(describeBuiltIn(builtInHost(name)), { policy: 'paranoid', ...options });
  const vmm = new Vmm(module, { guestPermissions: [18] });
  const chosen = overlay ?? module.defaultOverlay;
  const allowed = module.allowed(chosen, vmm.process);
  return { name: `${name}, ${chosen}`, module, vmm, allowed, reported: module.supported(chosen, vmm.process) };
}

const accepts = (rule, value) => {
  if (rule.kind === 'ignored') return true;
  if (rule.kind === 'fixed') return value === rule.value || (rule.orZero && value === 0);
  let rest = value & ~rule.mask;
  for (const { mask, low, limit, values } of rule.fields) {
    const part = (value & mask) >>> low;
    if (values ? !values.includes(part) : part > limit) return false;
    rest &= ~mask;
  }
  return rest === 0;
};

/** Any value that all of the rules allow. */
function anyAllowed(rules, reported, below) {
  const [rule] = rules;
  const word = () => below(2 ** 32);
  for (let attempt = 0; attempt < 8; attempt++) {
    let value = rule.kind === 'ignored' ? word() : rule.kind === 'fixed' ? rule.value : word() & rule.mask;
    for (const { mask, low, limit, values } of rule.fields) {
      const kept = (reported & mask) >>> low;
      const other = values ? values[below(values.length)] : below(limit + 1);
      value |= ((below(2) === 0 ? kept : other) << low) & mask;
    }
    if (rules.every((candidate) => accepts(candidate, value >>> 0))) return value >>> 0;
  }
  return rules.every((candidate) => accepts(candidate, reported)) ? reported : 0;
}

/** What KVM reports, over and over, until there are `nent` entries. */
const repeated = (reported, nent) => Array.from({ length: nent }, (_, i) => ({ ...reported[i % reported.length] }));

const toWords = (entries) => {
  const words = new Uint32Array(entries.length * STRIDE);
  for (const [position, entry] of entries.entries()) putEntry(words, position, entry);
  return words;
};

/** Tables as KVM reports them, unchanged. */
export function reportedTables({ reported }, nent, count) {
  return Array.from({ length: count }, () => toWords(repeated(reported, nent)));
}

/**
 * Accepted tables with every kind of rule in them: bits and ignored registers by chance, half of the limited fields with
 * another value than KVM's, bits that follow the vCPU's state, an entry whose index does not count, and in every fourth
 * table KVM's leaves moved away by Hyper-V's. In KVM's order, or shuffled.
 */
export function mixedTables({ allowed, reported }, nent, count, shuffled = false) {
  const below = random(nent + (shuffled ? 1 : 0));
  return Array.from({ length: count }, (_, n) => {
    const entries = repeated(reported, nent);
    const moved = n % 4 === 3 && nent >= HYPER_V.length + 1;
    for (const entry of entries) {
      if (moved && entry.function >>> 8 === 0x400000) entry.function += 0x100;
      const sets = allowed.rulesFor(entry.function, entry.index, (entry.flags & 1) !== 0);
      for (const [number, register] of REGISTERS.entries()) {
        const rules = sets.map((set) => set[number]);
        entry[register] = anyAllowed(rules, entry[register], below);
      }
    }
    const flagless = { function: [0xd, 7, 0x14][below(3)], index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    entries[below(nent)] = flagless;
    if (moved) entries.splice(-HYPER_V.length, HYPER_V.length, ...HYPER_V);
    if (shuffled) {
      for (let i = nent - 1; i > 0; i--) {
        const other = below(i + 1);
        [entries[i], entries[other]] = [entries[other], entries[i]];
      }
    }
    return toWords(entries);
  });
}

/** The same tables with one entry in each that no rule allows, at random or at a given position. */
export function refusedTables(tables, position = null) {
  const below = random(99);
  return tables.map((words) => {
    const copy = words.slice();
    const at = (position ?? below(words.length / STRIDE)) * STRIDE;
    copy.set([0x19, 0, 0, 1, 0, 0, 0], at);
    return copy;
  });
}

/** Puts tables, each with its header, one behind another into an arena; returns where. */
export function layOut(arena, tables, count = tables.length) {
  const words = new Uint32Array(arena.buffer, arena.byteOffset, arena.length >>> 2);
  let at = 0;
  return Uint32Array.from({ length: count }, (_, n) => {
    const table = tables[n % tables.length];
    const offset = at * 4;
    words[at] = table.length / STRIDE;
    words.set(table, at + 2);
    at += 2 + table.length;
    return offset;
  });
}
