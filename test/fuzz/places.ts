import { LAWS } from '../../src/fuzz/laws/index.js';
import { Place, type PlaceSpec, placeName } from '../../src/fuzz/place.js';
import type { Plan } from '../../src/fuzz/plan.js';
import type { KvmOptions, VmTypeName } from '../../src/index.js';
import { hostNamed } from '../support/platforms.js';

/** A place on a built-in host. */
export function specOf(
  given: string,
  vmType: VmTypeName = 'default',
  options: KvmOptions = {},
  amx = false,
): PlaceSpec {
  return { host: hostNamed(given), given, vmType, amx, options: { policy: 'paranoid', ...options } };
}

const known = new Map<PlaceSpec, Place>();

/** The place, booted once. */
export function placeOf(spec: PlaceSpec): Place {
  const place = known.get(spec) ?? new Place(spec);
  known.set(spec, place);
  return place;
}

/** One place of each kind. */
export const PLACES: readonly PlaceSpec[] = [
  specOf('sapphire-rapids', 'default', {}, true),
  specOf('granite-rapids', 'tdx'),
  specOf('genoa'),
  specOf('zhaoxin-kh40000'),
];

export const NAMED = PLACES.map((spec) => [placeName(spec), spec] as const);

/** The laws that need nothing but the simulator. */
export const OWN_LAWS = LAWS.filter(({ share }) => share > 0);

export function planOf(change: Partial<Plan> = {}): Plan {
  const laws = OWN_LAWS.map(({ name }) => name);
  return { seed: 7, places: PLACES, laws, first: 0, end: 20_000, shard: { index: 0, count: 1 }, ...change };
}
