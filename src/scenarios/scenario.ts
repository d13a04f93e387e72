import type { KernelLine } from '../cpuid/kernel-line.js';
import type { Defect, Policy } from '../kvm/policy.js';
import type { Stage } from './stage.js';

/**
 * A story about a host and a guest: code and configuration. It never says how it ends: guest instructions and exit rules
 * change the machine, host instructions run into it, and one comparison of the host's state before and after decides.
 */
export interface Scenario {
  readonly name: string;
  /** One line. */
  readonly title: string;
  /** What happens, and why, for readers who want to know. */
  readonly story: string;
  /** Whether the guest is a TD; the others are ordinary VMs. */
  readonly guest: 'td' | 'vm';
  /** A built-in host. */
  readonly host: string;
  /** Kernel lines on which it is compared; the last one when only one is run. */
  readonly kernels: readonly KernelLine[];
  /** TDX modules on which it is compared; the first one when only one is run. Empty for ordinary VMs. */
  readonly modules: readonly string[];
  /** What is changed about the host before it boots. */
  readonly boot?: HostSetup;
  /** XSAVE components that the VMM asks permission for, e.g. 18 for AMX. Default: none. */
  readonly permissions?: readonly number[];
  /** How many CPUs execute. Default: 1. */
  readonly cpus?: number;
  /** Known defects of KVM; compared with and without them. */
  readonly defects?: readonly Defect[];
  /**
   * A control: the host is whole because something else than a check of CPUID keeps it so. Take that away and it is
   * clobbered.
   */
  readonly control?: boolean;
  /** State that a timeline follows, by name (`emu/msr-rows.ts`, or `XCR0`, `DR7`, …). */
  readonly watch?: readonly string[];
  /** What CPUID checking can and cannot do about it. */
  readonly limits: string;
  readonly sources: readonly string[];
  play(stage: Stage): void;
}

/** Under a TDX module of the future the CPU has what the module makes configurable, whatever is said here. */
export interface HostSetup {
  readonly cmdline?: string;
  /** Feature MSRs, by index. */
  readonly msrs?: ReadonlyMap<number, bigint>;
  readonly parameters?: Readonly<Record<string, number>>;
}

/** What is tried: one cell of the table. */
export interface Variant {
  readonly policy: Policy;
  readonly kernel: KernelLine;
  /** `null` for ordinary VMs. */
  readonly module: string | null;
  /** Default: the scenario's own. */
  readonly defects?: readonly Defect[];
}

/**
 * - `prevented`: an ioctl has refused it, and the guest never ran;
 * - `clobbered`: the guest ran, and the host is not what it was, or the guest finds what it should not;
 * - `harmless`: the guest ran, and it is.
 */
export type Outcome = 'prevented' | 'clobbered' | 'harmless';

/**
 * Something of the host that is not as it was: a state by its name, what a probe observes, a line of the kernel's log. Of a
 * guest, what it finds: `guest: …`.
 */
export interface Changed {
  readonly what: string;
  readonly before: string;
  readonly after: string;
  /** `false` when it was as before again at the end: something else has written it in between. */
  readonly lasting: boolean;
}

/** A change in words. What is counted has its difference too. */
export function changeText({ before, after, lasting }: Changed): string {
  const [from, to] = [Number(before), Number(after)];
  const counted = /^\d+$/.test(before) && /^\d+$/.test(after) && Math.abs(to - from) > 1;
  const difference = counted ? ` (${to > from ? '+' : ''}${to - from})` : '';
  return `${before} -> ${after}${difference}${lasting ? '' : ', and back again at the end'}`;
}

/** A moment of a run. */
export interface Moment {
  readonly cpu: number;
  readonly cycle: number;
  readonly lane: 'host' | 'kvm' | 'guest';
  readonly text: string;
}

/** A stretch of time on a CPU. */
export interface Span {
  readonly cpu: number;
  readonly lane: Moment['lane'];
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** A value that a timeline follows: when it became what. */
export interface Sample {
  readonly cycle: number;
  readonly cpu: number;
  readonly name: string;
  readonly value: string;
}

export interface ScenarioRun extends Variant {
  readonly scenario: string;
  readonly defects: readonly Defect[];
  readonly outcome: Outcome;
  /** The ioctl that refused, and its errno; `null` when none did. */
  readonly ioctl: string | null;
  readonly errno: string | null;
  /** The cycle from which on the host is not what it was: the exit that left it so, or when it was found; else `null`. */
  readonly cycle: number | null;
  readonly changed: readonly Changed[];
  readonly moments: readonly Moment[];
  readonly spans: readonly Span[];
  readonly samples: readonly Sample[];
  /** What is to be said about this variant: counterfactual kernels, assumptions. */
  readonly notes: readonly string[];
  /** The rolling hash of everything that CPU 0 did. */
  readonly traceHash: string;
}
