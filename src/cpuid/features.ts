import { REGISTERS, type Register } from './entry.js';
import {
  FEATURE_ROWS,
  type FeatureOptions,
  type KvmClass,
  type LinuxPlace,
  OVERLAYS,
  type Overlay,
  type WordKind,
} from './feature-rows.js';
import { type ByKernel, type KernelLine, onLine } from './kernel-line.js';

export { type KvmClass, OVERLAYS, type Overlay } from './feature-rows.js';

/** One CPUID register that has named bits. */
export interface Word {
  readonly id: number;
  readonly name: string;
  readonly kind: WordKind;
  readonly function: number;
  readonly index: number;
  readonly register: Register;
  /** 0 EAX … 3 EDX. */
  readonly registerIndex: number;
  readonly features: readonly Feature[];
}

/** One named bit. */
export interface Feature {
  readonly name: string;
  readonly word: Word;
  readonly bit: number;
  /** The bit as a u32 mask. */
  readonly mask: number;
  readonly kvm: KvmClass | null | ByKernel<KvmClass | null>;
  readonly linux: LinuxPlace | ByKernel<LinuxPlace>;
  readonly cpuinfo: string | null;
  readonly overlays: readonly Overlay[];
  readonly clobbers: readonly string[];
}

/** Resolves a column that is either one value or a value per kernel line. */
function resolve<T extends string>(value: T | null | ByKernel<T | null>, line: KernelLine): T | null {
  return typeof value === 'object' && value !== null ? onLine(value, line) : value;
}

/** How KVM of this line lists the bit; `null`: not at all. */
export function kvmClass(feature: Feature, line: KernelLine): KvmClass | null {
  return resolve(feature.kvm, line);
}

/** Where the host kernel of this line keeps the flag; `null`: nowhere. */
export function linuxPlace(feature: Feature, line: KernelLine): LinuxPlace {
  return resolve(feature.linux, line);
}

/** Whether the overlay contains the bit if KVM supports it at all. */
export function inOverlay(feature: Feature, overlay: Overlay): boolean {
  return feature.overlays.includes(overlay);
}

function compile(): Word[] {
  const words: Word[] = [];
  for (const { rows, ...place } of FEATURE_ROWS) {
    const features: Feature[] = [];
    const word: Word = { ...place, registerIndex: REGISTERS.indexOf(place.register), features };
    for (const [bit, name, kvm, options = {}] of rows) features.push(feature(word, bit, name, kvm, options));
    words[place.id] = word;
  }
  return words;
}

function feature(word: Word, bit: number, name: string, kvm: Feature['kvm'], options: FeatureOptions): Feature {
  const { cpuinfo = null, notIn = [], clobbers = [] } = options;
  return {
    name,
    word,
    bit,
    mask: (1 << bit) >>> 0,
    kvm,
    linux: options.linux === undefined ? (word.kind === 'kernel' ? 'word' : null) : options.linux,
    cpuinfo,
    overlays: OVERLAYS.filter((overlay) => !notIn.includes(overlay)),
    clobbers,
  };
}

/** All words by id; ids without a word (Linux-defined words that KVM never shows) are absent. */
export const WORDS: readonly (Word | undefined)[] = compile();

/** One more than the highest word id: the length of an array of words. */
export const WORD_COUNT = WORDS.length;

/** How many words the host kernel shares with KVM: `NCAPINTS` of Linux. */
export const KERNEL_WORD_COUNT = 22;

export const FEATURES: readonly Feature[] = WORDS.flatMap((word) => word?.features ?? []);

const wordByName = new Map(WORDS.flatMap((word) => (word ? [[word.name, word] as const] : [])));
const wordByPlace = new Map(
  WORDS.flatMap((word) =>
    word && word.kind !== 'linux' ? [[placeKey(word.function, word.index, word.registerIndex), word] as const] : [],
  ),
);
const featureByName = new Map<string, Feature>();
const featureByCpuinfo = new Map<string, Feature>();
for (const item of FEATURES) {
  // The copies of 1.EDX in 0x80000001.EDX carry the same names; the name means the original.
  if (item.kvm !== 'ALIASED_1_EDX') featureByName.set(item.name, item);
  if (item.cpuinfo !== null) featureByCpuinfo.set(item.cpuinfo, item);
}

function placeKey(fn: number, index: number, registerIndex: number): string {
  return `${fn >>> 0}.${index}.${registerIndex}`;
}

/** The feature of that kernel name. Throws on a name that is not in the table: a typing error in a row. */
export function featureNamed(name: string): Feature {
  const found = featureByName.get(name);
  if (!found) throw new Error(`no feature is called ${name}`);
  return found;
}

/** The feature of that /proc/cpuinfo name, or `undefined`. */
export function featureOfCpuinfo(name: string): Feature | undefined {
  return featureByCpuinfo.get(name);
}

/** The feature of that kernel name, or `undefined`. */
export function findFeature(name: string): Feature | undefined {
  return featureByName.get(name);
}

/** The word of that name. Throws on a name that is not in the table. */
export function wordNamed(name: string): Word {
  const found = wordByName.get(name);
  if (!found) throw new Error(`no word is called ${name}`);
  return found;
}

/** The word that lies in this register, or `undefined`. */
export function wordAt(fn: number, index: number, registerIndex: number): Word | undefined {
  return wordByPlace.get(placeKey(fn, index, registerIndex));
}

/** The mask of several bits of one word, by name. */
export function maskOf(word: Word, names: readonly string[]): number {
  let mask = 0;
  for (const name of names) {
    const found = word.features.find((item) => item.name === name);
    if (!found) throw new Error(`${word.name} has no bit called ${name}`);
    mask |= found.mask;
  }
  return mask >>> 0;
}

/** The mask of all bits of a word that KVM of this line lists with one of the classes. */
export function maskOfClasses(word: Word, line: KernelLine, classes: readonly KvmClass[], overlay?: Overlay): number {
  let mask = 0;
  for (const item of word.features) {
    const listed = kvmClass(item, line);
    if (listed !== null && classes.includes(listed) && (overlay === undefined || inOverlay(item, overlay)))
      mask |= item.mask;
  }
  return mask >>> 0;
}
