import type { RawCpuid } from '../emu/raw-cpuid.js';
import type { ExitRow } from './exit.js';
import type { CpuidValues, LeafId, TdParams, TdxError } from './params.js';

export type { ExitKind, ExitRow } from './exit.js';
export * from './params.js';

/** Module versions whose source is public and whose tables are here, oldest first. */
export const TDX_MODULE_VERSIONS = ['1.5.01', '1.5.28', '2.0.8'] as const;
export type TdxModuleVersion = (typeof TDX_MODULE_VERSIONS)[number];

/** One row of global metadata CPUID_CONFIG_LEAVES and CPUID_CONFIG_VALUES. */
export interface ConfigurableLeaf extends LeafId {
  /** Bits that the VMM may set freely, whatever the CPU has (`config_direct`). */
  readonly direct: CpuidValues;
  /** Bits that the VMM may set and that then follow the CPU (`allow_direct`). */
  readonly allowed: CpuidValues;
  /** What KVM reads: `direct | (allowed & native)`. */
  readonly reported: CpuidValues;
}

/** CPUID as TDH.MNG.INIT stored it: what KVM reads as TD metadata CPUID_VALUES. */
export interface StoredLeaf extends LeafId, CpuidValues {}

/** What the module latched at TDH.MNG.INIT; MSR bitmaps, CR4 and exit policy follow these, not the guest. */
export interface TdFlags {
  readonly tsx: boolean;
  readonly waitpkg: boolean;
  readonly tme: boolean;
  readonly mktme: boolean;
  readonly la57: boolean;
  readonly perfmon: boolean;
  readonly pks: boolean;
  readonly lass: boolean;
  readonly xfd: boolean;
  /** Names of the future module's features that this TD has. */
  readonly future: ReadonlySet<string>;
}

/** What a CPUID executed in the TD depends on beside the TD. */
export interface GuestCpuidState {
  readonly vcpuIndex: number;
  readonly cr4: { readonly osxsave: boolean; readonly pke: boolean };
  /** TSX_CTRL.CPUID_CLEAR as the guest set it. */
  readonly tsxCpuidClear: boolean;
  readonly xcr0: bigint;
  readonly xss: bigint;
  readonly longMode: boolean;
}

/** The four registers, or the exception that the guest gets instead. */
export type TdCpuidResult = CpuidValues | '#VE';

/** What happens when the guest touches an MSR. */
export type MsrAccess = 'native' | '#GP' | '#VE';

export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: TdxError };

/** MSRs of the host CPU, as far as the module samples them: RDMSR, `undefined` where it would fault. */
export type ReadMsr = (index: number) => bigint | undefined;

/** A TDX module that has gone through TDH.SYS.INIT on a CPU. */
export declare class TdxModule {
  readonly version: TdxModuleVersion;
  /** The version, or the patch's own name. */
  readonly name: string;
  /** In the order of the configuration index. */
  readonly configurable: readonly ConfigurableLeaf[];
  /** Bits of ATTRIBUTES that may be 1 (fixed0 mask) and that must be 1 (fixed1). */
  readonly attributesFixed0: bigint;
  readonly attributesFixed1: bigint;
  /** The same of XFAM. */
  readonly xfamFixed0: bigint;
  readonly xfamFixed1: bigint;

  /** TDH.SYS.INIT. Fails with TDX_INCORRECT_CPUID_VALUE: which leaf, which bits. */
  static init(cpuid: RawCpuid, readMsr: ReadMsr, model: TdxModuleVersion | FutureModule): Result<TdxModule>;

  /** TDH.MNG.INIT. */
  createTd(params: TdParams): Result<Td>;
}

/** A TD that TDH.MNG.INIT accepted. */
export declare class Td {
  readonly module: TdxModule;
  readonly params: TdParams;
  readonly flags: TdFlags;
  /** CPUID_VALUES, in the order of the module's table; leaves that raise #VE are absent. */
  readonly cpuidValues: readonly StoredLeaf[];
  /** CR4 bits that the guest may set. */
  readonly cr4Allowed: bigint;

  /** One of `cpuidValues`: TDH.MNG.RD of CPUID_VALUES; `undefined` when the module has no such field. */
  stored(leaf: number, subleaf: number | null): StoredLeaf | undefined;
  /** CPUID executed in the TD. */
  cpuid(leaf: number, subleaf: number, guest: GuestCpuidState): TdCpuidResult;
  /** RDMSR or WRMSR in the TD. */
  msrAccess(index: number, write: boolean): MsrAccess;
  /** What TD entry and exit do to the host's state. */
  exitRows(): readonly ExitRow[];
}

/** A module that does not exist: a published version with something added. */
export interface FutureModule {
  readonly name: string;
  readonly base: TdxModuleVersion;
  readonly features: readonly FutureFeature[];
}

/** One CPUID bit that becomes "configured & native", and the state that it brings. */
export interface FutureFeature extends LeafId {
  readonly name: string;
  readonly register: keyof CpuidValues;
  readonly bit: number;
  /** CR4 bits that a TD with the feature may set. */
  readonly cr4?: bigint;
  /** MSRs that the guest reaches natively, with what TD exit leaves in them. */
  readonly states: readonly FutureState[];
}

export interface FutureState {
  /** Name as in the MSR table, or a name of its own. */
  readonly state: string;
  readonly msr: number | null;
  readonly kind: ExitRow['kind'];
  /** For `init`; 0 when not given. */
  readonly value?: bigint;
}
