import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../cpuid/entry.js';
import { CPUID2_HEADER_SIZE, EAX, EBX, ECX, EDX, ENTRY2_SIZE, FLAGS, FUNCTION, INDEX } from '../abi.js';
import { KVM_CPUID_SIGNATURE, KVM_SIGNATURE } from '../pv.js';
import { KVM_MAX_CPUID_ENTRIES } from '../supported.js';
import { NO_SLOT } from './rule-arrays.js';
import { ROW, ROW_WORDS, SCREEN_SLOTLESS, SLOT_ROW, SLOT_SUBLEAVES, SLOT_SUBLEAVES_SHIFT } from './screen.js';

// WebAssembly, as much of it as the kernel needs. An expression is its own encoding: operands first, then the opcode.

type Code = readonly number[];

const I32 = 0x7f;
const V128 = 0x7b;

/** LEB128 of an unsigned number. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** LEB128 of a signed 32-bit number. */
function signed(value: number): number[] {
  return value >= -0x40 && value < 0x40 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signed(value >> 7)];
}

const binary =
  (...opcode: number[]) =>
  (left: Code, right: Code): Code => [...left, ...right, ...opcode];

const constant = (value: number): Code => [0x41, ...signed(value | 0)];
const get = (local: number): Code => [0x20, ...unsigned(local)];
const set = (local: number, value: Code): Code => [...value, 0x21, ...unsigned(local)];

const add = binary(0x6a);
const subtract = binary(0x6b);
const multiply = binary(0x6c);
const and = binary(0x71);
const shiftLeft = binary(0x74);
const shiftRight = binary(0x76);
const isEqual = binary(0x46);
const isNot = (value: Code): Code => [...value, 0x45];
const isNegative = (value: Code): Code => [...value, ...constant(0), 0x48];
const isBelow = binary(0x49);
const isAbove = binary(0x4b);
const isAtLeast = binary(0x4f);
const select = (yes: Code, no: Code, condition: Code): Code => [...yes, ...no, ...condition, 0x1b];

const load = (address: Code, offset = 0): Code => [...address, 0x28, 0, ...unsigned(offset)];
const store = (address: Code, value: Code): Code => [...address, ...value, 0x36, 0, 0];
const loadVector = (address: Code, offset: number): Code => [...address, 0xfd, 0x00, 0, ...unsigned(offset)];
const andVectors = binary(0xfd, 78);
const andNotVectors = binary(0xfd, 79);
const orVectors = binary(0xfd, 80);
const xorVectors = binary(0xfd, 81);
// Four numbers each.
const addVectors = binary(0xfd, 0xae, 0x01);
const lesser = binary(0xfd, 0xb7, 0x01);
const isAnySet = (vector: Code): Code => [...vector, 0xfd, 83];

const when = (condition: Code, ...then: Code[]): Code => [...condition, 0x04, 0x40, ...then.flat(), 0x0b];
/** `while (true) { … }`, which {@link leaveWhen} leaves. */
const forever = (...body: Code[]): Code => [0x02, 0x40, 0x03, 0x40, ...body.flat(), 0x0c, 0, 0x0b, 0x0b];
const leaveWhen = (condition: Code): Code => [...condition, 0x0d, 1];
const giveBack = (value: Code): Code => [...value, 0x0f];
const call = (fn: number, ...operands: Code[]): Code => [...operands.flat(), 0x10, ...unsigned(fn)];

interface WasmFunction {
  /** As it is exported; `null`: not at all. */
  readonly name: string | null;
  readonly parameters: number;
  /** Numbers among its locals, which follow the parameters; then vectors. */
  readonly numbers: number;
  readonly vectors: number;
  /** Statements, and the expression that is the result. */
  readonly body: readonly Code[];
}

const vector = (items: readonly Code[]): Code => [...unsigned(items.length), ...items.flat()];
const section = (id: number, body: Code): Code => [id, ...unsigned(body.length), ...body];
const text = (word: string): Code => vector([...word].map((letter) => [letter.charCodeAt(0)]));

/** A module of functions of 32-bit numbers over a memory that it imports. */
function moduleOf(functions: readonly WasmFunction[], shared: boolean): Uint8Array<ArrayBuffer> {
  const limits = shared ? [3, 1, ...unsigned(65536)] : [0, 1];
  const integers = (count: number) => vector(Array<Code>(count).fill([I32]));
  const sections = [
    section(1, vector(functions.map(({ parameters }) => [0x60, ...integers(parameters), ...integers(1)]))),
    section(2, vector([[...text('kernel'), ...text('memory'), 2, ...limits]])),
    section(3, vector(functions.map((_, number) => [number]))),
    section(7, vector(functions.flatMap(({ name }, number) => (name === null ? [] : [[...text(name), 0, number]])))),
    section(
      10,
      vector(
        functions.map(({ numbers, vectors, body }) => {
          const code = [
            ...vector([
              [numbers, I32],
              [vectors, V128],
            ]),
            ...body.flat(),
            0x0b,
          ];
          return [...unsigned(code.length), ...code];
        }),
      ),
    ),
  ];
  return Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()]);
}

/** How many entries a round of the loop takes. */
const UNROLLED = 4;

const ENTRIES = Array.from({ length: UNROLLED }, (_, entry) => entry);

// Parameters and locals of `walk`.
const at = 0;
const end = 1;
const screen = 2;
const fn = 3;
const slot = 4;
const index = 5;
const count = 6;
/** From here on the row of each entry of a round, then what is wrong with it at first look. */
const rows = 7;
const strays = rows + UNROLLED;
const registers = strays + UNROLLED;
const checked = registers + 1;
const addend = registers + 2;
const strayed = registers + 3;

/** Finds the row of an entry of the round that starts at `at`, as the portable kernel does. */
const findRow = (entry: number): Code[] => {
  const row = rows + entry;
  const offset = entry * ENTRY2_SIZE;
  return [
    set(fn, load(get(at), offset + 4 * FUNCTION)),
    set(slot, shiftRight(multiply(get(fn), constant((1 << 24) + 1)), constant(24))),
    when(and(get(fn), constant(NO_SLOT)), set(slot, add(constant(SCREEN_SLOTLESS), shiftRight(get(fn), constant(28))))),
    set(row, load(add(get(screen), shiftLeft(get(slot), constant(2))))),
    when(isNegative(get(row)), ...findSubleaf(row, offset)),
    set(row, add(get(screen), shiftLeft(and(get(row), constant(SLOT_ROW)), constant(2)))),
  ];
};

const findSubleaf = (row: number, offset: number): Code[] => [
  set(count, and(shiftRight(get(row), constant(SLOT_SUBLEAVES_SHIFT)), constant(SLOT_SUBLEAVES))),
  set(index, load(get(at), offset + 4 * INDEX)),
  set(index, select(add(get(index), constant(1)), get(count), isBelow(get(index), get(count)))),
  // All ones if the index is significant.
  set(count, subtract(constant(0), and(load(get(at), offset + 4 * FLAGS), constant(KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))),
  set(row, add(and(get(row), constant(SLOT_ROW)), multiply(and(get(index), get(count)), constant(ROW_WORDS)))),
];

const ofEntry = (entry: number): Code => loadVector(get(at), entry * ENTRY2_SIZE + 4 * EAX);
const ofRow = (entry: number, field: keyof typeof ROW): Code => loadVector(get(rows + entry), 4 * ROW[field]);

/** The first look: the bits in which the four registers are not what the row wants. */
const firstLook = (entry: number): Code =>
  set(strays + entry, xorVectors(andVectors(ofEntry(entry), ofRow(entry, 'check')), ofRow(entry, 'want')));

/** The second look, if the first has found something: it gives back the entry's address if that fails too. */
const lookAgain = (entry: number): Code =>
  when(
    isAnySet(get(strays + entry)),
    set(registers, ofEntry(entry)),
    set(checked, andVectors(get(registers), ofRow(entry, 'secondCheck'))),
    set(addend, ofRow(entry, 'add')),
    set(
      strayed,
      orVectors(
        andVectors(get(registers), get(addend)),
        andNotVectors(orVectors(get(registers), get(addend)), addVectors(get(registers), get(addend))),
      ),
    ),
    set(
      strayed,
      orVectors(
        andVectors(get(strayed), ofRow(entry, 'top')),
        // Zero where one of the two is what is wanted.
        lesser(
          xorVectors(get(checked), ofRow(entry, 'secondWant')),
          xorVectors(get(checked), ofRow(entry, 'otherWant')),
        ),
      ),
    ),
    when(isAnySet(get(strayed)), giveBack(add(get(at), constant(entry * ENTRY2_SIZE)))),
  );

const anyStrays = isAnySet(ENTRIES.map((entry) => get(strays + entry)).reduce(orVectors));
const ROUND = constant(UNROLLED * ENTRY2_SIZE);

/** `walk(at, end, screen)`: the address of the first entry from `at` on that does not pass the screen, or `end`. */
const walk: WasmFunction = {
  name: null,
  parameters: 3,
  numbers: rows + UNROLLED - fn,
  vectors: strayed + 1 - strays,
  body: [
    forever(
      leaveWhen(isAbove(add(get(at), ROUND), get(end))),
      ...ENTRIES.flatMap((entry) => [...findRow(entry), firstLook(entry)]),
      when(anyStrays, ...ENTRIES.map(lookAgain)),
      set(at, add(get(at), ROUND)),
    ),
    // What does not fill a round.
    forever(
      leaveWhen(isAtLeast(get(at), get(end))),
      ...findRow(0),
      firstLook(0),
      lookAgain(0),
      set(at, add(get(at), constant(ENTRY2_SIZE))),
    ),
    get(at),
  ],
};

/** `isForeign(at, end)`: `isSignatureForeign()` of the entries in between. */
const isForeign: WasmFunction = {
  name: null,
  parameters: 2,
  numbers: 0,
  vectors: 0,
  body: [
    forever(
      leaveWhen(isAtLeast(get(at), get(end))),
      when(
        isEqual(load(get(at), 4 * FUNCTION), constant(KVM_CPUID_SIGNATURE)),
        giveBack(
          isNot(
            and(
              and(
                isEqual(load(get(at), 4 * EBX), constant(KVM_SIGNATURE.ebx)),
                isEqual(load(get(at), 4 * ECX), constant(KVM_SIGNATURE.ecx)),
              ),
              isEqual(load(get(at), 4 * EDX), constant(KVM_SIGNATURE.edx)),
            ),
          ),
        ),
      ),
      set(at, add(get(at), constant(ENTRY2_SIZE))),
    ),
    constant(1),
  ],
};

/** Numbers of functions, in the order in which the module has them. */
const WALK = 0;
const IS_FOREIGN = 1;
const SCAN = 2;

// Parameters of `scan`, behind those of `walk`.
const start = 3;

/**
 * `scan(at, end, screen, start)`: the address of the first suspect entry from `at` on, or `end`. The table starts at
 * `start`: KVM's two leaves are no suspects where they are foreign (`isForeignSignatureLeaf()`).
 */
const scan: WasmFunction = {
  name: 'scan',
  parameters: 4,
  numbers: 0,
  vectors: 0,
  body: [
    set(at, call(WALK, get(at), get(end), get(screen))),
    forever(
      leaveWhen(isAtLeast(get(at), get(end))),
      leaveWhen(isNot(isEqual(and(load(get(at), 4 * FUNCTION), constant(~1)), constant(KVM_CPUID_SIGNATURE)))),
      leaveWhen(isNot(call(IS_FOREIGN, get(start), get(end)))),
      set(at, call(WALK, add(get(at), constant(ENTRY2_SIZE)), get(end), get(screen))),
    ),
    get(at),
  ],
};

// Parameters and locals of `scanAll`.
const list = 0;
const listEnd = 1;
const limit = 3;
const table = 4;
const nent = 5;
const found = 6;
const suspect = 7;

/** What `scanAll` puts into its list for tables of which no entry is a suspect. */
export const CLEAN = 0xffff_ffff;

/**
 * `scanAll(list, listEnd, screen, limit)`: takes a list of offsets of tables, each a `struct kvm_cpuid2`, and puts in
 * place of each the address of the table's first suspect entry, or {@link CLEAN}. A table with too many entries, or one
 * that reaches beyond `limit`, becomes a suspect at 0. Returns how many tables are not clean.
 */
const scanAll: WasmFunction = {
  name: 'scanAll',
  parameters: 4,
  numbers: 4,
  vectors: 0,
  body: [
    forever(
      leaveWhen(isAtLeast(get(list), get(listEnd))),
      set(table, load(get(list))),
      set(suspect, constant(0)),
      when(
        isBelow(get(table), subtract(get(limit), constant(CPUID2_HEADER_SIZE - 1))),
        set(nent, load(get(table))),
        set(table, add(get(table), constant(CPUID2_HEADER_SIZE))),
        when(
          isBelow(get(nent), constant(KVM_MAX_CPUID_ENTRIES + 1)),
          set(nent, add(get(table), multiply(get(nent), constant(ENTRY2_SIZE)))),
          when(
            isAtLeast(get(limit), get(nent)),
            set(suspect, call(SCAN, get(table), get(nent), get(screen), get(table))),
            set(suspect, select(get(suspect), constant(CLEAN), isBelow(get(suspect), get(nent)))),
          ),
        ),
      ),
      store(get(list), get(suspect)),
      set(found, add(get(found), isBelow(get(suspect), constant(CLEAN)))),
      set(list, add(get(list), constant(4))),
    ),
    get(found),
  ],
};

/** The kernel for memory of this process alone, or shared between threads. */
export const simdKernel = (shared: boolean): Uint8Array<ArrayBuffer> =>
  moduleOf([walk, isForeign, scan, scanAll], shared);
