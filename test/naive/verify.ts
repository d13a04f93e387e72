// The naive verifier of src/fuzz, fed with the naive host: nothing of it comes from the code under test.
import { type BaseErrno, mainlineErrno } from '../../src/fuzz/naive/mainline.js';
import type { Overlay, RuleFacts } from '../../src/fuzz/naive/rules.js';
import {
  type CpuidEntry,
  type Finding,
  type VerifyOptions,
  naiveVerify as verify,
} from '../../src/fuzz/naive/verify.js';
import { type NaiveHost, numberOf } from './kvm.js';
import { placeOfCap } from './reference.js';
import { permittedXcr0 } from './supported.js';

export type { CpuidEntry, Finding, Overlay, VerifyOptions } from '../../src/fuzz/naive/verify.js';

const known = new WeakMap<NaiveHost, RuleFacts>();

function factsOf(host: NaiveHost): RuleFacts {
  const facts = known.get(host) ?? {
    vendor: host.vendor,
    indexedFunctions: new Set(host.parameters.indexed_functions.map(Number)),
    caps: host.caps,
    placeOfCap,
    number: (name: string) => numberOf(host, name),
    permittedXcr0: (amx: boolean) => permittedXcr0(host, amx),
    raw: host.raw,
  };
  known.set(host, facts);
  return facts;
}

export function naiveVerify(
  host: NaiveHost,
  overlay: Overlay,
  entries: readonly CpuidEntry[],
  options: VerifyOptions = {},
): Finding[] {
  return verify(factsOf(host), overlay, entries, { guestPermAmx: host.guestPermAmx, ...options });
}

/** What KVM_SET_CPUID2 answers on a vCPU that never ran, with paranoid mode off. */
export function naiveBaseErrno(
  host: NaiveHost,
  entries: readonly CpuidEntry[],
  options: { guestPermAmx?: boolean } = {},
): BaseErrno {
  const words = Uint32Array.from(
    entries.flatMap(({ function: fn, index, flags, eax, ebx, ecx, edx }) => [
      ...[fn, index, flags, eax, ebx, ecx, edx],
      ...[0, 0, 0],
    ]),
  );
  return mainlineErrno(words, 0, entries.length, options.guestPermAmx ?? host.guestPermAmx);
}
