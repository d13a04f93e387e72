import { featureNamed } from '../cpuid/features.js';
import { EAX, EBX, ECX, EDX, ENTRY2_WORDS } from './abi.js';
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
 * @returns how many entries KVM looks at, which searches from the first on; those for a redirection are not counted
 */
export function guestCpuid(table: CpuidTable, fn: number, index: number, hideTsx: boolean, out: Uint32Array): number {
  let answered = fn;
  let at = table.find(fn, index);
  let looked = 0;
  if (at < 0) {
    looked = table.count;
    answered = redirected(table, fn);
    if (answered !== fn) at = table.find(answered, index);
  }
  if (at >= 0) {
    const { words } = table;
    out[0] = words[at + EAX]!;
    out[1] = words[at + EBX]!;
    out[2] = words[at + ECX]!;
    out[3] = words[at + EDX]!;
    if (answered === 7 && index === 0 && hideTsx) out[1]! &= ~TSX;
    return looked + at / ENTRY2_WORDS + 1;
  }
  out.fill(0);
  if (TOPOLOGY_LEAVES.includes(answered)) answerTopology(table, answered, index, out);
  return looked;
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
