import { FRAME_SIZE } from '../memory.js';
import { msrNamed } from '../msr-rows.js';
import type { Silicon } from '../silicon.js';
import { FIELD_ROWS } from './field-rows.js';

/** What one kind of CPU allows a VMCS to say: its capability MSRs (SDM volume 3, appendix A), read once. */
export interface VmxCapabilities {
  readonly revision: number;
  /** Bits that must be one, and bits that may be one. */
  readonly pin: Allowed;
  readonly primary: Allowed;
  readonly secondary: Allowed;
  readonly exit: Allowed;
  readonly entry: Allowed;
  readonly exit2: number;
  readonly cr0Fixed0: number;
  readonly cr0Fixed1: number;
  readonly cr4Fixed0: number;
  readonly cr4Fixed1Lo: number;
  readonly cr4Fixed1Hi: number;
  /** The preemption timer counts down by one every 2^n TSC ticks. */
  readonly timerShift: number;
  /** How many MSRs a list should have at most. */
  readonly listLimit: number;
  /** CR3 targets. */
  readonly cr3Targets: number;
  /** VM-exit instruction and error-code rules: an error code may be given or left out for every hardware exception. */
  readonly anyErrorCode: boolean;
  /** VMWRITE may write read-only fields. */
  readonly writesReadOnly: boolean;
  readonly executeOnly: boolean;
  readonly eptAccessedDirty: boolean;
  readonly eptLevels5: boolean;
  /** 1 where the field is there, by number. */
  readonly fields: Uint8Array;
  /** Upper halves of physical addresses: bits that must be zero. */
  readonly addressHi: number;
  readonly pageSize: number;
}

export interface Allowed {
  readonly zero: number;
  readonly one: number;
}

const known = new WeakMap<Silicon, VmxCapabilities>();

export function vmxCapabilities(silicon: Silicon): VmxCapabilities {
  const found = known.get(silicon) ?? read(silicon);
  known.set(silicon, found);
  return found;
}

const low = (value: bigint): number => Number(BigInt.asIntN(32, value));
const high = (value: bigint): number => Number(BigInt.asIntN(32, value >> 32n));
const bit = (value: bigint, at: number): boolean => ((value >> BigInt(at)) & 1n) === 1n;

function read(silicon: Silicon): VmxCapabilities {
  const basic = silicon.msr('IA32_VMX_BASIC');
  const misc = silicon.msr('IA32_VMX_MISC');
  const ept = silicon.msr('IA32_VMX_EPT_VPID_CAP');
  const allowed = (name: string): Allowed => {
    const full = `IA32_VMX_${name}`;
    msrNamed(full);
    const value = silicon.msr(full);
    return { zero: low(value), one: high(value) };
  };
  // The TRUE MSRs only say which of the default-1 bits may be zero.
  const truly = (name: string): Allowed => {
    const own = allowed(name);
    return bit(basic, 55) ? { zero: allowed(`TRUE_${name}`).zero & own.one, one: own.one } : own;
  };
  const cr4Fixed1 = silicon.msr('IA32_VMX_CR4_FIXED1');
  return {
    revision: low(basic) & 0x7fff_ffff,
    pin: truly('PINBASED_CTLS'),
    primary: truly('PROCBASED_CTLS'),
    secondary: allowed('PROCBASED_CTLS2'),
    exit: truly('EXIT_CTLS'),
    entry: truly('ENTRY_CTLS'),
    exit2: low(silicon.msr('IA32_VMX_EXIT_CTLS2')),
    cr0Fixed0: low(silicon.msr('IA32_VMX_CR0_FIXED0')),
    cr0Fixed1: low(silicon.msr('IA32_VMX_CR0_FIXED1')),
    cr4Fixed0: low(silicon.msr('IA32_VMX_CR4_FIXED0')),
    cr4Fixed1Lo: low(cr4Fixed1),
    cr4Fixed1Hi: high(cr4Fixed1),
    timerShift: low(misc) & 0x1f,
    cr3Targets: (low(misc) >> 16) & 0x1ff,
    listLimit: 512 * (((low(misc) >> 25) & 7) + 1),
    anyErrorCode: bit(basic, 56),
    writesReadOnly: bit(misc, 29),
    executeOnly: bit(ept, 0),
    eptAccessedDirty: bit(ept, 21),
    eptLevels5: bit(ept, 7),
    fields: Uint8Array.from(FIELD_ROWS, ({ gate }) => (silicon.allows(gate) ? 1 : 0)),
    addressHi: silicon.physicalBits >= 64 ? 0 : -1 << (silicon.physicalBits - 32),
    pageSize: FRAME_SIZE,
  };
}
