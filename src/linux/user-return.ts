import type { Core } from '../emu/core/core.js';
import { writeMsr } from './charge.js';
import { msrIndex, TDX_USER_RETURN_ROWS, type TdxUserReturnRule } from './user-return-rows.js';

/**
 * User-return MSRs: MSRs that matter in user mode only, so that a guest's value may stay while the kernel runs.
 * `struct kvm_user_return_msrs` of `arch/x86/kvm/x86.c`, which lies in KVM but belongs to each CPU.
 */

interface Slot {
  readonly index: number;
  /** What Linux has there. */
  host: bigint;
  /** What is in hardware, as far as anybody knows. */
  curr: bigint;
}

const ALL = (1n << 64n) - 1n;

/** The user-return MSRs of one CPU. Slots are numbered in the order in which they were added. */
export class UserReturnMsrs {
  /** A return to user mode restores ({@link restore}). */
  registered = false;
  private readonly core: Core;
  private readonly slots: Slot[] = [];

  constructor(core: Core) {
    this.core = core;
  }

  /**
   * `kvm_add_user_return_msr()` and `kvm_user_return_msr_cpu_online()`.
   *
   * @returns the slot, or -1 when the MSR cannot be read and written
   */
  add(index: number): number {
    const known = this.find(index);
    if (known >= 0) return known;
    const { msrs } = this.core;
    const value = msrs.get(index);
    if (value === undefined || !msrs.set(index, value)) return -1;
    this.slots.push({ index, host: value, curr: value });
    return this.slots.length - 1;
  }

  /** `kvm_find_user_return_msr()`: -1 when the MSR has no slot. */
  find(index: number): number {
    return this.slots.findIndex((slot) => slot.index === index);
  }

  get count(): number {
    return this.slots.length;
  }

  /** What Linux has in the MSR, and what is taken to be in hardware. */
  values(slot: number): { readonly index: number; readonly host: bigint; readonly curr: bigint } {
    return this.slots[slot]!;
  }

  /**
   * `kvm_set_user_return_msr()`: writes hardware unless the value is there already.
   *
   * @param mask bits that come from `value`; the others are the host's
   * @returns whether the write was taken; WRMSR may fault
   */
  set(slot: number, value: bigint, mask: bigint = ALL): boolean {
    const item = this.slots[slot]!;
    const wanted = (value & mask) | (item.host & ~mask & ALL);
    if (wanted === item.curr) return true;
    if (!writeMsr(this.core, item.index, wanted)) return false;
    item.curr = wanted;
    this.registered = true;
    return true;
  }

  /** `kvm_user_return_msr_update_cache()`: somebody else has written hardware, or is believed to have. */
  updateCache(slot: number, value: bigint): void {
    this.slots[slot]!.curr = value;
    this.registered = true;
  }

  /**
   * `kvm_on_user_return()`: writes the host's values back where they are not thought to be there.
   *
   * @returns how many MSRs were written
   */
  restore(): number {
    if (!this.registered) return 0;
    this.registered = false;
    let written = 0;
    for (const slot of this.slots) {
      if (slot.host === slot.curr) continue;
      writeMsr(this.core, slot.index, slot.host);
      slot.curr = slot.host;
      written++;
    }
    return written;
  }
}

/** What KVM does about the user-return MSRs around TDH.VP.ENTER, by its kernel's {@link TdxUserReturnRule}. */
export class TdxUserReturn {
  readonly rule: TdxUserReturnRule;
  private readonly msrs: UserReturnMsrs;
  private readonly values: readonly (readonly [slot: number, value: bigint])[];
  private entered = false;

  /** @throws Error when one of the MSRs has no slot: then TDX cannot be enabled (`tdx_hardware_setup()`) */
  constructor(msrs: UserReturnMsrs, rule: TdxUserReturnRule) {
    this.msrs = msrs;
    this.rule = rule;
    this.values = TDX_USER_RETURN_ROWS.map(({ msr, value }) => {
      const slot = msrs.find(msrIndex(msr));
      if (slot < 0) throw new Error(`${msr} is no user-return MSR: TDX cannot be enabled`);
      return [slot, value] as const;
    });
  }

  /** `tdx_prepare_switch_to_guest()` */
  beforeEntry(): void {
    if (this.rule !== 'before-entry') return;
    for (const [slot, value] of this.values) this.msrs.set(slot, value);
  }

  /** TDH.VP.ENTER has come back: from the TD, or with an exit that the module only pretends. */
  afterExit(): void {
    this.entered = true;
  }

  /** `tdx_prepare_switch_to_host()` */
  leaveGuestContext(): void {
    if (this.entered && this.rule === 'after-exit')
      for (const [slot, value] of this.values) this.msrs.updateCache(slot, value);
    this.entered = false;
  }
}
