import type { DumpCpu, FormatName, HostDump } from '../dump.js';
import { type CpuidRow, hex8, REGISTERS } from '../entry.js';
import { FormatError } from '../errors.js';
import { Remarks } from './remarks.js';

/** No x86 kernel has more: the largest CONFIG_NR_CPUS. */
const MAX_CPUS = 8192;

/**
 * Gathers rows into logical CPUs. The first row of a (function, index) wins, as it does in KVM's lookups; a later one
 * that says something else gets a remark.
 */
export class DumpBuilder {
  readonly remarks = new Remarks();
  /** MSRs that the file records beside CPUID. */
  readonly msrs = new Map<number, bigint>();
  readonly #name: string;
  readonly #cpus = new Map<string, Map<string, CpuidRow>>();
  #current: Map<string, CpuidRow> | undefined;

  /** @param name what messages call the file */
  constructor(name: string) {
    this.#name = name;
  }

  /**
   * Turns to the logical CPU called `label`; rows before the first call belong to `CPU 0`.
   *
   * @throws FormatError when there are more CPUs than any machine has
   */
  startCpu(label: string, where: string): void {
    const known = this.#cpus.get(label);
    if (known === undefined && this.#cpus.size === MAX_CPUS) {
      throw new FormatError(`more than ${MAX_CPUS} logical CPUs`, where, `at most ${MAX_CPUS}`);
    }
    this.#current = known ?? new Map();
    this.#cpus.set(label, this.#current);
  }

  /** Adds a row to the current CPU, unless that has one of the same function and index already. */
  add(row: CpuidRow, where: string): void {
    if (this.#current === undefined) this.startCpu('CPU 0', where);
    const rows = this.#current as Map<string, CpuidRow>;
    const key = rowKey(row);
    const first = rows.get(key);
    if (first === undefined) rows.set(key, row);
    else if (!sameAnswer(first, row)) {
      this.remarks.add(`${where}: a second, different row ${hex8(row.function)}.${row.index} is ignored`);
    }
  }

  /**
   * The finished dump.
   *
   * @throws FormatError when no CPU has a row
   */
  build(format: FormatName, expected: string, document?: Readonly<Record<string, unknown>>): HostDump {
    const cpus: DumpCpu[] = [];
    for (const [label, rows] of this.#cpus) {
      if (rows.size > 0) cpus.push({ label, rows: [...rows.values()] });
      else this.remarks.add(`${this.#name}: ${label} has no rows and is left out`);
    }
    if (cpus.length === 0) throw new FormatError('no CPUID row', this.#name, expected);
    const warnings = this.remarks.list();
    return {
      ...{ format, cpus, warnings },
      ...(this.msrs.size > 0 && { msrs: this.msrs }),
      ...(document !== undefined && { document }),
    };
  }
}

/** What makes a row unique on one CPU. */
export function rowKey(row: CpuidRow): string {
  return `${row.function}.${row.index}`;
}

function sameAnswer(a: CpuidRow, b: CpuidRow): boolean {
  return REGISTERS.every((register) => a[register] === b[register]);
}
