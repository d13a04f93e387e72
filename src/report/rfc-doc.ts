import { MINIMAL_TD } from '../api/td.js';
import { REGISTERS, sdmName } from '../cpuid/entry.js';
import { FEATURES, type Feature, featureNamed, type KvmClass, kvmClass, OVERLAYS } from '../cpuid/features.js';
import { isIndexed } from '../cpuid/indexed.js';
import { KERNEL_LINES, type KernelLine, NEWEST_KERNEL } from '../cpuid/kernel-line.js';
import {
  bootKvm,
  builtInHost,
  builtInHosts,
  Checker,
  type CpuidEntry2,
  describeBuiltIn,
  type HostDescription,
  impliedByVmType,
  KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
  POLICIES,
  VM_TYPES,
  Vmm,
  withInputs,
} from '../index.js';
import { RESERVED } from '../kvm/paranoid/rule-rows.js';
import { SVM_PROGRAM } from '../svm/cap-rows.js';
import { DENIED } from '../tdx/kvm-policy.js';
import { fillSection } from './host-inputs-doc.js';
import { bitsOf, refusalsOf } from './matrix.js';

/** The measured tables of `docs/rfc-review.md`. */

const placeOf = ({ word, bit }: Feature): string =>
  sdmName(word.function, isIndexed(word.function) ? word.index : null, word.register, bit);

const PV_FUNCTION = 0x4000_0001;
const isPv = ({ word }: Feature): boolean => word.function === PV_FUNCTION;

const yes = (value: boolean): string => (value ? 'yes' : '-');

/**
 * Every feature that could clobber host state or that some overlay leaves out: what each design says of it. Columns:
 * overlays (the feature table's), the deny list for TDs, and the open-coded clear in `svm_set_cpu_caps()`.
 */
export function overlayTable(line: KernelLine = NEWEST_KERNEL): string {
  const cleared = SVM_PROGRAM.flatMap((step) => (step.op === 'clear' && step.when === undefined ? [step.feature] : []));
  const rows = FEATURES.filter(
    (feature) => !isPv(feature) && (feature.clobbers.length > 0 || feature.overlays.length < OVERLAYS.length),
  ).map((feature) => [
    `\`${placeOf(feature)}\` ${feature.name}`,
    feature.clobbers.join(', ') || '-',
    kvmClass(feature, line) ?? 'not listed',
    ...OVERLAYS.map((overlay) => yes(kvmClass(feature, line) !== null && feature.overlays.includes(overlay))),
    yes(DENIED.includes(feature)),
    yes(cleared.includes(feature.name)),
  ]);
  return markdown(['bit', 'clobbers', `KVM ${line} lists it`, ...OVERLAYS, 'deny list', 'cleared by SVM code'], rows);
}

/** What a VMM tries to configure for a TD: bits of one register, on which TDX module. */
const TD_ROWS: readonly (readonly [what: string, tdxModule: string, features: readonly string[] | number])[] = [
  ['WAITPKG', '2.0.8', ['WAITPKG']],
  ['HLE and RTM', '2.0.8', ['HLE', 'RTM']],
  ['BMI1', '2.0.8', ['BMI1']],
  ['FRED', 'fred-a', ['FRED']],
  ['`CPUID.(EAX=7,ECX=1):EDX[20]`, which nobody knows', 'unknown-bit', 20],
];

/** KVM_TDX_INIT_VM with one feature more than a TD needs: its errno under each policy. */
export function initVmTable(): string {
  const host = describeBuiltIn(builtInHost('granite-rapids')!);
  const rows = TD_ROWS.map(([what, tdxModule, features]) => {
    const answers = POLICIES.map((policy) => {
      const implied = impliedByVmType(host, 'tdx', tdxModule);
      const vmm = new Vmm(bootKvm(implied.host, { ...implied.options, policy, tdxModule }));
      return vmm.tdxInitVm(vmm.createVm(VM_TYPES.tdx), { cpuid: [...MINIMAL_TD.cpuid, entryWith(features)] }).errno;
    });
    return [what, tdxModule, ...answers];
  });
  return markdown(['configured', 'TDX module', ...POLICIES], rows);
}

/** An entry with the named features of one register, or with one bit of 7.1.EDX. */
function entryWith(features: readonly string[] | number): CpuidEntry2 {
  const empty = { flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  if (typeof features === 'number') return { ...empty, function: 7, index: 1, edx: (1 << features) >>> 0 };
  const { function: fn, index, register } = featureNamed(features[0]!).word;
  const bits = features.reduce((mask, name) => mask | featureNamed(name).mask, 0) >>> 0;
  return { ...empty, function: fn, index, [register]: bits };
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** The table that the newest KVM reports on a host. */
function newestAnswer(host: HostDescription): readonly CpuidEntry2[] {
  return new Vmm(bootKvm(host)).supported().entries;
}

/**
 * The newest KVM's answer on a built-in host, asked of older kernels on the same host. A cell counts the refused bits,
 * and behind the slash those of them that could clobber host state; the mainline kernel accepts every one.
 */
export function strictnessTable(): string {
  const older = KERNEL_LINES.filter((line) => line !== NEWEST_KERNEL);
  const rows = builtInHosts().map((builtIn) => {
    const host = describeBuiltIn(builtIn);
    const entries = newestAnswer(host);
    return [
      builtIn.name,
      ...older.map((kernel) => {
        const { findings, off } = new Checker(withInputs(host, { kernel })).check(entries);
        const refusals = findings.flatMap(refusalsOf);
        const clobbering = refusals.filter(({ clobbers }) => clobbers.length > 0);
        return `${bitsOf(refusals)} / ${bitsOf(clobbering)}${off.accepted ? '' : ` (${off.errno} without the policy)`}`;
      }),
    ];
  });
  return markdown(['host', ...older.map((line) => `Linux ${line}`)], rows);
}

/** Classes of a bit that one line of `kvm_initialize_cpu_caps()` makes known; the others need code as well. */
const ONE_LINE: readonly (KvmClass | null)[] = ['F', 'X86_64', 'SCATTERED', 'PASSTHROUGH', 'SYNTHESIZED'];

/** The features that one line of code made known to each kernel line; those that could clobber host state in bold. */
export function newlyListedTable(): string {
  const rows = KERNEL_LINES.slice(1).map((line, at) => {
    const before = KERNEL_LINES[at]!;
    const added = FEATURES.filter(
      (feature) => ONE_LINE.includes(kvmClass(feature, line)) && kvmClass(feature, before) === null,
    );
    const clobbering = added.filter(({ clobbers }) => clobbers.length > 0);
    const names = added.map(({ name, clobbers }) => (clobbers.length > 0 ? `**${name}**` : name));
    return [`${before} to ${line}`, String(added.length), String(clobbering.length), names.join(' ') || '-'];
  });
  return markdown(['kernel', 'bits', 'could clobber', 'names'], rows);
}

interface Reserved {
  readonly registers: number;
  readonly set: readonly string[];
}

/** The registers of a host that are zero only because nobody gave them a meaning, and those that the CPU uses. */
function reservedOn(host: HostDescription): Reserved {
  const module = bootKvm(host, { policy: 'paranoid' });
  const { resolver } = module.allowed(module.defaultOverlay, new Vmm(module).process);
  const isReserved = (fn: number, index: number, register: number): boolean => {
    const rule = resolver.resolve(fn, index)[register]!;
    return rule.kind === 'zero' && rule.row?.why === RESERVED;
  };
  let registers = 0;
  for (const fn of resolver.functions) {
    for (let index = 0; index <= resolver.lastIndex(fn); index++) {
      for (let register = 0; register < 4; register++) if (isReserved(fn, index, register)) registers++;
    }
  }
  const set = host.cpus[0]!.flatMap((row) =>
    REGISTERS.filter((register, number) => row[register] !== 0 && isReserved(row.function, row.index, number)).map(
      (register) => sdmName(row.function, isIndexed(row.function) ? row.index : null, register),
    ),
  );
  return { registers, set };
}

/** How many registers `--reserved ignore` lets go, and which of them the silicon of a built-in host uses. */
export function reservedTable(): string {
  const rows = builtInHosts().map((builtIn) => {
    const { registers, set } = reservedOn(describeBuiltIn(builtIn));
    return [builtIn.name, String(registers), set.map((place) => `\`${place}\``).join(', ') || 'none'];
  });
  return markdown(['host', 'reserved registers in its rules', 'of those the CPU itself uses'], rows);
}

/** The page with its generated sections. */
export function fillRfcReview(page: string): string {
  const sections: readonly (readonly [name: string, content: () => string])[] = [
    ['init-vm', initVmTable],
    ['overlays', overlayTable],
    ['strictness', strictnessTable],
    ['newly-listed', newlyListedTable],
    ['reserved', reservedTable],
  ];
  return sections.reduce((text, [name, content]) => fillSection(text, name, content()), page);
}
