import { type CpuidEntry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, REGISTERS } from '../cpuid/entry.js';
import { kvmIndexedFunctions } from '../cpuid/indexed.js';
import { minimalConfiguration, VM_TYPES } from '../index.js';
import { Chance } from '../scenarios/chance.js';
import {
  drawInstructions,
  type GuestInstruction,
  instructionText,
  parseInstruction,
  simplerInstructions,
} from './arbitraries/guest-program.js';
import { drawXfam, fewerComponents } from './arbitraries/td-params.js';
import { bitsOf, type Dice, diceOf, oneOf, seldom, someBits } from './dice.js';
import type { Place } from './place.js';

/** What a guest is beside its CPUID table. */
export interface GuestSetup {
  readonly instructions: readonly GuestInstruction[];
  /** Of TDs; 0 for other VMs. */
  readonly attributes: bigint;
  readonly xfam: bigint;
}

/** A guest to be run. */
export interface GuestCase {
  /** What a TD is configured with; the widths of addresses are added where they are missing. Of another VM: its table. */
  readonly entries: readonly CpuidEntry2[];
  readonly guest: GuestSetup;
}

const MOST_INSTRUCTIONS = 12;

const ADDRESS_SIZES = 0x8000_0008;
/** EAX of leaf 1 must be zero or the CPU's own. */
const MODEL = 1;

/** Makes guests for a place. A case depends on seed and number alone. */
export class GuestGenerator {
  private readonly place: Place;
  private readonly chance = new Chance();
  private readonly dice: Dice = diceOf(this.chance);
  private readonly offer: TdMasks | null;

  constructor(place: Place) {
    this.place = place;
    this.offer = place.spec.vmType === 'tdx' ? tdMasks(place) : null;
  }

  /** Entries with what a TD must have at least: the widths of addresses. Those of other VMs as they are. */
  complete(entries: readonly CpuidEntry2[]): readonly CpuidEntry2[] {
    const isThere = entries.some(({ function: fn }) => fn === ADDRESS_SIZES);
    return isThere || !this.offer ? entries : [...entries, ...this.offer.least];
  }

  make(seed: number, number: number): GuestCase {
    this.chance.start(seed, number);
    const { dice, offer } = this;
    const instructions = drawInstructions(dice, MOST_INSTRUCTIONS);
    if (!offer) return { entries: this.table(), guest: { instructions, attributes: 0n, xfam: 0n } };
    const attributes = seldom(dice, 2) ? 0n : someBits(dice, offer.attributes);
    const xfam = drawXfam(dice, offer.xfam);
    return { entries: this.configuration(offer), guest: { instructions, attributes, xfam } };
  }

  /** What KVM reports, with some bits taken away, and now and then one more. */
  private table(): readonly CpuidEntry2[] {
    const { dice, place } = this;
    const entries = [...place.reported];
    for (let left = dice.nextInt(0, 4); left > 0; left--) {
      const at = dice.nextInt(0, entries.length - 1);
      const register = oneOf(dice, REGISTERS);
      const entry = entries[at]!;
      const value = seldom(dice, 6)
        ? entry[register] ^ (1 << dice.nextInt(0, 31))
        : entry[register] & ~Number(someBits(dice, BigInt(entry[register])));
      entries[at] = { ...entry, [register]: value >>> 0 };
    }
    return entries;
  }

  /** Some of the bits that can be configured; now and then in an entry that does not say which sub-leaf it is for. */
  private configuration({ masks, least }: TdMasks): readonly CpuidEntry2[] {
    const { dice } = this;
    const single = seldom(dice, 2) ? oneOf(dice, masks) : null;
    const entries = masks.flatMap((mask): CpuidEntry2[] => {
      if (mask.function === ADDRESS_SIZES) return [...least];
      if (single !== null && mask !== single) return [];
      const [eax = 0, ebx = 0, ecx = 0, edx = 0] = REGISTERS.map((name) =>
        seldom(dice, 3) ? 0 : Number(someBits(dice, BigInt(mask[name]))),
      );
      return [{ ...mask, eax: mask.function === MODEL ? 0 : eax, ebx, ecx, edx }];
    });
    return seldom(dice, 6) ? this.disguised(entries) : entries;
  }

  /** An entry for sub-leaf 0 of an indexed function, last, as one that answers any sub-leaf and names another. */
  private disguised(entries: readonly CpuidEntry2[]): readonly CpuidEntry2[] {
    const { dice } = this;
    const firsts = entries.filter(({ index, flags }) => index === 0 && flags !== 0);
    if (firsts.length === 0) return entries;
    const chosen = oneOf(dice, firsts);
    const rest = entries.filter((entry) => entry !== chosen);
    return [...rest, { ...chosen, index: dice.nextInt(0, 9), flags: 0 }];
  }
}

/** What KVM_TDX_CAPABILITIES offers, with the flags that entries must have. */
interface TdMasks {
  readonly masks: readonly CpuidEntry2[];
  readonly least: readonly CpuidEntry2[];
  readonly attributes: bigint;
  readonly xfam: bigint;
}

function tdMasks({ vmm, process, spec }: Place): TdMasks {
  const vm = vmm.createVm(VM_TYPES.tdx);
  const { entries, attributes, xfam } = vmm.tdxCapabilities(vm);
  process.close(vm);
  // An entry that answers more than one sub-leaf would be consumed more than once, which KVM_TDX_INIT_VM does not allow.
  const indexed = kvmIndexedFunctions(spec.host.inputs.kernel);
  const flags = (fn: number) => (indexed.has(fn) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0);
  const masks = entries.map((entry) => ({ ...entry, flags: flags(entry.function) }));
  return { masks, least: minimalConfiguration(masks, vmm.supported().entries), attributes, xfam };
}

/** What a guest shrinks to: fewer instructions, then less state. */
export function* simplerGuests(guest: GuestSetup): Generator<GuestSetup> {
  for (const instructions of simplerInstructions(guest.instructions)) yield { ...guest, instructions };
  if (guest.attributes !== 0n) yield { ...guest, attributes: 0n };
  for (const bit of bitsOf(guest.attributes)) yield { ...guest, attributes: guest.attributes & ~(1n << BigInt(bit)) };
  if (guest.xfam !== 0n) for (const xfam of fewerComponents(guest.xfam)) yield { ...guest, xfam };
}

/** A guest in the file of a finding. */
export interface GuestText {
  readonly program: readonly string[];
  readonly attributes: string;
  readonly xfam: string;
}

export const guestText = ({ instructions, attributes, xfam }: GuestSetup): GuestText => ({
  program: instructions.map(instructionText),
  attributes: `0x${attributes.toString(16)}`,
  xfam: `0x${xfam.toString(16)}`,
});

/** Reads what {@link guestText} wrote. @throws RangeError, SyntaxError when it is none */
export const readGuest = ({ program, attributes, xfam }: GuestText): GuestSetup => ({
  instructions: program.map(parseInstruction),
  attributes: BigInt(attributes),
  xfam: BigInt(xfam),
});
