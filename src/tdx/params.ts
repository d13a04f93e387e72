import type { Register } from '../cpuid/entry.js';

/**
 * What goes into TDH.MNG.INIT and what comes out of a SEAMCALL: TD_PARAMS, as far as CPUID and MSRs need it, and the
 * completion status. Names are those of the TDX module's ABI; layouts in memory are not here.
 */

/** The four registers of one CPUID leaf, u32. */
export type CpuidValues = Readonly<Record<Register, number>>;

/** All zero: a configuration slot that the VMM leaves alone. */
export const NO_VALUES: CpuidValues = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** Which CPUID leaf; `subleaf` is `null` where ECX does not matter. */
export interface LeafId {
  readonly leaf: number;
  readonly subleaf: number | null;
}

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

/** Upper halves of completion status codes, as in the module's `tdx_api_defs.h`. */
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

/** A SEAMCALL that failed: status and, where the module tells, what was wrong with what. */
export interface TdxError {
  readonly name: TdxStatusName;
  /** RAX: the status with the operand id in its lower half. KVM hands it on as `kvm_tdx_cmd.hw_error`. */
  readonly status: bigint;
  readonly operand: OperandName | null;
  /** The leaf that RCX names, for errors of CPUID. */
  readonly leaf: LeafId | null;
  /** The offending bits, by register. What the hardware reports is only the leaf. */
  readonly bits: readonly BitsInRegister[];
  /** MSR index, for TDX_INCORRECT_MSR_VALUE. */
  readonly msr: number | null;
  /** Which rule was broken: a stable word for messages and tests. */
  readonly rule: TdxRule;
}

export interface BitsInRegister {
  readonly register: Register;
  /** u32 */
  readonly mask: number;
}

/** The rules of TDH.SYS.INIT and TDH.MNG.INIT that can be broken. */
export const TDX_RULES = [
  'verify-mask',
  'leaf-maximum',
  'attributes-fixed',
  'xfam-fixed',
  'xfam-combination',
  'ept-levels',
  'gpaw',
  'max-vcpus',
  'tsc-frequency',
  'not-configurable',
  'model',
  'hle-rtm',
  'tsx-ctrl',
] as const;
export type TdxRule = (typeof TDX_RULES)[number];

/** RCX of a CPUID error: leaf in the lower, sub-leaf in the upper half; FFFFFFFFH where ECX does not matter. */
export function leafRaw({ leaf, subleaf }: LeafId): bigint {
  return (BigInt(subleaf === null ? 0xffff_ffff : subleaf >>> 0) << 32n) | BigInt(leaf >>> 0);
}

/** An error with the fields that apply; `status` is composed of the name and the operand. */
export function tdxError(
  name: TdxStatusName,
  rule: TdxRule,
  detail: Partial<Pick<TdxError, 'operand' | 'leaf' | 'bits' | 'msr'>> = {},
): TdxError {
  const { operand = null, leaf = null, bits = [], msr = null } = detail;
  const status = TDX_STATUS[name] | BigInt(operand === null ? 0 : OPERAND_ID[operand]);
  return { name, rule, status, operand, leaf, bits, msr };
}
