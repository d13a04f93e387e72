// Turns a recording of a real host into the options of a naive host. It reads nothing that KVM answered.
import type { Value } from './expression.js';
import type { NaiveOptions } from './host.js';

export interface Capture {
  name: string;
  host: {
    release: string;
    vendor_id: string;
    flags: string;
    vmx_flags?: string;
    bugs: string;
    microcode?: string;
    cmdline?: string;
    kvm_params?: Record<string, string>;
    arch_prctl?: Record<string, string>;
  };
  raw: string[];
  raw_out_of_range: string[];
  feature_msrs?: { values?: Record<string, string> };
}

function numbers(row: string): number[] {
  return row.split(' ').map((field) => Number.parseInt(field, 16));
}

function words(list: string | undefined): string[] {
  return (list ?? '').split(/\s+/);
}

/** Y/N of the bool parameters, a number for the int ones, nothing for the rest. */
function parameterValue(text: string): number | undefined {
  if (text === 'Y') return 1;
  if (text === 'N') return 0;
  return /^\d+$/.test(text) ? Number(text) >>> 0 : undefined;
}

// Parameters that the programs name otherwise than `param_NAME`.
const PARAMETER_NAMES: Record<string, string> = {
  'kvm.enable_pmu': 'enable_pmu',
  'kvm_intel.enable_mediated_pmu': 'enable_mediated_pmu',
  'kvm_amd.enable_mediated_pmu': 'enable_mediated_pmu',
  'kvm_amd.sev': 'sev_enabled',
  'kvm_amd.sev_es': 'sev_es_enabled',
  'kvm_amd.sev_snp': 'sev_snp_enabled',
};

function parameterVars(params: Record<string, string>): Record<string, Value> {
  const vars: Record<string, Value> = {};
  for (const [name, text] of Object.entries(params)) {
    const value = parameterValue(text);
    if (value !== undefined) vars[PARAMETER_NAMES[name] ?? name.replace(/^.*\./, 'param_')] = value;
  }
  return vars;
}

function vmxVars(capture: Capture): Record<string, Value> {
  const vmxFlags = words(capture.host.vmx_flags);
  const vars: Record<string, Value> = {
    vmx_ept: vmxFlags.includes('ept') ? 1 : 0,
    vmx_unrestricted_guest: vmxFlags.includes('unrestricted_guest') ? 1 : 0,
    vmx_waitpkg: vmxFlags.includes('usr_wait_pause') ? 1 : 0,
    vmx_virtual_nmis: vmxFlags.includes('vnmi') ? 1 : 0,
  };
  const msrs = capture.feature_msrs?.values ?? {};
  // The VMX MSRs are hidden when nesting is off; the defaults of a bare dump have to do then.
  const msrBit = (msr: string, bit: number): Value => Number((BigInt(`0x${msrs[msr]}`) >> BigInt(bit)) & 1n);
  if (msrs['48b'] !== undefined) {
    // The upper half of the secondary controls: what may be set.
    vars.vmx_desc_exiting = msrBit('48b', 32 + 2);
    vars.vmx_rdtscp = msrBit('48b', 32 + 3);
    vars.vmx_invpcid = msrBit('48b', 32 + 12);
    vars.vmx_xsaves = msrBit('48b', 32 + 20);
  }
  if (msrs['480'] !== undefined) vars.vmx_basic_no_hw_errcode = msrBit('480', 56);
  return vars;
}

/** Emulators answer above the maxima with the highest basic leaf or with zeros, whatever their vendor string. */
function outOfRange(rows: string[]): Value {
  const outside = rows.map(numbers).filter(([fn = 0]) => fn >>> 28 !== 4);
  const silent = outside.every((row) => row.slice(2).every((register) => register === 0));
  return silent ? 'zero' : 'basic';
}

export function inputsFromCapture(capture: Capture): NaiveOptions {
  const { host } = capture;
  const intel = host.vendor_id === 'GenuineIntel';
  const flags = words(host.flags);
  const bugs = words(host.bugs);
  const bug = (name: string): 0 | 1 => (bugs.includes(name) ? 1 : 0);
  const vars: Record<string, Value> = {
    ...(intel ? vmxVars(capture) : {}),
    ...parameterVars(host.kvm_params ?? {}),
    host_la57: flags.includes('la57') ? 1 : 0,
    out_of_range: outOfRange(capture.raw_out_of_range),
  };
  if (intel) vars.misc_enable_fast_string = flags.includes('rep_good') ? 1 : 0;
  if (host.microcode !== undefined) vars.microcode = Number(host.microcode) >>> 0;
  const permissions = Number.parseInt(host.arch_prctl?.XCOMP_GUEST_PERM ?? '0', 16);
  return {
    rows: capture.raw.map(numbers),
    kernel: host.release.split('.').slice(0, 2).join('.'),
    cmdline: host.cmdline ?? '',
    vars,
    bugs: {
      EIBRS_PBRSB: bug('eibrs_pbrsb'),
      SPEC_STORE_BYPASS: bug('spec_store_bypass'),
      NULL_SEG: bug('null_seg'),
    },
    guestPermAmx: ((permissions >>> 18) & 1) === 1,
  };
}
