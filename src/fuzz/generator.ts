import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../cpuid/entry.js';
import { kvmIndexedFunctions } from '../cpuid/indexed.js';
import { CPUID2_HEADER_SIZE, EAX, EBX, ECX, EDX, ENTRY2_WORDS, FLAGS, FUNCTION, INDEX, PADDING } from '../kvm/abi.js';
import { CHECK, CHECK_WORDS } from '../kvm/paranoid/rule-arrays.js';
import { KVM_CPUID_SIGNATURE } from '../kvm/pv.js';
import { Chance } from '../scenarios/chance.js';
import type { Place } from './place.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

// V8 compiles the constants of a module into its code, but reads imported ones from memory: hence these copies.
const usedWords = PADDING;
const entrySize = ENTRY2_WORDS;

/** No table has more entries changed. */
const MOST_DIRTY = 16;

const HYPERVISOR_FUNCTIONS = [0, 1, 2, 3, 0x10, 0xff, 0x100, 0x101, 0x200, 0xff00].map((n) => KVM_CPUID_SIGNATURE + n);
/** Edges of ranges, and what lies beyond them. */
const ODD_FUNCTIONS = [0x3f, 0x40, 0x1234, 0x3fff_ffff, 0x4fff_ffff, 0x5000_0000, 0x7fff_ffff, 0x8000_003f]
  .concat([0x8000_0040, 0x8086_0000, 0x8fff_ffff, 0x9000_0000, 0xbfff_ffff, 0xc000_0000, 0xc000_0001, 0xc000_0004])
  .concat([0xc000_0005, 0xffff_ffff]);
/** Sub-leaves from here on are alike to KVM. */
const LAST_INDEX = 66;
const INDICES = [0, 0, 0, 1, 1, 2, 3, 4, 5, 9, 17, 18, 19, 31, 62, 63, 64, 255, 0x8000_0000, 0xffff_ffff];
/** Functions from here to the end of their range are alike to KVM. */
const FIRST_UNKNOWN = 0x2a;
/** How many changes a table gets: none in one of sixteen, mostly one or two. */
const CHANGES = [0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4];
const VALUES = [0, 1, 2, 3, 0x30, 0x39, 0x3900, 0x3039, 0xff, 0xffff, 0x8000_0000, 0xffff_ffff];
const WIDTHS = [0, 32, 47, 48, 49, 52, 57, 64, 255];
/** EBX, ECX, EDX of "Microsoft Hv". */
const HYPER_V = [0x7263_694d, 0x666f_736f, 0x7648_2074];

/**
 * Makes tables in a place's memory, from what KVM reports there: a stretch of it, with a few entries changed in ways that
 * have broken verifiers before. A case depends on seed and number alone. Allocates nothing.
 */
export class TableGenerator {
  /** Entries of the table made last. */
  count = 0;
  /** Those of its entries that are not as reported, as word numbers; the same one may be listed twice. */
  readonly dirty = new Int32Array(MOST_DIRTY);
  dirtyCount = 0;
  /** 32 bits of the case for the law that judges it. */
  chance = 0;
  private readonly place: Place;
  private readonly words: Uint32Array;
  private readonly source = new Chance();
  private readonly functions: Int32Array;
  private readonly hypervisor = Int32Array.from(HYPERVISOR_FUNCTIONS);
  private readonly odd = Int32Array.from(ODD_FUNCTIONS);
  private readonly indices = Int32Array.from(INDICES);
  private readonly values = Int32Array.from(VALUES);
  private readonly pristine: Uint32Array;
  private readonly reported: number;
  /** Word numbers of the whole table's first entry, and of the case's header. */
  private readonly start: number;
  private header: number;

  constructor(place: Place) {
    this.place = place;
    this.words = place.words;
    this.functions = Int32Array.from(kvmIndexedFunctions(place.spec.host.inputs.kernel));
    place.put(place.table, place.reported);
    this.start = place.table + HEADER_WORDS;
    this.reported = place.reported.length;
    this.pristine = this.words.slice(this.start, this.start + this.reported * ENTRY2_WORDS);
    this.header = place.table;
  }

  /**
   * Makes a case in place of the one before.
   *
   * @returns the word number of its header: in the padding of the entry before its first, which nobody looks at
   */
  make(seed: number, number: number, reportedOnly: boolean): number {
    this.undo();
    const { source, words } = this;
    source.start(seed, number);
    this.chance = source.word();
    const draw = source.word();
    const first = this.chooseStretch(draw);
    this.header = this.start + first * entrySize - HEADER_WORDS;
    for (let left = CHANGES[draw & 15]!; left > 0; left--) {
      if (reportedOnly) this.shuffle(source.word());
      else this.change(source.word());
    }
    words[this.header] = this.count;
    words[this.header + 1] = 0;
    return this.header;
  }

  /** Puts back what the last case has changed. */
  private undo(): void {
    const { words, dirty, pristine, start, header } = this;
    words[header] = 0;
    for (let n = 0; n < this.dirtyCount; n++) {
      const at = dirty[n]!;
      const from = at - start;
      for (let word = 0; word < usedWords; word++) words[at + word] = pristine[from + word]!;
    }
    this.dirtyCount = 0;
  }

  /** Half of the tables are short, an eighth is all that KVM reports. Returns where in that it starts. */
  private chooseStretch(draw: number): number {
    const { source, reported } = this;
    const kind = (draw >>> 4) & 7;
    const most = kind < 4 ? 8 : kind < 6 ? 32 : reported;
    this.count = kind === 7 ? reported : Math.min(reported, 1 + scaled(draw, most));
    return this.count === reported ? 0 : source.below(reported - this.count + 1);
  }

  /** An entry of the case, by chance, about to be changed. */
  private touch(draw: number): number {
    return this.soil(this.header + HEADER_WORDS + scaled(draw, this.count) * entrySize);
  }

  /** The entries that were changed, as `function.index` in hex, `*` where an indexed function's entry has no flag. */
  describeDirty(words: Uint32Array): string[] {
    const places = [...new Set(this.dirty.subarray(0, this.dirtyCount))].map((at) => {
      const fn = words[at + FUNCTION]!;
      const flagged = (words[at + FLAGS]! & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
      if (!this.functions.includes(fn | 0)) return fn.toString(16);
      return `${fn.toString(16)}.${flagged ? words[at + INDEX]!.toString(16) : '*'}`;
    });
    return [...new Set(places)].sort();
  }

  private soil(at: number): number {
    if (this.dirtyCount === MOST_DIRTY) return this.dirty[0]!;
    this.dirty[this.dirtyCount++] = at;
    return at;
  }

  /** Entries change places, or one is there twice. */
  private shuffle(draw: number): void {
    const { words } = this;
    const at = this.touch(draw);
    const other = this.touch(this.source.word());
    const both = (draw & 0x8000) === 0;
    for (let word = 0; word < usedWords; word++) {
      const kept = words[at + word]! | 0;
      words[at + word] = words[other + word]!;
      if (both) words[other + word] = kept;
    }
  }

  /** One change: the lowest four bits say which, further ones what exactly, the upper half where. */
  private change(draw: number): void {
    const { words } = this;
    switch (draw & 15) {
      case 0:
      case 1:
      case 2:
        this.flip(this.touch(draw), draw);
        break;
      case 3: {
        const at = this.touch(draw);
        this.flip(at, draw);
        this.flip(at, this.source.word());
        break;
      }
      case 4:
        words[this.touch(draw) + EAX + registerOf(draw)] = this.value();
        break;
      case 5:
        this.nudge(this.touch(draw), draw);
        break;
      case 6:
        words[this.touch(draw) + FLAGS]! ^= KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        break;
      case 7:
        words[this.touch(draw) + INDEX] = this.index(this.source.word());
        break;
      case 8:
      case 9:
        this.shuffle(draw);
        break;
      case 10:
        this.shuffle(draw);
        this.flip(this.dirty[this.dirtyCount - 1]!, draw);
        break;
      case 11:
      case 12:
        this.single(this.touch(draw), draw);
        break;
      case 13:
        this.boundary(this.touch(draw), draw);
        break;
      case 14:
        this.special(this.touch(draw), draw);
        break;
      default:
        this.wild(this.touch(draw));
    }
  }

  private flip(at: number, draw: number): void {
    this.words[at + EAX + registerOf(draw)]! ^= 1 << bitOf(draw);
  }

  /** One up or down in one of the four bytes: the edges of fields. */
  private nudge(at: number, draw: number): void {
    const register = at + EAX + registerOf(draw);
    const step = 1 << (bitOf(draw) & 24);
    this.words[register] = ((this.words[register]! | 0) + ((draw & 0x40) === 0 ? step : -step)) | 0;
  }

  /** Signed, as all words here are: V8 would put large unsigned numbers on the heap. */
  private value(): number {
    const draw = this.source.word();
    const kind = draw & 3;
    if (kind === 0) return this.source.word();
    return kind === 1 ? this.values[scaled(draw, VALUES.length)]! : 1 << bitOf(draw);
  }

  private index(draw: number): number {
    return (draw & 3) === 0 ? scaled(draw, LAST_INDEX) : this.indices[scaled(draw, INDICES.length)]!;
  }

  private function(draw: number): number {
    switch (draw & 7) {
      case 0:
      case 1:
        return scaled(draw, FIRST_UNKNOWN);
      case 2:
      case 3:
        return 0x8000_0000 | scaled(draw, FIRST_UNKNOWN);
      case 4:
        return this.hypervisor[scaled(draw, HYPERVISOR_FUNCTIONS.length)]!;
      case 5:
        return this.odd[scaled(draw, ODD_FUNCTIONS.length)]!;
      case 6:
        return (draw & 0x78) === 0 ? this.source.word() : scaled(draw, FIRST_UNKNOWN);
      default:
        return this.functions[scaled(draw, this.functions.length)]!;
    }
  }

  private blank(at: number): void {
    const { words, source } = this;
    const draw = source.word();
    words[at + FUNCTION] = this.function(draw);
    words[at + INDEX] = this.index(source.word());
    words[at + FLAGS] = (draw & 0x700) === 0 ? (draw >>> 11) & 7 : (draw >>> 11) & 1;
    words[at + EAX] = 0;
    words[at + EBX] = 0;
    words[at + ECX] = 0;
    words[at + EDX] = 0;
  }

  /** An entry with a single bit, anywhere. */
  private single(at: number, draw: number): void {
    this.blank(at);
    this.flip(at, draw);
  }

  /** An entry of which nothing is right but by chance. */
  private wild(at: number): void {
    this.blank(at);
    for (let register = EAX; register <= EDX; register++) this.words[at + register] = this.value();
  }

  /** A field at its limit, or one above. */
  private boundary(at: number, draw: number): void {
    const { words, place } = this;
    const { checks, checkStart } = place.rules;
    const significant = (words[at + FLAGS]! & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0;
    const line = place.rules.lineOf(words[at + FUNCTION]! | 0, words[at + INDEX]! | 0, significant);
    const first = checkStart[line]!;
    const count = checkStart[line + 1]! - first;
    if (count === 0) {
      this.flip(at, draw);
      return;
    }
    const check = (first + this.source.below(count)) * CHECK_WORDS;
    const mask = checks[check + CHECK.mask]!;
    const limit = checks[check + CHECK.operand]! + (bitOf(draw) & 1);
    const register = at + EAX + checks[check + CHECK.register]!;
    words[register] = (words[register]! & ~mask) | ((limit << checks[check + CHECK.shift]!) & mask);
  }

  /** What mainline itself looks at: address widths, XTILEDATA; and KVM's leaves, moved or in another's hands. */
  private special(at: number, draw: number): void {
    const { words, source } = this;
    this.blank(at);
    switch (registerOf(draw)) {
      case 0:
        words[at + FUNCTION] = 0x8000_0008;
        words[at + EAX] = (WIDTHS[source.below(WIDTHS.length)]! << 8) | 0x30;
        break;
      case 1:
        words[at + FUNCTION] = 0xd;
        words[at + INDEX] = bitOf(draw) & 1;
        words[at + EAX] = 7 | (1 << (17 + (bitOf(draw) >>> 4)));
        break;
      case 2:
        words[at + FUNCTION] = KVM_CPUID_SIGNATURE;
        for (let n = 0; n < HYPER_V.length; n++) words[at + EBX + n] = HYPER_V[n]!;
        break;
      default:
        words[at + FUNCTION] = KVM_CPUID_SIGNATURE + 1;
        words[at + EAX + (bitOf(draw) & 3)] = source.word();
    }
  }
}

// A word of chance is used for several choices at once, each with bits of its own.
const registerOf = (draw: number): number => (draw >>> 4) & 3;
const bitOf = (draw: number): number => (draw >>> 6) & 31;
/** A number below `limit`, from the upper half of the word. */
const scaled = (draw: number, limit: number): number => ((draw >>> 16) * limit) >>> 16;
