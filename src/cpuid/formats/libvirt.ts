/**
 * libvirt's cpudata XML, one logical CPU per file:
 *
 *     <cpudata arch='x86'>
 *       <cpuid eax_in='0x00000007' ecx_in='0x00' eax='0x00000000' ebx='0x219c91a9' ecx='0x00400004' edx='0x00000000'/>
 *       <msr index='0x10a' edx='0x00000000' eax='0x00000069'/>
 *
 * Its grammar is empty elements with attributes, so a tag scanner reads it; an XML library would be a dependency of
 * the pure core for nothing. As in libvirt itself, numbers are in C notation, and a missing ecx_in or register is 0.
 */

import type { DumpCpu, HostDump } from '../dump.js';
import { type CpuidRow, hex8, REGISTERS } from '../entry.js';
import { FormatError } from '../errors.js';
import { pickCpu } from './cpus.js';
import { DumpBuilder } from './dump-builder.js';
import { rowFromWords } from './rows.js';
import { countNewlines, matchAt, parseNumber, quote } from './text.js';

const ELEMENT = "\"<cpuid eax_in='0x00000007' ecx_in='0x00' eax='…' ebx='…' ecx='…' edx='…'/>\"";
const MSR_ELEMENT = "\"<msr index='0x10a' edx='…' eax='…'/>\"";
const NAME = /[A-Za-z_][\w.:-]{0,63}/y;
const ATTRIBUTE = /\s+([A-Za-z_]\w{0,31})\s*=\s*(?:'([^'<]{0,64})'|"([^"<]{0,64})")/y;
const TAG_END = /\s*\/?>/y;

/**
 * Reads cpudata XML: CPUID, and the feature MSRs that newer libvirt records beside it.
 *
 * @throws FormatError on a broken element, or when there is none
 */
export function readLibvirt(text: string, name: string): HostDump {
  const dump = new DumpBuilder(name);
  const where = new LineFinder(text, name);
  for (const tag of tagsOf(text, where)) {
    if (tag.name === 'cpuid') dump.add(rowFromTag(text, tag, where), where.at(tag.start));
    if (tag.name === 'msr') dump.msrs.set(...msrFromTag(text, tag, where));
  }
  return dump.build('libvirt', `elements as libvirt writes them, e.g. ${ELEMENT}`);
}

/**
 * Writes cpudata XML for one logical CPU, the only thing that the format can hold.
 *
 * @param n which CPU of the dump
 * @throws FormatError when the dump has no such CPU
 */
export function writeLibvirt(dump: HostDump, n = 0): string {
  return `<cpudata arch='x86'>\n${elementsOf(pickCpu(dump, n))}${msrElements(dump)}</cpudata>\n`;
}

function elementsOf(cpu: DumpCpu): string {
  return cpu.rows.map((row) => `  ${writeElement(row)}\n`).join('');
}

function msrElements(dump: HostDump): string {
  const half = (value: bigint) => hex8(Number(value & 0xffff_ffffn));
  return [...(dump.msrs ?? [])]
    .map(
      ([index, value]) =>
        `  <msr index='0x${index.toString(16)}' edx='0x${half(value >> 32n)}' eax='0x${half(value)}'/>\n`,
    )
    .join('');
}

function writeElement(row: CpuidRow): string {
  const index = row.index.toString(16).padStart(2, '0');
  const registers = REGISTERS.map((name) => `${name}='0x${hex8(row[name])}'`).join(' ');
  return `<cpuid eax_in='0x${hex8(row.function)}' ecx_in='0x${index}' ${registers}/>`;
}

/** Line numbers for positions that only ever move forward, so that asking for all of them stays linear. */
class LineFinder {
  readonly #text: string;
  readonly #name: string;
  #line = 1;
  #counted = 0;

  constructor(text: string, name: string) {
    this.#text = text;
    this.#name = name;
  }

  at(position: number): string {
    this.#line += countNewlines(this.#text, this.#counted, position);
    this.#counted = position;
    return `${this.#name}:${this.#line}`;
  }
}

/** A start tag: its name, where its `<` stands, and where its attributes begin. */
interface Tag {
  readonly name: string;
  readonly start: number;
  readonly attributes: number;
}

/** The start tags, in order; comments, end tags, declarations and text are passed over. */
function* tagsOf(text: string, where: LineFinder): Generator<Tag> {
  for (let start = text.indexOf('<'); start >= 0; start = text.indexOf('<', start + 1)) {
    if (text.startsWith('<!--', start)) {
      const end = text.indexOf('-->', start + 4);
      if (end < 0) throw new FormatError('a comment without an end', where.at(start), '"-->"');
      start = end;
      continue;
    }
    const name = matchAt(NAME, text, start + 1)?.[0];
    if (name !== undefined) yield { name, start, attributes: start + 1 + name.length };
  }
}

function rowFromTag(text: string, tag: Tag, where: LineFinder): CpuidRow {
  const attributes = attributesOf(text, tag, where);
  // Before libvirt 1.3 had eax_in and ecx_in, the input was called `function`.
  const inputs = [attributes.get('eax_in') ?? attributes.get('function') ?? '', attributes.get('ecx_in') ?? '0'];
  const outputs = REGISTERS.map((register) => attributes.get(register) ?? '0');
  return rowFromWords([...inputs, ...outputs].map((value) => parseNumber(value) ?? notAnElement(text, tag, where)));
}

function msrFromTag(text: string, tag: Tag, where: LineFinder): [index: number, value: bigint] {
  const attributes = attributesOf(text, tag, where);
  const [index, edx, eax] = ['index', 'edx', 'eax'].map(
    (key) => parseNumber(attributes.get(key) ?? '0') ?? notAnElement(text, tag, where, MSR_ELEMENT),
  ) as [number, number, number];
  return [index, (BigInt(edx) << 32n) | BigInt(eax)];
}

function notAnElement(text: string, tag: Tag, where: LineFinder, expected = ELEMENT): never {
  const element = text.slice(tag.start, text.indexOf('>', tag.start) + 1);
  throw new FormatError(`${quote(element)} is not a <${tag.name}> element`, where.at(tag.start), expected);
}

function attributesOf(text: string, tag: Tag, where: LineFinder): Map<string, string> {
  const attributes = new Map<string, string>();
  let position = tag.attributes;
  for (let match = matchAt(ATTRIBUTE, text, position); match; match = matchAt(ATTRIBUTE, text, position)) {
    attributes.set(match[1] ?? '', match[2] ?? match[3] ?? '');
    position += match[0].length;
  }
  if (!matchAt(TAG_END, text, position)) {
    throw new FormatError(`${quote(text.slice(position, position + 60))} inside <cpuid>`, where.at(tag.start), ELEMENT);
  }
  return attributes;
}
