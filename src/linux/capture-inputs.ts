import { type CpuidRow, hex8 } from '../cpuid/entry.js';
import { FormatError } from '../cpuid/errors.js';
import type { Value } from '../cpuid/expression.js';
import { lineOfRelease } from '../cpuid/kernel-line.js';
import type { OutOfRange } from '../emu/raw-cpuid.js';
import { BUG_ROWS, type BugName } from './boot-rows.js';
import { defaultInputs, type HostInputs } from './host-inputs.js';
import { PARAMETER_ROWS, parseParameter } from './module-parameters.js';

type Json = Readonly<Record<string, unknown>>;

/** Bits of MSR 0x48B, upper half: the secondary controls that the CPU allows (SDM vol. 3, appendix A.3.3). */
const SECONDARY_CONTROLS: readonly (readonly [fact: string, bit: number])[] = [
  ['vmx_desc_exiting', 2],
  ['vmx_rdtscp', 3],
  ['vmx_invpcid', 12],
  ['vmx_xsaves', 20],
];

/** What /proc/cpuinfo's "vmx flags" line tells. */
const VMX_FLAGS: readonly (readonly [fact: string, flag: string])[] = [
  ['vmx_virtual_nmis', 'vnmi'],
  ['vmx_ept', 'ept'],
  ['vmx_ept_5level', 'ept_5level'],
  ['vmx_unrestricted_guest', 'unrestricted_guest'],
  ['vmx_waitpkg', 'usr_wait_pause'],
  ['vmx_tsc_scaling', 'tsc_scaling'],
];

/** Module parameters that kvm-intel reports as they came out; a control that they need is then known too. */
const EFFECTIVE_PARAMETERS: readonly (readonly [fact: string, parameter: string])[] = [
  ['vmx_load_cet', 'kvm_intel.cet'],
  ['vmx_encls_exiting', 'kvm_intel.sgx'],
];

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const object = (value: unknown): Json => (typeof value === 'object' && value !== null ? (value as Json) : {});
const words = (value: unknown): Set<string> =>
  new Set(
    text(value)
      .split(/\s+/)
      .filter((word) => word !== ''),
  );

/**
 * The inputs that a capture's own description of its host gives: release, command line, flags, bugs, VMX flags,
 * microcode, module parameters and the feature MSRs 0x480, 0x48B and 0x10A. No answer section is read.
 *
 * @throws FormatError when the release is older than every modelled kernel
 */
export function inputsOfCapture(document: Json): HostInputs {
  const host = object(document.host);
  const release = text(host.release);
  const kernel = lineOfRelease(release);
  if (kernel === null) throw new FormatError(`release "${release}"`, 'host.release', 'a Linux release of 6.1 or newer');
  return {
    ...defaultInputs(kernel),
    cmdline: text(host.cmdline),
    parameters: parameters(object(host.kvm_params)),
    facts: facts(document, host),
    bugs: bugs(host),
  };
}

/** The MSRs that a capture shows, by index. */
export function msrsOfCapture(document: Json): Map<number, bigint> {
  const values = object(object(document.feature_msrs).values);
  return new Map(
    Object.entries(values).flatMap(([index, value]) =>
      typeof value === 'string' && /^[0-9a-f]{1,16}$/i.test(value) && /^[0-9a-f]{1,8}$/i.test(index)
        ? [[Number.parseInt(index, 16), BigInt(`0x${value}`)] as const]
        : [],
    ),
  );
}

/** Which rule the recorded CPU follows above its maxima; by vendor where the recording does not tell. */
export function outOfRangeOfCapture(document: Json, rows: readonly CpuidRow[]): OutOfRange | undefined {
  const probes = document.raw_out_of_range;
  if (!Array.isArray(probes)) return undefined;
  const maximum = rows.find((row) => row.function === 0)?.eax ?? 0;
  const highest = rows.find((row) => row.function === maximum && row.index === 0);
  const basic = highest ? [highest.eax, highest.ebx, highest.ecx, highest.edx].map(hex8).join(' ') : '';
  const first = probes.find((probe) => text(probe).split(' ')[1] === '00000000');
  return text(first).split(' ').slice(2).join(' ') === basic ? 'basic' : 'zero';
}

function parameters(given: Json): Map<string, number> {
  const known = new Map<string, number>();
  for (const { module, name } of PARAMETER_ROWS) {
    const value = parseParameter(text(given[`${module}.${name}`]));
    if (value !== null) known.set(`${module}.${name}`, value);
  }
  return known;
}

function facts(document: Json, host: Json): Map<string, Value> {
  const found = new Map<string, Value>();
  const flags = words(host.flags);
  if (flags.size > 0) {
    found.set('host_la57', flags.has('la57') ? 1 : 0);
    // rep_good follows IA32_MISC_ENABLE[0] on Intel; nothing else shows the MSR.
    if (text(host.vendor_id) === 'GenuineIntel') found.set('misc_enable_fast_string', flags.has('rep_good') ? 1 : 0);
  }
  if (/^0x[0-9a-f]+$/i.test(text(host.microcode))) found.set('microcode', Number(host.microcode));
  const vmxFlags = words(host.vmx_flags);
  if (vmxFlags.size > 0) for (const [fact, flag] of VMX_FLAGS) found.set(fact, vmxFlags.has(flag) ? 1 : 0);
  for (const [fact, parameter] of EFFECTIVE_PARAMETERS) {
    const value = parseParameter(text(object(host.kvm_params)[parameter]));
    if (value !== null) found.set(fact, value);
  }
  const msrs = msrsOfCapture(document);
  const secondary = msrs.get(0x48b);
  if (secondary !== undefined) {
    for (const [fact, bit] of SECONDARY_CONTROLS) found.set(fact, Number((secondary >> BigInt(32 + bit)) & 1n));
  }
  const basic = msrs.get(0x480);
  if (basic !== undefined) found.set('vmx_basic_no_hw_errcode', Number((basic >> 56n) & 1n));
  return found;
}

function bugs(host: Json): Map<BugName, boolean> {
  if (typeof host.bugs !== 'string') return new Map();
  const seen = words(host.bugs);
  return new Map(BUG_ROWS.map((row) => [row.name, seen.has(row.cpuinfo)]));
}
