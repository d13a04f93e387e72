import type { CpuidRow } from '../cpuid/entry.js';
import { fieldRow } from './fields.js';
import type { HostModel } from './model.js';

/** Palette 1: eight tiles of sixteen rows of 64 bytes. */
const TILES = 8;
const ROWS = 16;
const ROW_BYTES = 64;

/** Leaves 0x1D and 0x1E, the same on every part with AMX so far. Intel SDM volume 1, "Programming with Intel AMX". */
export function amxRows({ features }: HostModel): readonly CpuidRow[] {
  if (!features.includes('AMX_TILE')) return [];
  return [
    fieldRow(0x1d, 0, { amx_max_palette: 1 }),
    fieldRow(0x1d, 1, {
      amx_palette_size: TILES * ROWS * ROW_BYTES,
      amx_tile_size: ROWS * ROW_BYTES,
      amx_tile_row_size: ROW_BYTES,
      amx_palette_nr_tiles: TILES,
      amx_tile_nr_rows: ROWS,
    }),
    fieldRow(0x1e, 0, { tmul_maxk: ROWS, tmul_maxn: ROW_BYTES }),
  ];
}
