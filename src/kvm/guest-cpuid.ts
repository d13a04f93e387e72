import { featureNamed } from '../cpuid/features.js';
import { EAX, ECX, EDX } from './abi.js';
import { ANY_INDEX, type CpuidTable } from './cpuid-table.js';
import { isAmdCompatible } from './guest-caps.js';

const TSX = featureNamed('HLE').mask | featureNamed('RTM').mask;

/** Leaves that describe topology: sub-leaves without an entry still answer with the id. */
const TOPOLOGY_LEAVES: readonly number[] = [0xb, 0x1f];

/**
 * The CPUID instruction of a guest (`kvm_cpuid()`): the entry for (`fn`, `index`), or what stands in for it.
 *
 * @param table the vCPU's table, up to date with its state
 * @param hideTsx IA32_TSX_CTRL hides HLE and RTM
 * @param out takes EAX…EDX
 */
export function guestCpuid(table: CpuidTable, fn: number, index: number, hideTsx: boolean, out: Uint32Array): void {
  let answered = fn;
  let at = table.find(fn, index);
  if (at < 0) {
    answered = redirected(table, fn);
    if (answered !== fn) at = table.find(answered, index);
  }
  if (at >= 0) {
    out.set(table.words.subarray(at + EAX, at + EDX + 1));
    if (answered === 7 && index === 0 && hideTsx) out[1]! &= ~TSX;
    return;
  }
  out.fill(0);
  if (TOPOLOGY_LEAVES.includes(answered)) answerTopology(table, answered, index, out);
}

/**
 * `get_out_of_range_cpuid_entry()`: a function above the maximum of its class reads as the highest basic leaf, at the
 * index asked for. Not for AMD and its relatives, nor within the class, nor without leaf 0.
 *
 * @returns the function that answers; `fn` itself when there is no redirection
 */
function redirected(table: CpuidTable, fn: number): number {
  const basic = table.find(0, ANY_INDEX);
  if (basic < 0 || isAmdCompatible(table)) return fn;
  const ofClass = table.find(classOf(fn), ANY_INDEX);
  if (ofClass >= 0 && fn <= table.words[ofClass + EAX]!) return fn;
  return table.words[basic + EAX]!;
}

/** The function whose EAX is the maximum of the class: hypervisor leaves in steps of 256, Centaur, extended, basic. */
function classOf(fn: number): number {
  if (fn >= 0x4000_0000 && fn <= 0x4fff_ffff) return (fn & 0xffff_ff00) >>> 0;
  return fn >= 0xc000_0000 ? 0xc000_0000 : (fn & 0x8000_0000) >>> 0;
}

/** A level that does not exist: ECX echoes the index, EDX is the x2APIC id as level 1 has it. */
function answerTopology(table: CpuidTable, fn: number, index: number, out: Uint32Array): void {
  const level1 = table.find(fn, 1);
  if (level1 < 0) return;
  out[ECX - EAX] = index & 0xff;
  out[EDX - EAX] = table.words[level1 + EDX]!;
}
