import type { Register } from '../cpuid/entry.js';

/**
 * What goes into TDH.SYS.INIT and TDH.MNG.INIT and what comes out: TD_PARAMS as far as CPUID and MSRs need it, the
 * completion status, metadata. Names are those of the TDX module's ABI; layouts in memory are not here.
 */

/** Module versions whose source is public and whose tables are here, oldest first. */
export const TDX_MODULE_VERSIONS = ['1.5.01', '1.5.28', '2.0.8'] as const;
export type TdxModuleVersion = (typeof TDX_MODULE_VERSIONS)[number];

/** Whether a version is in `[since, until]`, both inclusive. */
export function isVersionIn(version: TdxModuleVersion, since?: TdxModuleVersion, until?: TdxModuleVersion): boolean {
  const at = TDX_MODULE_VERSIONS.indexOf(version);
  return (
    (since === undefined || at >= TDX_MODULE_VERSIONS.indexOf(since)) &&
    (until === undefined || at <= TDX_MODULE_VERSIONS.indexOf(until))
  );
}

/** The four registers of one CPUID leaf, u32. */
export type CpuidValues = Readonly<Record<Register, number>>;

/** All zero: a configuration slot that the VMM leaves alone. */
export const NO_VALUES: CpuidValues = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** Which CPUID leaf; `subleaf` is `null` where ECX does not matter. */
export interface LeafId {
  readonly leaf: number;
  readonly subleaf: number | null;
}

/** One row of global metadata CPUID_CONFIG_LEAVES and CPUID_CONFIG_VALUES. */
export interface ConfigurableLeaf extends LeafId {
  /** Bits that the VMM may set freely, whatever the CPU has (`config_direct`). */
  readonly direct: CpuidValues;
  /** Bits that the VMM may set and that then follow the CPU (`allow_direct`). */
  readonly allowed: CpuidValues;
  /** What KVM reads: `direct | (allowed & native)`. */
  readonly reported: CpuidValues;
}

/** One leaf of a TD as TDH.MNG.INIT computed it: what KVM reads as TD metadata CPUID_VALUES. */
export interface StoredLeaf extends LeafId, CpuidValues {}

/** TD_PARAMS, the operand of TDH.MNG.INIT. */
export interface TdParams {
  readonly attributes: bigint;
  readonly xfam: bigint;
  /** CPUID_CONFIG by the index of `TdxModule.configurable`; what is missing is zero. */
  readonly cpuidConfig: readonly CpuidValues[];
  /** EPTP_CONTROLS: levels of the secure EPT. */
  readonly eptLevels: 4 | 5;
  /** CONFIG_FLAGS.GPAW: guest-physical addresses have 52 bits instead of 48. */
  readonly gpaw52: boolean;
  /** TSC_FREQUENCY in units of 25 MHz, 4 to 400. */
  readonly tscFrequency: number;
  /** MAX_VCPUS, at least 1; 1 when not given. */
  readonly maxVcpus?: number;
}

/** Bits of ATTRIBUTES that a module of these versions knows. */
export const ATTRIBUTE = {
  DEBUG: 0,
  PMT_PROF: 6,
  ICSSD: 16,
  LASS: 27,
  SEPT_VE_DISABLE: 28,
  MIGRATABLE: 29,
  PKS: 30,
  KL: 31,
  TPA: 62,
  PERFMON: 63,
} as const;
export type AttributeName = keyof typeof ATTRIBUTE;

/** The mask of an attribute. */
export function attributeMask(name: AttributeName): bigint {
  return 1n << BigInt(ATTRIBUTE[name]);
}

/** Upper halves of completion status codes, as in the module's `tdx_error_codes_defs.h`. */
export const TDX_STATUS = {
  TDX_SUCCESS: 0n,
  TDX_OPERAND_INVALID: 0xc000_0100_0000_0000n,
  TDX_INCORRECT_CPUID_VALUE: 0xc000_0900_0000_0000n,
  TDX_CPUID_LEAF_NOT_SUPPORTED: 0xc000_0908_0000_0000n,
  TDX_INCORRECT_MSR_VALUE: 0xc000_0921_0000_0000n,
} as const;
export type TdxStatusName = keyof typeof TDX_STATUS;

/** Lower halves: which operand is meant. */
export const OPERAND_ID = {
  ATTRIBUTES: 64,
  XFAM: 65,
  EXEC_CONTROLS: 66,
  EPTP_CONTROLS: 67,
  MAX_VCPUS: 68,
  CPUID_CONFIG: 69,
  TSC_FREQUENCY: 70,
} as const;
export type OperandName = keyof typeof OPERAND_ID;

/** The rules of TDH.SYS.INIT and TDH.MNG.INIT that can be broken. */
export const TDX_RULES = [
  'leaf-maximum',
  'verify-mask',
  'attributes-fixed',
  'attributes-combination',
  'xfam-fixed',
  'xfam-combination',
  'max-vcpus',
  'ept-levels',
  'gpaw',
  'tsc-frequency',
  'not-configurable',
  'model',
  'hle-rtm',
  'tsx-ctrl',
] as const;
export type TdxRule = (typeof TDX_RULES)[number];

/** A SEAMCALL that failed: status and, where the module tells, what was wrong with what. */
export interface TdxError {
  readonly name: TdxStatusName;
  /** RAX: the status with the operand id in its lower half. KVM hands it on as `kvm_tdx_cmd.hw_error`. */
  readonly status: bigint;
  /** RCX: leaf and sub-leaf for errors of CPUID values, else 0. */
  readonly rcx: bigint;
  /** Which rule was broken: a stable word for messages and tests. */
  readonly rule: TdxRule;
  readonly operand: OperandName | null;
  readonly leaf: LeafId | null;
  /** The offending bits, by register. What the hardware reports is only the leaf. */
  readonly bits: readonly BitsInRegister[];
  /** MSR index, for TDX_INCORRECT_MSR_VALUE. */
  readonly msr: number | null;
}

export interface BitsInRegister {
  readonly register: Register;
  /** u32 */
  readonly mask: number;
}

export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: TdxError };

/** RCX of a CPUID error: leaf in the lower, sub-leaf in the upper half; FFFFFFFFH where ECX does not matter. */
export function leafRaw({ leaf, subleaf }: LeafId): bigint {
  return (BigInt(subleaf === null ? 0xffff_ffff : subleaf >>> 0) << 32n) | BigInt(leaf >>> 0);
}

type Detail = Partial<Pick<TdxError, 'operand' | 'leaf' | 'bits' | 'msr'>>;

/** An error with the fields that apply. The lower half of its status is the operand, the MSR or the missing leaf. */
export function tdxError(name: TdxStatusName, rule: TdxRule, detail: Detail = {}): TdxError {
  const { operand = null, leaf = null, bits = [], msr = null } = detail;
  const missing = name === 'TDX_CPUID_LEAF_NOT_SUPPORTED' ? (leaf?.leaf ?? 0) : 0;
  const low = operand === null ? (msr ?? missing) : OPERAND_ID[operand];
  const status = TDX_STATUS[name] | BigInt(low >>> 0);
  const rcx = leaf === null || missing !== 0 ? 0n : leafRaw(leaf);
  return { name, status, rcx, rule, operand, leaf, bits, msr };
}

/** The error of an operand of TDH.MNG.INIT. */
export function invalidOperand(rule: TdxRule, operand: OperandName, detail: Detail = {}): TdxError {
  return tdxError('TDX_OPERAND_INVALID', rule, { ...detail, operand });
}

export function accepted<T>(value: T): Result<T> {
  return { ok: true, value };
}

export function refused(error: TdxError): { readonly ok: false; readonly error: TdxError } {
  return { ok: false, error };
}

/** MSRs of the host CPU, as far as the module samples them: RDMSR, `undefined` where it would fault. */
export type ReadMsr = (index: number) => bigint | undefined;
