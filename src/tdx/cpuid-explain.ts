import { REGISTERS, type Register } from '../cpuid/entry.js';
import type { Gate, LeafRule } from './cpuid-rules.js';
import { ATTRIBUTE } from './params.js';

/**
 * How one bit of a leaf is virtualised, in the words of Intel's CPUID virtualisation table: `fixed0`, `fixed1`,
 * `configured`, `native`, and conjunctions such as `XFAM[5,6,7] & configured & native`; `native, init requires 1`,
 * `dynamic`, `#VE`. A leaf without a rule raises #VE too.
 */
export function explainBit(rule: LeafRule | undefined, register: Register, bit: number): string {
  if (!rule || rule.faults) return '#VE';
  const at = REGISTERS.indexOf(register);
  const has = (masks: Uint32Array) => ((masks[at]! >>> bit) & 1) === 1;
  if (has(rule.live)) return 'dynamic';
  if (has(rule.config)) return 'configured';
  if (has(rule.zero)) return 'fixed0';
  if (has(rule.one)) return 'fixed1';
  const terms = rule.gates.filter(({ masks }) => has(masks)).map(nameOfGate);
  if (rule.onlyWith !== null) terms.push('CPUID(1).ECX.MONITOR');
  if (has(rule.allow)) terms.push('configured');
  if (terms.length > 0) return [...terms, 'native'].join(' & ');
  if (has(rule.need)) return 'native, init requires 1';
  return has(rule.lack) ? 'native, init requires 0' : 'native';
}

function nameOfGate({ of, bits }: Gate): string {
  const numbers = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => ((bits >> BigInt(bit)) & 1n) === 1n);
  if (of === 'xfam') return `XFAM[${numbers.join(',')}]`;
  const names = numbers.map((number) => Object.entries(ATTRIBUTE).find(([, bit]) => bit === number)?.[0] ?? number);
  return `ATTRIBUTES.${names.join(',')}`;
}
