import { bitName } from '../cpuid/architecture.js';
import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX, REGISTERS, sdmName } from '../cpuid/entry.js';
import { kvmIndexedFunctions } from '../cpuid/indexed.js';
import { type CpuidEntry2, formatEntry, type KernelLine } from '../index.js';
import { type GuestText, guestText } from './guest-case.js';
import { lawNamed } from './laws/index.js';
import { Place, type PlaceSpec, placeName } from './place.js';
import type { Plan } from './plan.js';
import type { Hit } from './runner.js';
import { type Bench, benchOf, type Case } from './shrink.js';

/** A counterexample to a law, as small as it gets. Plain data. */
export interface FuzzFinding {
  readonly property: string;
  /** As it was asked for: a built-in name or a file. */
  readonly host: string;
  readonly vm_type: string;
  readonly kernel: string;
  readonly policy: string;
  readonly guest_perm: 'amx' | 'none';
  readonly seed: number;
  readonly case: number;
  /** For whatever the law has to choose. */
  readonly chance: number;
  /** The bits that matter, or the leaves where there are none: what findings are told apart by. */
  readonly cell: string;
  /** The table, smallest first found. */
  readonly entries: readonly string[];
  /** Of laws of guests: what else the guest is, and what is wrong, by name and in words. */
  readonly guest?: GuestText;
  readonly aspect?: string;
  readonly broken?: string;
  /** The command that does this case again. */
  readonly replay: string;
  /** What was asked for about kernel and process. */
  readonly kernel_options: Readonly<Record<string, unknown>>;
}

/** How the campaign was asked for, so that a finding can say how to ask again. */
export interface Command {
  /** The options that choose a place. */
  place(spec: PlaceSpec): string;
  readonly kernelOptions: Readonly<Record<string, unknown>>;
}

/** The cell of a case that breaks the law only behind those before it. */
const ONLY_IN_SEQUENCE = 'only after earlier cases';

/** Shrinks hits one after the other, and keeps the first of each property and cell. */
export class Harvest {
  readonly findings: FuzzFinding[] = [];
  private readonly plan: Plan;
  private readonly command: Command;
  private readonly places = new Map<number, Place>();
  private readonly benches = new Map<string, Bench>();
  private readonly known = new Set<string>();

  constructor(plan: Plan, command: Command) {
    this.plan = plan;
    this.command = command;
  }

  /** Takes a hit; returns the finding, or `null` when it is known already. */
  add(hit: Hit): FuzzFinding | null {
    const place = this.place(hit.place);
    const bench = this.bench(place, hit.law);
    const { aspect } = hit;
    const found = bench.regenerate(this.plan.seed, hit.number);
    const alone = bench.broken(found, aspect) !== null;
    const smallest = alone ? bench.shrink(found, aspect) : found;
    const broken = bench.broken(smallest, aspect);
    const cell = alone ? this.cell(smallest, place, aspect) : ONLY_IN_SEQUENCE;
    const key = `${hit.law} ${cell}`;
    if (this.known.has(key)) return null;
    this.known.add(key);
    const finding = this.finding(hit, place, smallest, cell, broken);
    this.findings.push(finding);
    return finding;
  }

  close(): void {
    for (const bench of this.benches.values()) bench.close();
  }

  /** A guest's state belongs to the cell: one feature may take away several. */
  private cell({ entries, guest }: Case, { spec }: Place, aspect?: string): string {
    const bits = cellOf(entries, spec.host.inputs.kernel);
    if (!guest || aspect === undefined) return bits;
    const program = guest.instructions.map(({ name }) => name);
    return `${[bits, ...program].filter((text) => text !== '').join(', ')}: ${aspect}`;
  }

  private finding(
    { law, number, aspect }: Hit,
    { spec, module }: Place,
    { entries, chance, guest }: Case,
    cell: string,
    broken: string | null,
  ): FuzzFinding {
    const { seed } = this.plan;
    return {
      property: law,
      host: spec.given,
      vm_type: spec.vmType,
      kernel: spec.host.inputs.kernel,
      policy: module.policy,
      guest_perm: spec.amx ? 'amx' : 'none',
      seed,
      case: number,
      chance: chance >>> 0,
      cell,
      entries: entries.map(formatEntry),
      ...(guest && { guest: guestText(guest) }),
      ...(aspect !== undefined && { aspect }),
      ...(broken && { broken }),
      replay: `kvm-cpuid fuzz --property ${law} ${this.command.place(spec)} --seed ${seed} --first ${number} --runs 1`,
      kernel_options: this.command.kernelOptions,
    };
  }

  private bench(place: Place, law: string): Bench {
    const key = `${placeName(place.spec)}: ${law}`;
    let bench = this.benches.get(key);
    if (!bench) {
      bench = benchOf(place, lawNamed(law)!);
      this.benches.set(key, bench);
    }
    return bench;
  }

  private place(number: number): Place {
    let place = this.places.get(number);
    if (!place) {
      place = new Place(this.plan.places[number]!);
      this.places.set(number, place);
    }
    return place;
  }
}

/** The bits that are set in a table, in SDM notation; of an entry without any its leaf. */
export function cellOf(entries: readonly CpuidEntry2[], line: KernelLine): string {
  const indexed = kvmIndexedFunctions(line);
  return entries
    .map((entry) => {
      const { function: fn, index, flags } = entry;
      const flagged = (flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
      const bits = REGISTERS.flatMap((register) =>
        [...Array(32).keys()]
          .filter((bit) => (entry[register] >>> bit) & 1)
          .map((bit) => {
            const name = bitName(fn, index, register, bit);
            const place = sdmName(fn, indexed.has(fn) && flagged ? index : null, register, bit);
            return name === null ? place : `${place} ${name}`;
          }),
      );
      const leaf = `CPUID.${fn.toString(16).toUpperCase()}H`;
      const label = bits.length === 0 ? leaf : bits.length > 4 ? `${leaf}: ${bits.length} bits` : bits.join(' + ');
      return indexed.has(fn) && !flagged ? `${label} without a significant index` : label;
    })
    .join(', ');
}
