import { FormatError } from '../cpuid/errors.js';
import type { Value } from '../cpuid/expression.js';
import { type Feature, featureOfCpuinfo, findFeature } from '../cpuid/features.js';
import { KERNEL_LINES, type KernelLine } from '../cpuid/kernel-line.js';
import type { OutOfRange } from '../emu/raw-cpuid.js';
import { BUG_ROWS, type BugName } from '../linux/boot-rows.js';
import { FACT_ROWS } from '../linux/fact-rows.js';
import { parameterRows, parseParameter } from '../linux/module-parameters.js';
import { type HostDescription, withInputs } from './host.js';

type Json = Readonly<Record<string, unknown>>;

const SECTIONS = ['kernel', 'cmdline', 'params', 'facts', 'bugs', 'flags', 'msrs', 'out_of_range'] as const;

/**
 * Applies a host file: a JSON object with any of `kernel` ("7.3"), `cmdline`, `params` ({"kvm_amd.npt": 0}), `facts`
 * (rows of `linux/fact-rows.ts` by name), `bugs` ({"null_seg": false}), `flags` ({"set": [], "clear": []}, names of
 * /proc/cpuinfo or the kernel) `msrs` ({"10a": "400000000c00005f"}, hexadecimal) and
 * `out_of_range` ("basic" or "zero": what CPUID answers above its maxima).
 *
 * @throws FormatError that names the key and what would be right
 */
export function applyHostFile(host: HostDescription, document: unknown, name: string): HostDescription {
  const file = objectAt(document, name);
  for (const key of Object.keys(file)) {
    if (!SECTIONS.includes(key as never))
      throw new FormatError(`unknown key "${key}"`, name, `one of ${SECTIONS.join(', ')}`);
  }
  const { inputs } = host;
  const kernel = file.kernel === undefined ? inputs.kernel : kernelLine(file.kernel, `${name}#kernel`);
  const changed = withInputs(host, {
    kernel,
    cmdline: file.cmdline === undefined ? inputs.cmdline : stringAt(file.cmdline, `${name}#cmdline`),
    parameters: new Map([...inputs.parameters, ...parameters(file.params, kernel, `${name}#params`)]),
    facts: new Map([...inputs.facts, ...facts(file.facts, `${name}#facts`)]),
    bugs: new Map([...inputs.bugs, ...bugs(file.bugs, `${name}#bugs`)]),
    flags: flags(file.flags, inputs.flags, `${name}#flags`),
  });
  return {
    ...changed,
    msrs: new Map([...host.msrs, ...msrs(file.msrs, `${name}#msrs`)]),
    outOfRange:
      file.out_of_range === undefined ? host.outOfRange : outOfRange(file.out_of_range, `${name}#out_of_range`),
  };
}

function outOfRange(value: unknown, where: string): OutOfRange {
  if (value === 'basic' || value === 'zero') return value;
  throw new FormatError(JSON.stringify(value), where, '"basic" (Intel) or "zero" (AMD)');
}

/** Reads a kernel line as a user writes it. */
export function kernelLine(value: unknown, where: string): KernelLine {
  const line = KERNEL_LINES.find((candidate) => candidate === value);
  if (!line) throw new FormatError(`kernel ${JSON.stringify(value)}`, where, `one of ${KERNEL_LINES.join(', ')}`);
  return line;
}

/** Reads one module parameter, `kvm_amd.npt` and its value. */
export function moduleParameter(name: string, value: unknown, line: KernelLine, where: string): [string, number] {
  const rows = parameterRows(line);
  if (!rows.has(name))
    throw new FormatError(`parameter "${name}"`, where, `one of ${[...rows.keys()].join(', ')} (kernel ${line})`);
  const number = typeof value === 'boolean' ? Number(value) : parseParameter(String(value));
  if (number === null) throw new FormatError(`value ${JSON.stringify(value)} for ${name}`, where, 'Y, N or a number');
  return [name, number];
}

function objectAt(value: unknown, where: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw new FormatError('no object', where, 'a JSON object');
}

function stringAt(value: unknown, where: string): string {
  if (typeof value === 'string') return value;
  throw new FormatError(`${JSON.stringify(value)}`, where, 'a string');
}

function parameters(section: unknown, line: KernelLine, where: string): [string, number][] {
  if (section === undefined) return [];
  return Object.entries(objectAt(section, where)).map(([name, value]) => moduleParameter(name, value, line, where));
}

function facts(section: unknown, where: string): [string, Value][] {
  if (section === undefined) return [];
  return Object.entries(objectAt(section, where)).map(([name, value]) => {
    if (!FACT_ROWS.some((row) => row.name === name)) {
      throw new FormatError(`fact "${name}"`, where, `one of ${FACT_ROWS.map((row) => row.name).join(', ')}`);
    }
    const number = typeof value === 'boolean' ? Number(value) : typeof value === 'string' ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > 0xffff_ffff) {
      throw new FormatError(`value ${JSON.stringify(value)} for ${name}`, where, 'true, false or a u32');
    }
    return [name, number];
  });
}

function bugs(section: unknown, where: string): [BugName, boolean][] {
  if (section === undefined) return [];
  return Object.entries(objectAt(section, where)).map(([name, value]) => {
    const row = BUG_ROWS.find((candidate) => candidate.cpuinfo === name);
    if (!row) throw new FormatError(`bug "${name}"`, where, `one of ${BUG_ROWS.map((bug) => bug.cpuinfo).join(', ')}`);
    if (typeof value !== 'boolean')
      throw new FormatError(`value ${JSON.stringify(value)} for ${name}`, where, 'true or false');
    return [row.name, value];
  });
}

function flags(
  section: unknown,
  given: { readonly set: readonly Feature[]; readonly clear: readonly Feature[] },
  where: string,
): typeof given {
  if (section === undefined) return given;
  const object = objectAt(section, where);
  const list = (key: 'set' | 'clear'): Feature[] => {
    const names = object[key] ?? [];
    if (!Array.isArray(names)) throw new FormatError(`${key} is no list`, where, 'a list of flag names');
    return names.map((name) => {
      const feature = featureOfCpuinfo(String(name)) ?? findFeature(String(name));
      if (!feature)
        throw new FormatError(`flag "${name}"`, where, 'a name of /proc/cpuinfo or X86_FEATURE_* without its prefix');
      return feature;
    });
  };
  return { set: [...given.set, ...list('set')], clear: [...given.clear, ...list('clear')] };
}

function msrs(section: unknown, where: string): [number, bigint][] {
  if (section === undefined) return [];
  return Object.entries(objectAt(section, where)).map(([index, value]) => {
    if (!/^(0x)?[0-9a-f]{1,8}$/i.test(index))
      throw new FormatError(`MSR "${index}"`, where, 'a hexadecimal index such as 10a');
    if (typeof value !== 'string' || !/^(0x)?[0-9a-f]{1,16}$/i.test(value)) {
      throw new FormatError(
        `value ${JSON.stringify(value)} of MSR ${index}`,
        where,
        'a hexadecimal string of up to 16 digits',
      );
    }
    return [Number.parseInt(index, 16), BigInt(`0x${value.replace(/^0x/i, '')}`)];
  });
}
