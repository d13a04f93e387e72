import type { Core } from '../emu/core/core.js';
import { TRACE, type TraceSink } from '../emu/core/trace.js';
import { disassemble } from '../emu/isa/disasm.js';
import { MSR_ROWS } from '../emu/msr-rows.js';

/** A full trace: every instruction and every event, as lines of JSON or for a trace viewer. */

export interface TraceRecord {
  readonly cycle: number;
  readonly cpu: number;
  /** 'host' or the guest's world. */
  readonly world: string;
  readonly cpl: number;
  /** Instructions: address and text. Events: null and what happened. */
  readonly rip: string | null;
  readonly text: string;
}

const EVENT_TEXTS: Readonly<Record<number, (a: number, b: number) => string>> = {
  [TRACE.DELIVER]: (vector) => `event: vector ${vector}`,
  [TRACE.EXIT]: (kind, number) => `leaves the guest: ${kind}/${number}`,
  [TRACE.ENTRY]: () => 'enters the guest',
  [TRACE.WRMSR]: (index, lo) => `writes ${msrName(index)}: low half 0x${(lo >>> 0).toString(16)}`,
  [TRACE.WAIT]: (_, deep) => `waits in ${deep ? 'C0.2' : 'C0.1'}`,
  [TRACE.WAKE]: () => 'wakes',
  [TRACE.CHARGE]: (cycles) => `kernel code: ${cycles} cycles`,
  [TRACE.SHUTDOWN]: () => 'triple fault',
  [TRACE.ABORT]: (reason) => `transaction aborts: 0x${(reason >>> 0).toString(16)}`,
  [TRACE.LEFT]: () => 'the host goes on',
  [TRACE.XSETBV]: (lo) => `XCR0: 0x${(lo >>> 0).toString(16)}`,
};

const names = new Map(MSR_ROWS.map(({ index, name }) => [index, name]));
const msrName = (index: number): string => names.get(index) ?? `MSR ${index.toString(16).toUpperCase()}H`;

/** Takes everything down. */
export class TraceRecorder implements TraceSink {
  readonly records: TraceRecord[] = [];

  instruction(core: Core, insn: number): void {
    const { rip } = core;
    this.add(core, `0x${rip.toString(16)}`, disassemble(core.blocks.insns, insn, rip));
  }

  event(core: Core, kind: number, a: number, b: number): void {
    this.add(core, null, EVENT_TEXTS[kind]?.(a, b) ?? `event ${kind}`);
  }

  private add(core: Core, rip: string | null, text: string): void {
    const world = core.world === null ? 'host' : core.world.name;
    this.records.push({ cycle: core.clock.now[0]!, cpu: core.id, world, cpl: core.cpl, rip, text });
  }
}

/** One JSON object per line. */
export function traceLines(records: readonly TraceRecord[]): string {
  return records.map((record) => `${JSON.stringify(record)}\n`).join('');
}

/**
 * Trace events (Chrome's JSON format, which Perfetto opens): a process per CPU, a thread per world. A microsecond there is
 * a cycle here.
 */
export function traceEvents(records: readonly TraceRecord[]): string {
  const events = records.map((record, at) => {
    const next = records.slice(at + 1, at + 2).find((other) => other.cpu === record.cpu);
    const common = { name: record.text, pid: record.cpu, tid: record.world, ts: record.cycle };
    return record.rip === null
      ? { ...common, ph: 'i', s: 't' }
      : {
          ...common,
          ph: 'X',
          dur: Math.max(0, (next?.cycle ?? record.cycle) - record.cycle),
          args: { rip: record.rip, cpl: record.cpl },
        };
  });
  return `${JSON.stringify({ traceEvents: events, displayTimeUnit: 'ns', otherData: { unit: 'cycles' } })}\n`;
}
