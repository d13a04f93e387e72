import type { Core } from '../emu/core/core.js';
import { TRACE, type TraceSink } from '../emu/core/trace.js';
import { stateAccess } from '../tdx/td-state.js';
import type { Sample, Span } from './scenario.js';

/** Looks on while a scenario is played: when guests ran, and what the states that it was told to watch became, and when. */
export class Watcher implements TraceSink {
  /** Guests' time on a CPU, in the order in which they ran. */
  readonly guests: Span[] = [];
  readonly samples: Sample[] = [];
  /** Set while somebody else wants to know of every instruction. */
  instruction?: NonNullable<TraceSink['instruction']>;
  private next: TraceSink | null = null;
  private readonly watched: readonly { readonly name: string; readonly access: ReturnType<typeof stateAccess> }[];
  private readonly last = new Map<string, bigint>();
  /** By CPU: when the guest that runs was entered, and when it was last left for whoever answers its exits. */
  private readonly entered = new Map<number, { readonly from: number; left: number }>();

  constructor(names: readonly string[]) {
    this.watched = names.map((name) => ({ name, access: stateAccess(name) }));
  }

  /** Another one who wants to know everything; `null`: nobody. */
  pass(next: TraceSink | null): void {
    this.next = next;
    if (next?.instruction) this.instruction = next.instruction.bind(next);
    else delete this.instruction;
  }

  event(core: Core, kind: number, a: number, b: number): void {
    const now = core.clock.now[0]!;
    if (kind === TRACE.ENTRY && !this.entered.has(core.id)) this.entered.set(core.id, { from: now, left: now });
    const guest = this.entered.get(core.id);
    if (guest && kind === TRACE.EXIT) guest.left = now;
    this.look(core);
    this.next?.event?.(core, kind, a, b);
  }

  /** When the last guest on a CPU was left, if that was after a cycle. */
  leftAfter(cpu: number, cycle: number): number | null {
    const left = this.guests.filter((span) => span.cpu === cpu).at(-1)?.to ?? -1;
    return left >= cycle ? left : null;
  }

  /** Notes what is no longer as it was. */
  look(core: Core): void {
    const cycle = core.clock.now[0]!;
    const guest = this.entered.get(core.id);
    if (guest && core.world === null) {
      this.guests.push({ cpu: core.id, lane: 'guest', from: guest.from, to: guest.left, text: 'the guest runs' });
      this.entered.delete(core.id);
    }
    for (const { name, access } of this.watched) {
      const value = access?.read(core);
      const key = `${core.id} ${name}`;
      if (value === undefined || this.last.get(key) === value) continue;
      this.last.set(key, value);
      this.samples.push({ cycle, cpu: core.id, name, value: `0x${value.toString(16)}` });
    }
  }
}
