/** The comparison with the `/dev/kvm` of this machine. */
import { isObject } from '../cpuid/formats/json.js';
import { withKvm } from './device.js';
import { loadLibc } from './ffi.js';
import { type RecordOptions, recordDocument } from './recorder.js';

export { LiveUnavailable } from './ffi.js';
export { DEFAULT_RUNS, DEFAULT_SEED, type RecordOptions } from './recorder.js';

/** A recording: a capture document that `readHost` reads and a replay compares. */
export type LiveDocument = Record<string, unknown>;

/**
 * Opens `/dev/kvm` and records what it answers.
 *
 * @throws LiveUnavailable when this machine has nothing to ask
 */
export function recordLive(options: RecordOptions = {}): LiveDocument {
  return withKvm(loadLibc(), (kvm) => recordDocument(kvm, options));
}

/** What a recording says about the machine that it was made on, for a headline. */
export interface LiveMachine {
  readonly release: string;
  readonly cpu: string;
  /** The loaded modules that stand beside kvm: kvm_intel, kvm_amd or a third. */
  readonly vendorModules: readonly string[];
}

export function describeMachine({ host }: LiveDocument): LiveMachine {
  const facts = isObject(host) ? host : {};
  const text = (key: string): string => (typeof facts[key] === 'string' ? facts[key] : '?');
  const parameters = isObject(facts.kvm_params) ? Object.keys(facts.kvm_params) : [];
  const modules = new Set(parameters.map((name) => name.split('.', 1)[0]!));
  return {
    release: text('release'),
    cpu: `${text('model_name')} (${text('vendor_id')} ${text('family')}/${text('model')}/${text('stepping')})`,
    vendorModules: [...modules].filter((name) => name !== 'kvm'),
  };
}
