import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, REGISTERS } from '../../cpuid/entry.js';
import { FEATURES, type Feature } from '../../cpuid/features.js';
import { kvmIndexedFunctions } from '../../cpuid/indexed.js';
import { VM_TYPES } from '../../index.js';
import type { TableLaw } from '../law.js';
import type { Place } from '../place.js';

/** With 48 bits of guest-physical address in EAX[23:16], without which there is no TD. */
const ADDRESS_SIZES = 0x8000_0008;
const GUEST_WIDTH = 48 << 16;

export const tdFeatures: TableLaw = {
  name: 'td-features',
  says: 'no TD is given a feature with which its guest changes host state, unless the TDX overlay has it',
  share: 1,
  where: ({ vmType }) => vmType === 'tdx',
  judge(place) {
    const { vmm } = place;
    const configurable = capabilitiesOf(place);
    const risky = riskyFeatures(place);
    return (at) => {
      const cpuid = configurationOf(configurable, place.entries(at));
      if (!risky.some((feature) => cpuid.some((entry) => hasFeature(entry, feature)))) return true;
      const vm = vmm.createVm(VM_TYPES.tdx);
      const { errno } = vmm.tdxInitVm(vm, { cpuid });
      place.process.close(vm);
      return errno !== 'OK';
    };
  },
};

/** What KVM_TDX_CAPABILITIES says that can be configured. */
function capabilitiesOf({ vmm, process, spec }: Place): readonly CpuidEntry2[] {
  const vm = vmm.createVm(VM_TYPES.tdx);
  const { entries } = vmm.tdxCapabilities(vm);
  process.close(vm);
  // An entry that answers more than one sub-leaf would be consumed more than once, which KVM_TDX_INIT_VM does not allow.
  const indexed = kvmIndexedFunctions(spec.host.inputs.kernel);
  const flags = (fn: number) => (indexed.has(fn) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0);
  return entries.map((entry) => ({ ...entry, flags: flags(entry.function) }));
}

/** Features that reach host state and that the rules for TDs do not allow on this host. */
function riskyFeatures({ rules }: Place): readonly Feature[] {
  return FEATURES.filter(({ word, mask, clobbers, kvm }) => {
    if (clobbers.length === 0 || word.kind === 'linux' || kvm === 'ALIASED_1_EDX') return false;
    const line = rules.lineOf(word.function | 0, word.index, true);
    return !rules.allows(line, word.registerIndex, mask);
  });
}

/** Of a table all that can be configured. */
function configurationOf(configurable: readonly CpuidEntry2[], table: readonly CpuidEntry2[]): CpuidEntry2[] {
  return configurable.flatMap((mask) => {
    const asked = table.filter((entry) => isFor(entry, mask));
    const sizes = mask.function === ADDRESS_SIZES;
    if (asked.length === 0 && !sizes) return [];
    const [eax = 0, ebx = 0, ecx = 0, edx = 0] = REGISTERS.map((register) =>
      asked.reduce((bits, entry) => bits | (entry[register] & mask[register]), 0),
    );
    const width = sizes ? GUEST_WIDTH : eax;
    return [{ ...mask, eax: width >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 }];
  });
}

const isFor = ({ function: fn, index, flags }: CpuidEntry2, mask: CpuidEntry2): boolean =>
  fn === mask.function && index === mask.index && flags === mask.flags;

const hasFeature = (entry: CpuidEntry2, { word, mask }: Feature): boolean =>
  entry.function === word.function && entry.index === word.index && (entry[word.register] & mask) !== 0;
