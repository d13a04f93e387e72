// Everything about a host that its CPUID table does not say, with the default of a bare dump.
import { cmdlineWords } from './boot.js';
import type { RawCpuid } from './cpuid.js';
import type { Value } from './expression.js';
import type { Register } from './reference.js';

export type Vendor = 'intel' | 'amd' | 'hygon' | 'centaur' | 'zhaoxin' | 'unknown';

const VENDORS: Record<string, Vendor> = {
  GenuineIntel: 'intel',
  AuthenticAMD: 'amd',
  HygonGenuine: 'hygon',
  CentaurHauls: 'centaur',
  '  Shanghai  ': 'zhaoxin',
};

export function vendorOf(eax0: { ebx: number; ecx: number; edx: number }): Vendor {
  let text = '';
  for (const register of [eax0.ebx, eax0.edx, eax0.ecx]) {
    for (const shift of [0, 8, 16, 24]) text += String.fromCharCode((register >>> shift) & 0xff);
  }
  return VENDORS[text] ?? 'unknown';
}

/** Family, model and stepping by the display rules. */
export function signatureOf(eax1: number): { family: number; model: number; stepping: number } {
  const base = (eax1 >>> 8) & 0xf;
  const family = base === 0xf ? base + ((eax1 >>> 20) & 0xff) : base;
  const model = (eax1 >>> 4) & 0xf;
  return { family, model: family >= 6 ? model | (((eax1 >>> 16) & 0xf) << 4) : model, stepping: eax1 & 0xf };
}

function within(value: number, ranges: [number, number][]): boolean {
  return ranges.some(([low, high]) => value >= low && value <= high);
}

const ZEN2_MODELS: [number, number][] = [
  [0x30, 0x4f],
  [0x60, 0x7f],
  [0x90, 0x91],
  [0xa0, 0xaf],
];
const ZEN1_MODELS: [number, number][] = [
  [0x00, 0x2f],
  [0x50, 0x5f],
];
const ZEN5_MODELS: [number, number][] = [
  [0x00, 0x2f],
  [0x40, 0x4f],
  [0x60, 0x7f],
];

// Bonnell, Saltwell, Silvermont, Airmont, Yonah, Knights Landing and Knights Mill.
const INTEL_WITHOUT_SSB = [0x1c, 0x26, 0x27, 0x35, 0x36, 0x37, 0x4a, 0x4d, 0x4c, 0x0e, 0x57, 0x85];
// Goldmont Plus and the Tremont family.
const INTEL_WITHOUT_PBRSB = [0x7a, 0x86, 0x96, 0x9c];

function erratum1386Fixed(family: number, model: number, stepping: number, microcode: number): boolean {
  if (family !== 0x17) return false;
  if (model === 0x01 && stepping === 2) return microcode >= 0x0800126e;
  if (model === 0x31 && stepping === 0) return microcode >= 0x08301052;
  return false;
}

type Inputs = Record<string, Value>;

const bitOf = (value: number, bit: number): 0 | 1 => (((value >>> bit) & 1) === 1 ? 1 : 0);
const flagOf = (value: boolean): 0 | 1 => (value ? 1 : 0);

/** Inputs of the boot program. An override also feeds the defaults that are derived from it. */
export function bootInputs(raw: RawCpuid, kernel: string, cmdline: string, overrides: Inputs): Inputs {
  const inputs: Inputs = {};
  const numeric = (name: string, fallback: number): number => {
    const value = overrides[name] ?? fallback;
    inputs[name] = value;
    return Number(value);
  };
  const words = cmdlineWords(cmdline);
  const leaf7 = raw.inRange(7, 0);

  const vendor = String(overrides.vendor ?? vendorOf(raw.inRange(0, 0)));
  inputs.vendor = vendor;
  const signature = signatureOf(raw.inRange(1, 0).eax);
  const family = numeric('family', signature.family);
  const model = numeric('model', signature.model);
  const stepping = numeric('stepping', signature.stepping);

  numeric('x86_power', raw.inRange(0x80000007, 0).edx);
  numeric('host_la57', flagOf(bitOf(leaf7.ecx, 16) === 1 && !words.includes('no5lvl')));
  numeric('mitigations_off', flagOf(words.includes('mitigations=off')));

  const amdOrHygon = vendor === 'amd' || vendor === 'hygon';
  const amd17 = amdOrHygon && family === 0x17;
  const zen2 = amd17 && within(model, ZEN2_MODELS);
  numeric('zen12', flagOf(zen2 || (amd17 && within(model, ZEN1_MODELS))));
  // Lines before 7.3 do not tell Zen5 from the rest.
  numeric('zen5', flagOf(kernel === '7.3' && vendor === 'amd' && family === 0x1a && within(model, ZEN5_MODELS)));
  const microcode = numeric('microcode', 0xffffffff);
  numeric('erratum_1386_microcode', flagOf(erratum1386Fixed(family, model, stepping, microcode)));
  numeric('null_seg_clears_base_measured', flagOf(zen2));
  numeric('msr_ls_cfg_readable', 1);
  numeric('tsa_microcode', 1);
  numeric('msr_pred_cmd_sbpb', 1);
  numeric('sme_active', 0);
  numeric('sev_bios_enabled', 0);

  const archCapabilities = numeric('arch_capabilities', 0);
  numeric('arch_cap_ibrs_all', bitOf(archCapabilities, 1));
  numeric('arch_cap_ssb_no', bitOf(archCapabilities, 4));
  numeric('arch_cap_pbrsb_no', bitOf(archCapabilities, 24));
  const switchedOff = bitOf(archCapabilities, 7) === 1 && words.includes('tsx=off');
  numeric('tsx_disabled', flagOf(bitOf(leaf7.edx, 11) === 1 || switchedOff));
  const intel6 = vendor === 'intel' && family === 6;
  const oldAmd = vendor === 'amd' && family >= 0xf && family <= 0x12;
  numeric('no_ssb_model', flagOf(family <= 5 || oldAmd || (intel6 && INTEL_WITHOUT_SSB.includes(model))));
  numeric('no_pbrsb_model', flagOf(intel6 && INTEL_WITHOUT_PBRSB.includes(model)));

  numeric('misc_enable_fast_string', 1);
  numeric('misc_enable_pebs_unavail', 0);
  numeric('feat_ctl_vmx', 1);
  numeric('feat_ctl_sgx', 1);
  numeric('vmx_virtual_nmis', 1);
  for (const name of [
    'tsc_deadline_errata',
    'bad_spectre_microcode',
    'invlpg_miss_microcode',
    'old_microcode_20e',
    'rdrand_hidden_by_msr',
    'rdrand_selftest_fails',
    'zen5_rdseed_broken',
    'svm_disabled_by_bios',
    'msr_topoext_enabled',
    'gds_force_no_microcode',
    'smt_impossible',
    'bug_srso',
  ]) {
    numeric(name, 0);
  }
  return inputs;
}

/** `(1 << bits) - 1` without the wrap-around of 32-bit shifts. */
export function lowBits(bits: number): number {
  return bits >= 32 ? 0xffffffff : ((1 << bits) - 1) >>> 0;
}

/** What perf would tell KVM about the counters of this host. */
function pmuInputs(raw: RawCpuid, vendor: string, has: (flag: string) => boolean): Record<string, number> {
  const none = { version: 0, gp: 0, gp_width: 0, fixed: 0, fixed_width: 0, mask_len: 0, events_mask: 0 };
  if (vendor === 'intel') {
    const { eax, ebx, edx } = raw.inRange(0xa, 0);
    const maskLength = eax >>> 24;
    return {
      version: Math.min(eax & 0xff, 2),
      gp: Math.min((eax >>> 8) & 0xff, 8),
      gp_width: (eax >>> 16) & 0xff,
      fixed: Math.min(edx & 0x1f, 3),
      fixed_width: (edx >>> 5) & 0xff,
      mask_len: maskLength,
      events_mask: (ebx & lowBits(maskLength)) >>> 0,
    };
  }
  if (vendor === 'amd' || vendor === 'hygon') {
    const leaf22 = raw.inRange(0x80000022, 0);
    if (bitOf(leaf22.eax, 0)) return { ...none, version: 2, gp: Math.min(leaf22.ebx & 0xf, 6) };
    return { ...none, version: 1, gp: has('PERFCTR_CORE') ? 6 : 4 };
  }
  return none;
}

/** Inputs of the KVM programs, on top of those of the boot program. */
export function kvmInputs(
  raw: RawCpuid,
  boot: Inputs,
  xstate: { xcr0: number; xss: number },
  has: (flag: string) => boolean,
): Inputs {
  const rawBit = (fn: number, index: number, register: Register, bit: number): 0 | 1 =>
    bitOf(raw.inRange(fn, index)[register], bit);
  const la57 = rawBit(7, 0, 'ecx', 16);
  const cet = flagOf(rawBit(7, 0, 'ecx', 7) === 1 || rawBit(7, 0, 'edx', 20) === 1);
  const hybrid = boot.vendor === 'intel' && rawBit(7, 0, 'edx', 15) === 1;

  const inputs: Inputs = {
    host_xcr0: xstate.xcr0,
    host_xss: xstate.xss,
    msr_tsc_aux_writable: 1,
    sched_info: 1,
    enable_mediated_pmu: 0,
    enable_pmu: hybrid ? 0 : 1,
    pmu_pebs_ept: 0,
    vmx_ept: 1,
    vmx_ept_5level: la57,
    vmx_unrestricted_guest: 1,
    // No CPUID bit belongs to this control, and UMIP is emulated only where the CPU itself lacks it.
    vmx_desc_exiting: 1,
    vmx_rdtscp: rawBit(0x80000001, 0, 'edx', 27),
    vmx_invpcid: rawBit(7, 0, 'ebx', 10),
    vmx_xsaves: rawBit(0xd, 1, 'eax', 3),
    vmx_waitpkg: rawBit(7, 0, 'ecx', 5),
    vmx_encls_exiting: rawBit(7, 0, 'ebx', 2),
    vmx_mpx: rawBit(7, 0, 'ebx', 14),
    vmx_intel_pt: rawBit(7, 0, 'ebx', 25),
    vmx_load_cet: cet,
    vmx_basic_no_hw_errcode: cet,
    param_pt_mode: 0,
    param_allow_smaller_maxphyaddr: 0,
    sev_enabled: 0,
    sev_es_enabled: 0,
    sev_snp_enabled: 0,
    x86_phys_bits: physicalBits(raw, boot),
  };
  for (const name of ['ept', 'nested', 'unrestricted_guest', 'sgx', 'cet']) inputs[`param_${name}`] = 1;
  for (const name of ['npt', 'nrips', 'vls', 'vgif', 'lbrv', 'tsc_scaling', 'vnmi', 'gmet'])
    inputs[`param_${name}`] = 1;
  for (const [name, value] of Object.entries(pmuInputs(raw, String(boot.vendor), has))) inputs[`pmu_${name}`] = value;
  return inputs;
}

function physicalBits(raw: RawCpuid, boot: Inputs): number {
  const leaf8 = raw.inRange(0x80000008, 0).eax;
  const bits = raw.inRange(0x80000000, 0).eax >= 0x80000008 ? leaf8 & 0xff : 36;
  const encryption = raw.inRange(0x8000001f, 0);
  // Memory encryption takes address bits as soon as SYSCFG turns it on.
  const active = (encryption.eax & 3) !== 0 && (boot.sme_active !== 0 || boot.sev_bios_enabled !== 0);
  return active ? bits - ((encryption.ebx >>> 6) & 0x3f) : bits;
}
