/**
 * What TD entry and TD exit do to the host's state, as rows. The rows are in `rows/exit-rows.ts`; the engine that
 * applies them to a machine is not here.
 */

/**
 * What the host finds in a state after a TD exit:
 *
 * - `host` the value from before the entry;
 * - `init` a fixed value that the module writes (`value`);
 * - `guest` what the guest left there;
 * - `vmcs` what the VMM's transfer VMCS holds: the host's value again, loaded by hardware.
 */
export type ExitKind = 'host' | 'init' | 'guest' | 'vmcs';

/**
 * What the guest finds in a state after TD entry: its own saved copy (`initial` before the first entry), a fixed value
 * (`value`), or the host's, because the module does not touch it.
 */
export type EntryKind = 'guest' | 'fixed' | 'untouched';

/** Where a row comes from: read in public source, recalled from a manual, or assumed. */
export type SourceMark = 'S' | 'D' | 'A';

/** One state in one TD: the row of the table with its condition resolved. */
export interface ExitRow {
  /** Name as in the MSR table (`src/emu/msr-rows.ts`), or of a state that is no MSR (`XCR0`, `DR6`, `PKRU`, …). */
  readonly state: string;
  /** MSR index; `null` when the state is no MSR. */
  readonly msr: number | null;
  readonly entry: { readonly kind: EntryKind; readonly value: bigint | null };
  /** The guest's copy before the first entry. */
  readonly initial: bigint;
  /** Whether TD exit saves the guest's value into its copy. */
  readonly saved: boolean;
  readonly kind: ExitKind;
  /** What an `init` row writes, `null` for the other kinds. */
  readonly value: bigint | null;
  /** Bits that the row speaks of; the others keep the host's value. All of them when `null`. */
  readonly bits: bigint | null;
  /** Kind after an exit that the module only pretends (and after a failed TDH.VP.ENTER). */
  readonly synthesized: ExitKind;
  /** The condition that this TD meets, as text. */
  readonly condition: string;
  readonly source: SourceMark;
  /** Where it was read or why it is assumed. */
  readonly note: string;
}
