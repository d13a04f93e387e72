/** Records what this machine's KVM answers, as a capture of the schema that the simulator replays. */
import { CAPTURE_SCHEMA } from '../cpuid/formats/capture.js';
import { KVM_GET_API_VERSION, KVM_GET_EMULATED_CPUID, KVM_GET_SUPPORTED_CPUID } from '../kvm/abi.js';
import { capabilities } from './caps.js';
import type { KvmDevice } from './device.js';
import type { Libc } from './ffi.js';
import { flips } from './flips.js';
import { getTable, gettersByFd, SYSTEM_GETS, sizesOf } from './get-sections.js';
import { hostSection } from './host.js';
import { withInstructions } from './instruction.js';
import { legacyRows } from './legacy.js';
import { msrSections } from './msrs.js';
import { pointerRows } from './pointers.js';
import { outOfRangeRows, rawRows } from './raw.js';
import type { Recording, Section } from './recording.js';
import { runSections } from './run-sections.js';
import { runtimeRows } from './runtime-sections.js';
import { leaf } from './set-cases.js';
import { setSections } from './set-sections.js';

export interface RecordOptions {
  /** Random tables behind the listed ones. Default: 100. */
  readonly runs?: number;
  /** Default: 1. */
  readonly seed?: number;
  /** Let a guest execute HLT. Default: true. */
  readonly mayRun?: boolean;
  /** Told what comes next. */
  readonly progress?: (stage: string) => void;
}

export const DEFAULT_RUNS = 100;
export const DEFAULT_SEED = 1;

/** The groups of experiments, each on VMs of its own. */
const GROUPS: readonly (readonly [stage: string, record: (recording: Recording) => Section])[] = [
  ['sizes', sizeSections],
  ['sets', (recording) => recording.kvm.withVcpu(({ vcpu }) => setSections(recording, vcpu))],
  ['pointers', pointerSection],
  ['legacy sets', (recording) => ({ legacy: recording.kvm.withVcpu(({ vcpu }) => legacyRows(recording, vcpu)) })],
  ['runtime', (recording) => ({ runtime: runtimeRows(recording) })],
  ['flips', flipSections],
  ['runs', (recording) => (recording.mayRun ? runSections(recording) : {})],
];

/**
 * Records a whole document.
 *
 * @throws LiveUnavailable when the CPU's raw CPUID cannot be had, or KVM runs out of something
 */
export function recordDocument(kvm: KvmDevice, options: RecordOptions = {}): Record<string, unknown> {
  const { runs = DEFAULT_RUNS, seed = DEFAULT_SEED, mayRun = true, progress = () => {} } = options;
  progress('host');
  const host = hostSection(kvm.libc);
  const { raw_cpuid_executed, ...raw } = rawSections(kvm.libc);
  progress('system ioctls');
  const document = { schema: CAPTURE_SCHEMA, name: `live-${host.release}`, host, ...raw, kvm: 'OK' };
  const answers = answerSections(kvm);
  const creation = creationSections(kvm);
  const recording = { kvm, ...answers.tables, runs, seed, mayRun, progress };
  const experiments = creation.works && recording.supported.length > 0 ? GROUPS : [];
  const sections = experiments.map(([stage, record]) => {
    progress(stage);
    return record(recording);
  });
  const end = { raw_cpuid_executed, end: 'complete' };
  return Object.assign({}, document, answers.sections, creation.sections, ...sections, end);
}

/** `raw`, `raw_out_of_range` and, where it can be read, `xcr0`. */
function rawSections(libc: Libc): Section {
  return withInstructions(libc, ({ cpuid, xcr0 }) => {
    let executed = 0;
    const counting: typeof cpuid = (fn, index) => {
      executed++;
      return cpuid(fn, index);
    };
    const raw = rawRows(counting);
    const hasXgetbv = (cpuid(1, 0)[2] & OSXSAVE) !== 0;
    return {
      raw,
      raw_out_of_range: outOfRangeRows(counting),
      ...(hasXgetbv && xcr0 !== null && { xcr0: xcr0().toString(16) }),
      raw_cpuid_executed: executed,
    };
  });
}

/** CPUID.1:ECX[27]. */
const OSXSAVE = 1 << 27;

/** What the system descriptor answers, and the tables that the experiments start from. */
function answerSections(kvm: KvmDevice): {
  readonly sections: Section;
  readonly tables: Pick<Recording, 'supported' | 'emulatedNent'>;
} {
  const api_version = kvm.ioctl(kvm.fd, KVM_GET_API_VERSION);
  const supported = getTable(kvm, SYSTEM_GETS.supported);
  const tables = { supported: supported.errno === 'OK' ? kvm.output.entries() : [] };
  const emulated = getTable(kvm, SYSTEM_GETS.emulated);
  const emulatedNent = emulated.errno === 'OK' ? kvm.output.nent : 0;
  const hv_supported = getTable(kvm, SYSTEM_GETS.hv_supported);
  return {
    sections: { api_version, supported, emulated, hv_supported, ...msrSections(kvm) },
    tables: { ...tables, emulatedNent },
  };
}

/** `create`, and what is asked of a fresh VM and vCPU. */
function creationSections(kvm: KvmDevice): { readonly works: boolean; readonly sections: Section } {
  return kvm.withVm((vm) => {
    const works = vm.errno === 'OK';
    const create = { vm: vm.vm < 0 ? vm.errno : 'OK', vcpu: vm.errno };
    return {
      works,
      sections: {
        create,
        ...(vm.vm >= 0 && { caps: capabilities(kvm, vm.vm) }),
        ...(works && { ioctl_by_fd: gettersByFd(kvm, vm) }),
      },
    };
  });
}

function sizeSections({ kvm, supported, emulatedNent }: Recording): Section {
  return {
    get_supported_sizes: sizesOf(kvm, kvm.fd, KVM_GET_SUPPORTED_CPUID, supported.length),
    get_emulated_sizes: sizesOf(kvm, kvm.fd, KVM_GET_EMULATED_CPUID, emulatedNent),
  };
}

function pointerSection({ kvm, supported }: Recording): Section {
  return { pointers: kvm.withVcpu((vm) => pointerRows(kvm, vm, supported)) };
}

/** `flips` of the supported set, and of one entry that KVM does not know. */
function flipSections({ kvm, supported, progress }: Recording): Section {
  const unknown = [leaf(0x5000_0000, { eax: 1, ebx: 2, ecx: 3, edx: 4 })];
  return {
    flips: kvm.withVcpu(({ vcpu }) => flips(kvm, vcpu, supported, 'OK', progress)),
    flips_unknown_leaf: kvm.withVcpu(({ vcpu }) => flips(kvm, vcpu, unknown, 'OK', progress)),
  };
}
