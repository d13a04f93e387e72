import type { CpuidRow } from '../../cpuid/entry.js';
import { featureNamed, WORDS } from '../../cpuid/features.js';
import { kvmIndexedFunctions } from '../../cpuid/indexed.js';
import { permittedXcr0 } from '../../kvm/supported.js';
import { readVariable } from '../../linux/scope.js';
import type { Place } from '../place.js';
import type { Registers, RuleFacts } from './rules.js';

const XTILE_DATA = 1 << 18;
const ZEROS: Registers = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/**
 * What the naive verifier must know of a place. Capabilities are those of the platform's default overlay: what others
 * lack the naive rules know by themselves.
 */
export function factsOf({ module, process }: Place): RuleFacts {
  const caps = module.caps(module.defaultOverlay);
  const { scope } = caps;
  const { cpuid } = module.kernel.machine.cpus[process.cpu]!;
  const rows = new Map<number, number[]>();
  for (let fn = 0; fn <= 0x40; fn++)
    rows.set(
      fn,
      subleaves((index) => cpuid.row(fn, index)),
    );
  return {
    vendor: String(scope.variables.get('vendor')),
    indexedFunctions: kvmIndexedFunctions(scope.line),
    caps: Object.fromEntries(WORDS.flatMap((word) => (word ? [[word.name, caps.words[word.id]!]] : []))),
    placeOfCap: (name) => {
      const { word, bit } = featureNamed(name);
      return { word: word.name, bit };
    },
    number: (name) => {
      if (name === 'supported_xss') return caps.supportedXss;
      return Number(scope.variables.get(name) ?? readVariable(scope, name)) >>> 0;
    },
    permittedXcr0: (amx) => permittedXcr0(caps, amx ? XTILE_DATA : 0),
    raw: {
      inRange: (fn, index) => (fn <= cpuid.maximum(fn) ? (cpuid.row(fn, index) ?? ZEROS) : ZEROS),
      indices: (fn) => rows.get(fn) ?? [],
    },
  };
}

/** No CPU has more where sub-leaves are counted. */
const MOST_SUBLEAVES = 64;

const subleaves = (row: (index: number) => CpuidRow | undefined): number[] =>
  [...Array(MOST_SUBLEAVES).keys()].filter((index) => row(index)?.index === index);
