import { REGISTERS } from '../../cpuid/entry.js';
import { FormatError } from '../../cpuid/errors.js';
import { ENTRY2_WORDS, KVM_SET_CPUID2 } from '../../kvm/abi.js';
import { FOREIGN_MASKS, type Replay } from './context.js';
import { Deltas, MAX_DELTAS_OF_FLIP } from './deltas.js';
import type { Recorded } from './recorded.js';
import type { Tally } from './tally.js';
import type { Errno } from './userspace.js';

const FIRST_REGISTER = 3;
const BITS = 32;

/** What was recorded for the 32 bits of one register. */
interface Row {
  readonly errnos: readonly Errno[];
  /** Readbacks that differ from the one without a flip, by bit. */
  readonly special: ReadonlyMap<number, Deltas>;
}

/**
 * `flips`, `flips_unknown_leaf`, `flips_after_run`: every bit of every register of a table, one at a time. A register
 * without a row is trivial: one and the same errno, and if that is OK, the readback as without a flip.
 *
 * @param table the entries that are flipped
 */
export function replayFlips(replay: Replay, name: string, vcpu: number, table: Uint32Array, nent: number): void {
  const recorded = replay.document.at(name);
  if (!recorded.there) return;
  const tally = replay.section(name);
  if (replay.foreign) tally.note(`only verdicts are compared: ${FOREIGN_MASKS}`);
  new Flips(replay, tally, recorded, vcpu, table, nent).run();
}

class Flips {
  private readonly replay: Replay;
  private readonly tally: Tally;
  private readonly vcpu: number;
  private readonly nent: number;
  private readonly total: number;
  private readonly unflipped: Errno;
  private readonly unflippedDeltas: Deltas;
  private readonly rows: ReadonlyMap<number, Row>;
  private readonly trivial: Row;
  private readonly got = new Deltas();
  private readonly table: Uint32Array;

  constructor(replay: Replay, tally: Tally, recorded: Recorded, vcpu: number, table: Uint32Array, nent: number) {
    this.replay = replay;
    this.tally = tally;
    this.vcpu = vcpu;
    this.nent = nent;
    this.table = table.slice(0, nent * ENTRY2_WORDS);
    const flips = recorded.at('flips');
    this.total = flips.there ? flips.number : nent * REGISTERS.length * BITS;
    this.unflipped = recorded.at('unflipped').text as Errno;
    this.unflippedDeltas = Deltas.of(recorded.at('unflipped_diff'));
    const trivial = recorded.at('trivial').text as Errno;
    this.trivial = { errnos: new Array<Errno>(BITS).fill(trivial), special: new Map() };
    this.rows = rowsOf(recorded.at('rows'));
  }

  run(): void {
    const { work } = this.replay.user;
    work.load(this.table, this.nent);
    const errno = this.set();
    const same = this.isAsRecorded(errno, this.unflipped, this.unflippedDeltas);
    if (!same)
      this.tally.differs('without a flip', this.show(this.unflipped, this.unflippedDeltas), this.show(errno, this.got));
    let flipped = 0;
    for (let position = 0; position < this.nent; position++) {
      for (let register = 0; register < REGISTERS.length; register++) {
        const agree = this.flipRegister(position, register);
        flipped += BITS;
        this.tally.count(BITS, same ? agree : 0); // no flip means anything if the table itself reads otherwise
      }
    }
    // A recording of another table than this one leaves flips that nobody can make here.
    if (flipped < this.total) this.tally.count(this.total - flipped, 0);
  }

  private set(): Errno {
    const { user } = this.replay;
    return user.ioctl(this.vcpu, KVM_SET_CPUID2, user.work.address);
  }

  /** Flips the 32 bits of a register. Returns how many came out as recorded. */
  private flipRegister(position: number, register: number): number {
    const { work } = this.replay.user;
    const at = position * ENTRY2_WORDS + FIRST_REGISTER + register;
    const value = work.entries[at]!;
    const row = this.rows.get(rowKey(position, register)) ?? this.trivial;
    let agree = 0;
    for (let bit = 0; bit < BITS; bit++) {
      work.entries[at] = value ^ (1 << bit);
      work.nent = this.nent;
      const errno = this.set();
      const deltas = row.special.get(bit) ?? this.unflippedDeltas;
      if (this.isAsRecorded(errno, row.errnos[bit]!, deltas)) agree++;
      else {
        const what = `entry ${position} ${REGISTERS[register]}[${bit}]`;
        this.tally.differs(what, this.show(row.errnos[bit]!, deltas), this.show(errno, this.got));
      }
    }
    work.entries[at] = value;
    return agree;
  }

  /** Reads back what was accepted, and compares. */
  private isAsRecorded(errno: Errno, recorded: Errno, deltas: Deltas): boolean {
    const { user, foreign } = this.replay;
    if (errno !== recorded) return false;
    if (errno !== 'OK' || foreign) return true;
    user.readBack(this.vcpu);
    const { work, got } = user;
    this.got.compare(work.entries, work.nent, got.entries, got.nent, MAX_DELTAS_OF_FLIP);
    return this.got.equals(deltas);
  }

  private show(errno: Errno, deltas: Deltas): string {
    return errno === 'OK' && !this.replay.foreign ? `OK ${JSON.stringify(deltas)}` : errno;
  }
}

const rowKey = (position: number, register: number): number => position * REGISTERS.length + register;

function rowsOf(list: Recorded): Map<number, Row> {
  const rows = new Map<number, Row>();
  for (const row of list.list) {
    const register = REGISTERS.indexOf(row.at('r').text as (typeof REGISTERS)[number]);
    if (register < 0) throw new FormatError('no register', row.at('r').toString(), REGISTERS.join(', '));
    rows.set(rowKey(row.at('i').number, register), { errnos: errnosOf(row), special: specialOf(row.at('special')) });
  }
  return rows;
}

const NOT_ERRNOS: readonly string[] = ['i', 'r', 'special'];

/** The errno of each bit; a row lists them as masks. */
function errnosOf(row: Recorded): Errno[] {
  const errnos = new Array<Errno>(BITS).fill('OK');
  for (const key of row.keys) {
    if (NOT_ERRNOS.includes(key) || key === 'ok') continue;
    const mask = row.at(key).hex;
    for (let bit = 0; bit < BITS; bit++) if ((mask & (1 << bit)) !== 0) errnos[bit] = key as Errno;
  }
  return errnos;
}

function specialOf(list: Recorded): Map<number, Deltas> {
  if (!list.there) return new Map();
  return new Map(list.list.map((item) => [item.item(0).number, Deltas.of(item.item(1))] as const));
}
