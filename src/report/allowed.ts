import { REGISTERS, type Register } from '../cpuid/entry.js';
import type { AllowedTable, Resolved } from '../kvm/paranoid/allowed-table.js';
import { describeRule } from '../kvm/paranoid/findings.js';

/** The rule of one register. */
export interface AllowedRow {
  readonly function: string;
  /** `null`: the function has no sub-leaves. */
  readonly index: number | null;
  readonly register: Register;
  readonly rule: Resolved['kind'];
  readonly allowed: string;
  readonly source: string;
  readonly why: string;
}

/** The rules of a table, function by function, or of one leaf. Sub-leaves beyond the last that differs are left out. */
export function allowedRows(
  table: AllowedTable,
  leaf: { readonly function: number; readonly index: number | null } | null,
): AllowedRow[] {
  const functions = leaf ? [leaf.function] : [...table.resolver.functions].sort((a, b) => a - b);
  return functions.flatMap((fn) => {
    const indices = leaf?.index != null ? [leaf.index] : [...Array(table.resolver.lastIndex(fn) + 1).keys()];
    return indices.flatMap((index) => rowsOf(table, fn, index));
  });
}

function rowsOf(table: AllowedTable, fn: number, index: number): AllowedRow[] {
  return table.resolver.resolve(fn, index).map((rule, register) => ({
    function: fn.toString(16),
    index: table.resolver.indexed.has(fn) ? index : null,
    register: REGISTERS[register]!,
    rule: rule.kind,
    allowed: rule.kind === 'ignored' ? 'any' : describeRule(rule),
    source: rule.row?.source ?? 'P',
    why: rule.row?.why ?? 'a leaf that KVM does not know',
  }));
}
