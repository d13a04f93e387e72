import { bitName } from '../cpuid/architecture.js';
import type { CpuidRow } from '../cpuid/entry.js';
import { isIndexed } from '../cpuid/indexed.js';
import { sdmName } from '../index.js';
import type { Refusal } from './matrix.js';
import { type Bit, bitsOfComponent, rootsOfComponent, rootsOfLeaf, TableView } from './matrix-qemu.js';

/** What to do about a refusal. */
export type Action =
  /** Leave a bit out of the model. */
  | 'clear'
  /** Leave a field no larger than KVM allows. */
  | 'limit'
  /** Write what the hardware says, or zero. */
  | 'hardware'
  /** Leave a leaf empty that the table's own feature bits do not call for. */
  | 'empty'
  /** Ask for a permission first. */
  | 'permission'
  /** Make the table shorter. */
  | 'shorten';

/** One change to a VMM. Causes are the same when their texts are. */
export interface Cause {
  readonly action: Action;
  readonly text: string;
}

/**
 * Finds for each refusal in one table the change that cures it. A feature bit takes along what a VMM derives from it:
 * without AMX_TILE there are no leaves 1DH and 1EH and no XSAVE components 17 and 18. So a refusal whose own root is
 * refused as well needs no change of its own. Each cause keeps at least one refused bit that nothing else can cure:
 * rules look at one register at a time, and none asks for a bit to be set.
 */
export class Attribution {
  private readonly table: TableView;
  private readonly refusals: readonly Refusal[];

  constructor(entries: readonly CpuidRow[], refusals: readonly Refusal[]) {
    this.table = new TableView(entries);
    this.refusals = refusals;
  }

  /** The change that makes the refusal go away. */
  causeOf(refusal: Refusal): Cause {
    const { function: fn, index, register, low } = refusal;
    if (fn === 0xd && index >= 2) return this.ofComponent(refusal);
    const enabled = fn === 0xd ? componentOf(refusal) : null;
    const roots = enabled === null ? rootsOfLeaf(fn) : rootsOfComponent(enabled);
    if (roots.length > 0 && !this.isAmong(roots, refusal)) {
      const set = roots.filter((root) => this.table.has(root));
      if (set.length === 0 && enabled === null) return emptyLeaf(fn, roots);
      const root = this.refusedRoot(set);
      if (root) return this.causeOf(root);
    }
    return ownCause(refusal, `${refusal.place}${nameOf(fn, index, register, low, refusal.name)}`);
  }

  /** A sub-leaf of 0DH that describes a component. */
  private ofComponent(refusal: Refusal): Cause {
    if (!this.table.hasComponent(refusal.index)) return STALE_COMPONENTS;
    for (const bit of bitsOfComponent(refusal.index)) {
      const enabling = this.table.has(bit) && this.refusalAt(bit);
      if (enabling) return this.causeOf(enabling);
    }
    return ownCause(refusal, refusal.place);
  }

  private isAmong(roots: readonly Bit[], { function: fn, index, register, low, high }: Refusal): boolean {
    return roots.some(
      (root) =>
        root.function === fn &&
        (root.index === index || !isIndexed(fn)) &&
        root.register === register &&
        low <= root.bit &&
        root.bit <= high,
    );
  }

  /** The refusal of a root, when all roots that are set are refused. */
  private refusedRoot(set: readonly Bit[]): Refusal | undefined {
    const refused = set.map((root) => this.refusalAt(root));
    return refused.every((item) => item !== undefined) ? refused[0] : undefined;
  }

  private refusalAt(bit: Bit): Refusal | undefined {
    return this.refusals.find((refusal) => this.isAmong([bit], refusal));
  }
}

const STALE_COMPONENTS: Cause = {
  action: 'empty',
  text: 'leave CPUID.(EAX=DH,ECX=n) empty for components that the table has in neither XCR0 nor IA32_XSS',
};

const PERMISSION: Cause = {
  action: 'permission',
  text: 'have XTILEDATA permitted (ARCH_REQ_XCOMP_GUEST_PERM) before KVM_SET_CPUID2, or leave AMX out',
};

/** The component that a bit of XCR0 or IA32_XSS stands for. */
function componentOf({ index, register, low }: Refusal): number | null {
  if (index === 0) return register === 'eax' ? low : register === 'edx' ? low + 32 : null;
  if (index === 1) return register === 'ecx' ? low : register === 'edx' ? low + 32 : null;
  return null;
}

function emptyLeaf(fn: number, roots: readonly Bit[]): Cause {
  const leaf = sdmName(fn, null, 'eax').replace(/:EAX$/, '');
  const names = roots.map(({ function: at, index, register, bit }) => bitName(at, index, register, bit) ?? '?');
  return { action: 'empty', text: `leave ${leaf} empty without ${names.join(' or ')}` };
}

const nameOf = (fn: number, index: number, register: Refusal['register'], low: number, name: string | null): string => {
  const known = register === 'nent' ? name : (name ?? bitName(fn, index, register, low));
  return known === null ? '' : ` ${known}`;
};

function ownCause(refusal: Refusal, what: string): Cause {
  switch (refusal.reason) {
    case 'no-permission':
      return PERMISSION;
    case 'too-many-entries':
      return { action: 'shorten', text: 'pass at most 256 entries' };
    case 'field-too-large':
      return { action: 'limit', text: `limit ${what} to what KVM reports` };
    case 'address-width':
      return { action: 'limit', text: `write one of the widths that KVM knows to ${what}` };
    case 'value-mismatch':
      return { action: 'hardware', text: `take ${what} from the hardware, or write zero` };
    default:
      return { action: 'clear', text: `clear ${what}` };
  }
}
