import { MEMORY_OK, type PhysicalMemory } from '../../src/emu/memory.js';
import { halves, joined } from './control-fixtures.js';

/** Paging as the manual tells it, in bigints, slow and obvious: what the walker is compared with. */

export interface Mode {
  readonly levels: 4 | 5;
  readonly root: bigint;
  readonly writeProtect: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly noExecute: boolean;
  readonly userKeys: boolean;
  readonly supervisorKeys: boolean;
  readonly pkru: bigint;
  readonly pkrs: bigint;
  readonly physicalBits: bigint;
  readonly gigabytes: boolean;
  readonly amd: boolean;
}

export interface Use {
  readonly write: boolean;
  readonly fetch: boolean;
  readonly user: boolean;
  readonly ac: boolean;
  readonly shadow: boolean;
}

export type Answer = { readonly physical: bigint } | { readonly error: bigint } | { readonly notCanonical: true };

const bit = (value: bigint, at: bigint) => ((value >> at) & 1n) === 1n;

/** The uses by the number that the walker gives them. */
export const USES: readonly Use[] = [
  ...[0, 1, 2].map((at) => ({ write: at === 1, fetch: at === 2, user: false, ac: false, shadow: false })),
  ...[0, 1].map((at) => ({ write: at === 1, fetch: false, user: false, ac: true, shadow: false })),
  ...[0, 1, 2].map((at) => ({ write: at === 1, fetch: at === 2, user: true, ac: false, shadow: false })),
  ...[0, 1, 2, 3].map((at) => ({ write: at % 2 === 1, fetch: false, user: at > 1, ac: false, shadow: true })),
];

export function readEntry(memory: PhysicalMemory, at: bigint): bigint {
  return memory.read(Number(at), 8) === MEMORY_OK ? joined(memory.value[0]!, memory.value[1]!) : (1n << 64n) - 1n;
}

export function reference(memory: PhysicalMemory, mode: Mode, linear: bigint, use: Use): Answer {
  const width = mode.levels === 5 ? 57 : 48;
  if (BigInt.asUintN(64, BigInt.asIntN(width, linear)) !== linear) return { notCanonical: true };
  const flags =
    (use.write ? 2n : 0n) |
    (use.user ? 4n : 0n) |
    (use.fetch && (mode.noExecute || mode.smep) ? 16n : 0n) |
    (use.shadow ? 64n : 0n);

  const trail: { at: bigint; entry: bigint }[] = [];
  let table = mode.root;
  let level = BigInt(mode.levels);
  for (;;) {
    const shift = 3n + 9n * level;
    const at = table + ((linear >> shift) & 511n) * 8n;
    const entry = readEntry(memory, at);
    if (!bit(entry, 0n)) return { error: flags };
    const maySize = level === 2n || (level === 3n && mode.gigabytes);
    const page = level === 1n || (maySize && bit(entry, 7n));
    let reserved = ((1n << 52n) - 1n) & ~((1n << mode.physicalBits) - 1n);
    if (!mode.noExecute) reserved |= 1n << 63n;
    if (!page) reserved |= 1n << 7n;
    if (!page && mode.amd && level >= 4n) reserved |= 1n << 8n;
    if (page && level === 2n) reserved |= 0x1f_e000n;
    if (page && level === 3n) reserved |= 0x3fff_e000n;
    if ((entry & reserved) !== 0n) return { error: flags | 1n | 8n };
    trail.push({ at, entry });
    if (page) break;
    table = entry & 0xf_ffff_ffff_f000n;
    level--;
  }

  const leaf = trail.at(-1)!.entry;
  const tables = trail.slice(0, -1);
  const userPage = trail.every(({ entry }) => bit(entry, 2n));
  const writable = trail.every(({ entry }) => bit(entry, 1n));
  const executable = !trail.some(({ entry }) => bit(entry, 63n));
  const shadowPage = tables.every(({ entry }) => bit(entry, 1n)) && !bit(leaf, 1n) && bit(leaf, 6n);
  const refused = isRefused(mode, use, { userPage, writable, executable, shadowPage });
  const shut = !use.fetch && isShut(mode, use, userPage, (leaf >> 59n) & 15n);
  if (refused || shut) return { error: flags | 1n | (shut ? 32n : 0n) };

  for (const { at, entry } of trail) {
    const set = entry | 0x20n | (at === trail.at(-1)!.at && use.write ? 0x40n : 0n);
    if (set !== readEntry(memory, at)) memory.write(Number(at), 8, ...halves(set | readEntry(memory, at)));
  }
  const size = 1n << (3n + 9n * level);
  return { physical: (leaf & 0xf_ffff_ffff_f000n & ~(size - 1n)) | (linear & (size - 1n)) };
}

interface Page {
  readonly userPage: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  readonly shadowPage: boolean;
}

function isRefused(mode: Mode, use: Use, page: Page): boolean {
  if (use.shadow) return !page.shadowPage || page.userPage !== use.user;
  if (use.user) return !page.userPage || (use.write && !page.writable) || (use.fetch && !page.executable);
  if (use.fetch) return !page.executable || (page.userPage && mode.smep);
  if (page.userPage && mode.smap && !use.ac) return true;
  return use.write && !page.writable && mode.writeProtect;
}

function isShut(mode: Mode, use: Use, userPage: boolean, key: bigint): boolean {
  if (userPage ? !mode.userKeys : !mode.supervisorKeys) return false;
  const rights = ((userPage ? mode.pkru : mode.pkrs) >> (2n * key)) & 3n;
  return bit(rights, 0n) || (bit(rights, 1n) && use.write && (use.user || mode.writeProtect));
}
