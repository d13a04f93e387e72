import fc, { type Arbitrary } from 'fast-check';
import { buildHost } from '../../hosts/build.js';
import { HOST_MODELS } from '../../hosts/index.js';
import type { Component, HostModel, Vendor } from '../../hosts/model.js';
import { describeBuiltIn, type HostDescription } from '../../index.js';

export interface HostOptions {
  /** Default: any. */
  readonly vendor?: Vendor;
  /** Names of the built-in hosts that others are made from. Default: all. */
  readonly from?: readonly string[];
}

/** Without these no kernel boots, or there is no KVM. */
const NEEDED = new Set(
  [
    'FPU',
    'TSC',
    'MSR',
    'PAE',
    'CX8',
    'APIC',
    'PGE',
    'CMOV',
    'PAT',
    'FXSR',
    'XMM',
    'XMM2',
    'LM',
    'SYSCALL',
    'NX',
    // Without it the sizes of some TLBs do not fit their fields.
    'l2_tlb_size_x32',
  ].concat(['XSAVE', 'VMX', 'SVM', 'CPUID', 'LAHF_LM']),
);

/** XSAVE components that go with a feature: without the one there is not the other. */
const COMPONENTS: readonly (readonly [feature: string, components: readonly Component[]])[] = [
  ['AVX', ['YMM', 'OPMASK', 'ZMM_HI256', 'HI16_ZMM']],
  ['AVX512F', ['OPMASK', 'ZMM_HI256', 'HI16_ZMM']],
  ['MPX', ['BNDREGS', 'BNDCSR']],
  ['PKU', ['PKRU']],
  ['SHSTK', ['CET_U', 'CET_S']],
  ['AMX_TILE', ['XTILE_CFG', 'XTILE_DATA']],
];

/**
 * A host as nobody has built it: a real model with some features missing, and other cores. It is consistent in itself:
 * XSAVE sizes and components follow the features, the topology leaves each other. Shrinks towards a real model.
 */
export function host(options: HostOptions = {}): Arbitrary<HostDescription> {
  const { vendor, from } = options;
  const models = HOST_MODELS.filter(
    (model) => (vendor === undefined || model.vendor === vendor) && (from === undefined || from.includes(model.name)),
  );
  return fc
    .constantFrom(...models)
    .chain((model) => {
      const spare = model.features.filter((name) => !NEEDED.has(name));
      return fc.record({
        model: fc.constant(model),
        missing: fc.subarray(spare, { minLength: 0, maxLength: Math.min(spare.length, 24) }),
        topology: topologyOf(model),
      });
    })
    .map(({ model, missing, topology: cores }) => describe(model, new Set(missing), cores));
}

/** That of the model, or, where no leaf describes complexes of cores, any other. */
function topologyOf(model: HostModel): Arbitrary<HostModel['topology']> {
  const own = fc.constant(model.topology);
  return model.vendor === 'amd' ? own : fc.oneof({ withCrossShrink: true }, own, topology);
}

const topology: Arbitrary<HostModel['topology']> = fc
  // CPUID.1:EBX[23:16] has room for 128 logical CPUs, rounded up to a power of two.
  .record({ cores: fc.integer({ min: 1, max: 64 }), threadsPerCore: fc.constantFrom(1, 2) })
  .map(({ cores, threadsPerCore }) => {
    const threadBits = threadsPerCore - 1;
    return { cores, threadsPerCore, threadBits, packageBits: threadBits + Math.ceil(Math.log2(cores)) };
  });

function describe(model: HostModel, missing: ReadonlySet<string>, cores: HostModel['topology']): HostDescription {
  const gone = new Set(COMPONENTS.flatMap(([feature, components]) => (missing.has(feature) ? components : [])));
  const changed: HostModel = {
    ...model,
    features: model.features.filter((name) => !missing.has(name)),
    topology: cores,
    xsave: { ...model.xsave, components: model.xsave.components.filter((name) => !gone.has(name)) },
  };
  const description = describeBuiltIn(buildHost(changed));
  if (missing.size === 0 && cores === model.topology) return description;
  const lost = missing.size === 0 ? '' : ` without ${[...missing].join(', ')}`;
  return { ...description, name: `${model.name}${lost}, ${cores.cores} cores` };
}
