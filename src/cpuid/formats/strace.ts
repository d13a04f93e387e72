/**
 * `strace -v` output: every KVM_SET_CPUID2 call in it is one table.
 *
 *     ioctl(9, KVM_SET_CPUID2, {nent=20, entries=[{function=0x1, index=0, flags=0, eax=0x506e3, …}, …]}) = 0
 *
 * Without `-v` strace writes `entries=[...]`, of which nothing can be made. `-f` may split the call into
 * `… <unfinished ...>` and `<... ioctl resumed>`; the arguments are on the first of the two.
 */

import type { Payload, PayloadTable } from '../dump.js';
import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../entry.js';
import { FormatError } from '../errors.js';
import { Remarks } from './remarks.js';
import { entryFromWords } from './rows.js';
import { linesOf, matchAt, parseNumber, quote } from './text.js';

const FD = 'ioctl\\(([0-9]{1,9})(?:<([^<>]{0,200})>)?, ';
const SET_CPUID2 = new RegExp(`${FD}(?:0x[0-9a-f]{1,8} /\\* )?KVM_SET_CPUID2(?: \\*/)?, `);
const CREATE_VCPU = new RegExp(`${FD}KVM_CREATE_VCPU, ([0-9]{1,9})\\) += ([0-9]{1,9})`);
const VCPU_FD = /kvm-vcpu:([0-9]{1,9})/;

const TABLE_START = /\{nent=([0-9]{1,10}), entries=\[/y;
const ENTRY = /\{([^{}]{1,1000})\}(?:, )?/y;
const TABLE_END = /\]/y;

const VALUE = '(0x[0-9a-f]{1,8}|[0-9]{1,10})';
const FIELDS = new RegExp(
  `^function=${VALUE}, index=${VALUE}, flags=([^,]{1,200}), ` +
    `eax=${VALUE}, ebx=${VALUE}, ecx=${VALUE}, edx=${VALUE}(?:, padding=\\[${VALUE}, ${VALUE}, ${VALUE}\\])?$`,
);
const ENTRY_TEXT = '"{function=0x1, index=0, flags=0, eax=0, ebx=0, ecx=0, edx=0}"';
const VERBOSE = 'all entries: `strace -v` writes them';

/** The names that strace prints, from the kernel's asm/kvm.h. */
const FLAGS: ReadonlyMap<string, number> = new Map([
  ['KVM_CPUID_FLAG_SIGNIFCANT_INDEX', KVM_CPUID_FLAG_SIGNIFCANT_INDEX],
  ['KVM_CPUID_FLAG_STATEFUL_FUNC', 2],
  ['KVM_CPUID_FLAG_STATE_READ_NEXT', 4],
]);

/**
 * Reads the tables of all KVM_SET_CPUID2 calls, whatever the kernel answered. A table is called after its vCPU where
 * the trace tells (`-y`, or the KVM_CREATE_VCPU call), else after the order of the file descriptors.
 *
 * @throws FormatError when a table is abbreviated or broken, or when there is none
 */
export function readStrace(text: string, name: string): Payload {
  const calls: Call[] = [];
  const remarks = new Remarks();
  const vcpus = new VcpuNumbers();
  for (const line of linesOf(text)) {
    const where = `${name}:${line.number}`;
    const created = CREATE_VCPU.exec(line.text);
    if (created) vcpus.created(Number(created[3]), Number(created[4]));
    const call = SET_CPUID2.exec(line.text);
    if (!call) continue;
    const entries = readTable(line.text, call.index + call[0].length, where);
    const vcpu = vcpus.of(Number(call[1]), call[2]);
    if (entries === undefined) remarks.add(`${where}: KVM_SET_CPUID2 of unreadable memory has no table`);
    else calls.push({ vcpu, entries });
  }
  if (calls.length === 0) throw new FormatError('no KVM_SET_CPUID2 call with a table', name, VERBOSE);
  return { format: 'strace', tables: labelled(calls), warnings: remarks.list() };
}

interface Call {
  readonly vcpu: number;
  readonly entries: readonly CpuidEntry2[];
}

/** Which vCPU a file descriptor stands for. */
class VcpuNumbers {
  readonly #ofFd = new Map<number, number>();

  created(vcpu: number, fd: number): void {
    this.#ofFd.set(fd, vcpu);
  }

  of(fd: number, annotation = ''): number {
    const told = VCPU_FD.exec(annotation)?.[1];
    const vcpu = told === undefined ? (this.#ofFd.get(fd) ?? this.#ofFd.size) : Number(told);
    this.#ofFd.set(fd, vcpu);
    return vcpu;
  }
}

function labelled(calls: readonly Call[]): PayloadTable[] {
  const seen = new Map<number, number>();
  return calls.map(({ vcpu, entries }) => {
    const nth = (seen.get(vcpu) ?? 0) + 1;
    seen.set(vcpu, nth);
    if (calls.length === 1) return { label: '', entries };
    return { label: nth === 1 ? `vcpu ${vcpu}` : `vcpu ${vcpu}, call ${nth}`, entries };
  });
}

/** The table at `position` of a line; undefined when strace saw only a pointer, which it prints as such or as NULL. */
function readTable(line: string, position: number, where: string): CpuidEntry2[] | undefined {
  const start = matchAt(TABLE_START, line, position);
  if (!start) {
    if (/^(?:0x|NULL)/.test(line.slice(position, position + 4))) return undefined;
    throw new FormatError(`${quote(line.slice(position))} is not a table`, where, '"{nent=…, entries=[…]}"');
  }
  let at = position + start[0].length;
  const entries: CpuidEntry2[] = [];
  for (let entry = matchAt(ENTRY, line, at); entry; entry = matchAt(ENTRY, line, at)) {
    entries.push(readEntry(entry[1] ?? '', where));
    at += entry[0].length;
  }
  const isComplete = matchAt(TABLE_END, line, at) !== null && entries.length === Number(start[1]);
  if (isComplete) return entries;
  throw new FormatError(`${entries.length} of ${start[1]} entries, then ${quote(line.slice(at))}`, where, VERBOSE);
}

function readEntry(fields: string, where: string): CpuidEntry2 {
  const match = FIELDS.exec(fields);
  const values = match?.slice(1).map((text = '0', n) => (n === 2 ? readFlags(text) : parseNumber(text)));
  if (values?.every((value) => value !== undefined)) return entryFromWords(values);
  throw new FormatError(`${quote(`{${fields}}`)} is not an entry`, where, ENTRY_TEXT);
}

/** Names and numbers joined by `|`, perhaps with a comment behind them; undefined when one of them is unknown. */
function readFlags(text: string): number | undefined {
  let flags = 0;
  for (const part of text.replace(/ \/\*.*$/, '').split('|')) {
    const value = FLAGS.get(part) ?? parseNumber(part);
    if (value === undefined) return undefined;
    flags |= value;
  }
  return flags >>> 0;
}
