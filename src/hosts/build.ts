import type { CpuidRow } from '../cpuid/entry.js';
import { FEATURES } from '../cpuid/features.js';
import { amxRows } from './amx.js';
import { archCapabilities, MSR_IA32_ARCH_CAPABILITIES } from './arch-capabilities.js';
import { cacheRows } from './caches.js';
import { clockRows } from './clock.js';
import { bitRows, fieldRow, mergeRows, registerRow } from './fields.js';
import { identityRows } from './identity.js';
import type { HostModel, Vendor } from './model.js';
import { pmuRows } from './pmu.js';
import { rdtRows } from './rdt.js';
import { sgxRows } from './sgx.js';
import { tlbRows } from './tlbs.js';
import { topologyRows } from './topology.js';
import { linuxControlledBits, xsaveRows } from './xsave.js';

/** A host that comes with the program: what it is called, what its CPUID answers, its MSRs. */
export interface BuiltInHost {
  readonly name: string;
  readonly title: string;
  readonly vendor: Vendor;
  /** Display family and model. */
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly technology: 'vmx' | 'svm';
  /** The platform can run TDs. */
  readonly tdx: boolean;
  /** Every leaf within range of logical CPU 0, on bare metal and under a running Linux. Do not change them. */
  readonly rows: readonly CpuidRow[];
  readonly msrs: ReadonlyMap<number, bigint>;
  readonly microcode?: number;
}

const LEAVES: readonly ((model: HostModel) => readonly CpuidRow[])[] = [
  identityRows,
  topologyRows,
  cacheRows,
  tlbRows,
  xsaveRows,
  clockRows,
  pmuRows,
  rdtRows,
  sgxRows,
  amxRows,
  namedFieldRows,
  featureRows,
];

function namedFieldRows({ fields }: HostModel): readonly CpuidRow[] {
  return Object.entries(fields).map(([leaf, values]) => {
    const [fn = 0, index = 0] = leaf.split('.').map((part) => Number.parseInt(part, 16));
    return fieldRow(fn, index, values);
  });
}

/** AMD repeats most of 1.EDX in 0x80000001.EDX (APM volume 3, appendix E, function 8000_0001). */
function amdAliases(model: HostModel): readonly CpuidRow[] {
  const aliases = FEATURES.filter(({ kvm, name }) => kvm === 'ALIASED_1_EDX' && model.features.includes(name));
  return [registerRow(0x8000_0001, 0, { edx: aliases.reduce((bits, { mask }) => bits | mask, 0) })];
}

function featureRows(model: HostModel): readonly CpuidRow[] {
  const rows = bitRows([...model.features, ...linuxControlledBits(model)]);
  return model.vendor === 'amd' ? [...rows, ...amdAliases(model)] : rows;
}

/** One empty row for every function in range, so that each of them answers, and for the sub-leaves of leaf 7. */
function emptyRows({ maxima, fields }: HostModel): readonly CpuidRow[] {
  const functions = (base: number, last = base - 1) =>
    Array.from({ length: last - base + 1 }, (_, offset) => registerRow(base + offset, 0, {}));
  const subleaves = fields['7.0']?.leaf7_n_subleaves ?? 0;
  return [
    ...functions(0, maxima.basic),
    ...Array.from({ length: subleaves }, (_, at) => registerRow(7, at + 1, {})),
    ...functions(0x8000_0000, maxima.extended),
    ...functions(0xc000_0000, maxima.centaur),
  ];
}

/** All rows of a model, in ascending order. Throws on a row beyond the model's own maxima. */
export function buildRows(model: HostModel): readonly CpuidRow[] {
  const key = (row: CpuidRow, index = row.index) => `${row.function}.${index}`;
  const rows = new Map(emptyRows(model).map((row) => [key(row), row]));
  for (const row of LEAVES.flatMap((leaf) => leaf(model))) {
    if (!rows.has(key(row, 0))) throw new Error(`${model.name} has no function 0x${row.function.toString(16)}`);
    const before = rows.get(key(row));
    rows.set(key(row), before ? mergeRows(before, row) : row);
  }
  return [...rows.values()].sort((a, b) => a.function - b.function || a.index - b.index);
}

/** The MSRs that tell software about the silicon. */
function buildMsrs({ archCapabilities: names }: HostModel): ReadonlyMap<number, bigint> {
  return new Map(names ? [[MSR_IA32_ARCH_CAPABILITIES, archCapabilities(names)]] : []);
}

export function buildHost(source: HostModel): BuiltInHost {
  const { name, title, vendor, family, model, stepping, technology, tdx, microcode } = source;
  const host = { name, title, vendor, family, model, stepping, technology, tdx };
  return {
    ...host,
    rows: buildRows(source),
    msrs: buildMsrs(source),
    ...(microcode === undefined ? {} : { microcode }),
  };
}
