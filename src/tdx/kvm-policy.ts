import { REGISTERS, type Register } from '../cpuid/entry.js';
import { type Feature, featureNamed, inOverlay, kvmClass, wordAt } from '../cpuid/features.js';
import type { KernelLine } from '../cpuid/kernel-line.js';
import { EAX, ENTRY2_WORDS, FUNCTION, INDEX } from '../kvm/abi.js';
import type { KvmModule } from '../kvm/module.js';
import type { Resolved } from '../kvm/paranoid/allowed-table.js';
import type { Vm } from '../kvm/vm.js';
import type { LeafId } from './params.js';

/**
 * What KVM itself thinks of bits that the TDX module lets a VMM configure. An entry is seen as ten words of `words`, from
 * `at` on (`struct kvm_cpuid_entry2`).
 */
export interface ConfigPolicy {
  /** Takes out of an entry of KVM_TDX_CAPABILITIES what KVM does not offer (`tdx_clear_unsupported_cpuid()`). */
  clear(leaf: LeafId, words: Uint32Array, at: number): void;
  /** Bits that KVM_TDX_INIT_VM refuses in an entry that the module's leaf consumes, in EAX, EBX, ECX or EDX. */
  refused(leaf: LeafId, words: Uint32Array, at: number, register: number): number;
}

/** The policy of a kernel for one TD. */
export function configPolicy(kvm: KvmModule, vm: Vm): ConfigPolicy {
  switch (kvm.policy) {
    case 'off':
      return OFF;
    case 'denylist':
      return DENYLIST;
    case 'paranoid':
      return allowing((leaf, register) => allowedBits(rulesOf(kvm, vm, leaf)[register]!));
    case 'allowlist': {
      const { line } = kvm.caps(kvm.defaultOverlay).scope;
      return allowing((leaf, register) => directlyConfigurable(leaf, register, line));
    }
  }
}

/** No check at all. No such kernel was ever released: a counterfactual. */
const OFF: ConfigPolicy = { clear: () => undefined, refused: () => 0 };

// The deny list -------------------------------------------------------------------------------------------------------

/** What the deny list names. */
export const DENIED: readonly Feature[] = ['HLE', 'RTM', 'WAITPKG'].map(featureNamed);

/**
 * Linux 6.16 to 7.3: `has_tsx()`, `has_waitpkg()`. Three bits, open-coded. The test asks which leaf the *entry* names,
 * while the entry was found by rules under which one without KVM_CPUID_FLAG_SIGNIFCANT_INDEX answers every sub-leaf: one
 * with another index than 0 answers 7.0 and is not looked at.
 */
const DENYLIST: ConfigPolicy = {
  clear(_, words, at) {
    for (let register = 0; register < 4; register++) words[at + EAX + register]! &= ~denied(words, at, register);
  },
  refused: (_, words, at, register) => (words[at + EAX + register]! & denied(words, at, register)) >>> 0,
};

function denied(words: Uint32Array, at: number, register: number): number {
  let mask = 0;
  for (const { word, mask: bit } of DENIED) {
    if (word.function === words[at + FUNCTION] && word.index === words[at + INDEX] && word.registerIndex === register)
      mask |= bit;
  }
  return mask;
}

// Masks of what is allowed --------------------------------------------------------------------------------------------

/** Everything outside a mask is hidden and refused. The mask is that of the module's leaf, whatever the entry names. */
function allowing(allowed: (leaf: LeafId, register: number) => number): ConfigPolicy {
  return {
    clear(leaf, words, at) {
      for (let register = 0; register < 4; register++) words[at + EAX + register]! &= allowed(leaf, register);
    },
    refused: (leaf, words, at, register) => (words[at + EAX + register]! & ~allowed(leaf, register)) >>> 0,
  };
}

function rulesOf(kvm: KvmModule, vm: Vm, { leaf, subleaf }: LeafId): readonly Resolved[] {
  return kvm.allowed(vm.overlay, vm.owner).rulesFor(leaf, subleaf ?? 0, true)[0]!;
}

/** RFC v1, patches 26 and 27: the bits that a rule lets through in some value. */
function allowedBits({ kind, mask, fields, value }: Resolved): number {
  if (kind === 'ignored') return -1;
  if (kind === 'fixed') return value;
  return fields.reduce((bits, field) => bits | field.mask, mask);
}

/**
 * RFC v2: registers that will never hold feature bits are passed by a case statement. The first four rows are named in its
 * thread; the address widths are our addition, for the module takes MAXPHYADDR as configuration. `null`: every register.
 */
const NUMBERS: readonly (readonly [leaf: number, registers: readonly number[] | null])[] = [
  [0x1, [0, 1]],
  [0x4, null],
  [0x18, null],
  [0x1f, null],
  [0x8000_0008, [0]],
];

/**
 * RFC v2, `kvm_tdx_cpu_caps[]`: the bits that KVM of this line lists under whatever condition, if the TDX column of the
 * feature table has them. The host is not asked: the module ANDs its own CPUID. The RFC's own list is not at hand.
 */
function directlyConfigurable({ leaf, subleaf }: LeafId, register: number, line: KernelLine): number {
  const numbers = NUMBERS.find(([fn, registers]) => fn === leaf && (registers?.includes(register) ?? true));
  if (numbers) return -1;
  const word = wordAt(leaf, subleaf ?? 0, register);
  const listed = word?.features.filter((item) => kvmClass(item, line) !== null && inOverlay(item, 'TDX')) ?? [];
  return listed.reduce((mask, { mask: bit }) => mask | bit, 0);
}

// What to tell about it -----------------------------------------------------------------------------------------------

/** Bits of one register that KVM's policy refuses in a TD's configuration: of the module's leaf, in the VMM's entry. */
export interface RefusedConfig extends LeafId {
  /** Position in the VMM's table. */
  readonly entry: number;
  readonly register: Register;
  /** What the entry has there, and what of it is refused; u32. */
  readonly value: number;
  readonly bits: number;
}

/** Everything that a policy refuses in an entry, EAX to EDX. */
export function refusedConfig(policy: ConfigPolicy, leaf: LeafId, words: Uint32Array, at: number): RefusedConfig[] {
  return REGISTERS.flatMap((register, number) => {
    const bits = policy.refused(leaf, words, at, number);
    if (bits === 0) return [];
    const value = words[at + EAX + number]!;
    return [{ leaf: leaf.leaf, subleaf: leaf.subleaf, entry: at / ENTRY2_WORDS, register, value, bits }];
  });
}
