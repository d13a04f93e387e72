import { isGuestLaw } from '../../fuzz/law.js';
import { LAWS, lawNamed } from '../../fuzz/laws/index.js';
import { Place, type PlaceSpec } from '../../fuzz/place.js';
import { Dealer, type Plan } from '../../fuzz/plan.js';
import { THIS_MACHINE, thisMachine } from '../../fuzz/this-machine.js';
import { builtInHosts, IoctlFailed, KvmNotLoaded, VM_TYPES, type VmTypeName } from '../../index.js';
import type { RuleLines } from '../../kvm/paranoid/rule-lines.js';
import { UsageError } from '../failure.js';
import { hostOf, type KernelCliOptions } from '../options.js';
import { remark } from '../output.js';

/** What `kvm-cpuid fuzz` was asked for. */
export interface FuzzCliOptions extends KernelCliOptions {
  readonly list?: boolean;
  readonly property: readonly string[];
  readonly hosts: readonly string[];
  readonly vmTypes: readonly string[];
  /** TDX module of the hosts. */
  readonly module?: string;
  readonly runs?: number;
  /** Milliseconds. */
  readonly for?: number;
  readonly seed?: number;
  readonly first?: number;
  readonly shard: { readonly index: number; readonly count: number };
  readonly workers?: number;
  readonly corpus?: string;
  readonly resume?: boolean;
  readonly replay?: string;
  readonly report?: string;
}

const DEFAULT_RUNS = 1_000_000;
/** A guest takes as long as thousands of tables. */
const DEFAULT_GUESTS = 2048;

/** A plan, and the rules of each of its places. */
export interface Prepared {
  readonly plan: Plan;
  readonly rules: readonly RuleLines[];
}

/** What a campaign with these options does. Boots every place once, to see which there are. */
export function prepare(options: FuzzCliOptions): Prepared {
  const laws = lawsOf(options);
  const places = placesOf(options);
  if (places.length === 0) throw new UsageError('none of these hosts offers VMs of these types');
  const guests = laws.every((name) => isGuestLaw(lawNamed(name)!));
  const { first = 0, runs = guests ? DEFAULT_GUESTS : DEFAULT_RUNS, shard } = options;
  const plan: Plan = {
    seed: options.seed ?? Date.now() % 2 ** 32,
    places: places.map(({ spec }) => spec),
    laws,
    first,
    end: options.for === undefined ? first + runs : Number.POSITIVE_INFINITY,
    shard,
  };
  if (new Dealer(plan).isEmpty) throw new UsageError(`--property ${laws}: says nothing about any of these VMs`);
  return { plan, rules: places.map((place) => place.rules) };
}

function lawsOf({ property }: FuzzCliOptions): string[] {
  for (const name of property) {
    if (!lawNamed(name))
      throw new UsageError(`--property ${name}: expected one of ${LAWS.map((law) => law.name).join(', ')}`);
  }
  return property.length > 0 ? [...new Set(property)] : LAWS.filter(({ share }) => share > 0).map(({ name }) => name);
}

/** The places of a campaign; each is booted, and those that the hosts do not offer are left out. */
function placesOf(options: FuzzCliOptions): Place[] {
  const names = options.hosts.length > 0 ? options.hosts : defaultHosts(options);
  return names.flatMap((given) => {
    const host = given === THIS_MACHINE ? thisMachine() : hostOf({ ...options, host: given });
    return vmTypesOf(options).flatMap((vmType) =>
      permissionsOf(options).flatMap((amx) => {
        const place = boot({ given, host, vmType, amx, options: kvmOptions(options) });
        return place === null || (amx && !matters(place, options)) ? [] : [place];
      }),
    );
  });
}

/** All built-in hosts; for `live` alone this machine, if it is one that the simulator can boot. */
function defaultHosts({ property }: FuzzCliOptions): readonly string[] {
  const builtIn = builtInHosts().map(({ name }) => name);
  if (property.length !== 1 || property[0] !== 'live') return builtIn;
  try {
    new Place({ host: thisMachine(), given: THIS_MACHINE, vmType: 'default', amx: false, options: {} });
    return [THIS_MACHINE];
  } catch (error) {
    const why = (error as Error).message;
    remark(`this machine cannot be simulated (${why}): tables of other hosts are tried, and verdicts compared`);
    return builtIn;
  }
}

function boot(spec: PlaceSpec): Place | null {
  try {
    return new Place(spec);
  } catch (error) {
    if (error instanceof IoctlFailed || error instanceof KvmNotLoaded) return null;
    throw error;
  }
}

function vmTypesOf({ vmTypes }: FuzzCliOptions): readonly VmTypeName[] {
  if (vmTypes.length === 0) return ['default', 'tdx'];
  for (const name of vmTypes) {
    if (!Object.hasOwn(VM_TYPES, name))
      throw new UsageError(`--vm-types ${name}: expected one of ${Object.keys(VM_TYPES).join(', ')}`);
  }
  return vmTypes as readonly VmTypeName[];
}

function permissionsOf({ guestPerm }: FuzzCliOptions): readonly boolean[] {
  for (const name of guestPerm) {
    if (name !== 'amx' && name !== 'none') throw new UsageError(`--guest-perm ${name}: expected amx or none`);
  }
  return guestPerm.length === 0 ? [false, true] : [...new Set(guestPerm.map((name) => name === 'amx'))];
}

const XTILE_DATA = 1 << 18;

/** Whether permission for AMX makes a difference, or was asked for. */
function matters({ module, overlay }: Place, { guestPerm }: FuzzCliOptions): boolean {
  return guestPerm.length > 0 || (module.caps(overlay).supportedXcr0 & XTILE_DATA) !== 0;
}

const kvmOptions = (options: FuzzCliOptions): PlaceSpec['options'] => {
  const { policy = 'paranoid', reserved, defect, placement, module } = options;
  return { policy, reserved, defects: defect, placement, ...(module !== undefined && { tdxModule: module }) };
};

/** The options about kernel and process that were given, for the file of a finding. */
export function kernelOptions(options: FuzzCliOptions): Partial<KernelCliOptions & { module: string }> {
  const { module, policy, kernel, param, cmdline, hostFile, cpu, reserved, placement, defect } = options;
  return {
    ...{ param, cpu, reserved, placement, defect },
    ...(module !== undefined && { module }),
    ...(policy !== undefined && { policy }),
    ...(kernel !== undefined && { kernel }),
    ...(cmdline !== undefined && { cmdline }),
    ...(hostFile !== undefined && { hostFile }),
  };
}

/** The options that lead to a place, as a user would write them. */
export function placeOptions({ given, vmType, amx }: PlaceSpec, options: FuzzCliOptions): string {
  const pairs: (readonly [name: string, value: string | undefined])[] = [
    ['--hosts', given],
    ['--vm-types', vmType],
    ['--guest-perm', amx ? 'amx' : 'none'],
    ['--module', options.module],
    ['--policy', options.policy],
    ['--kernel', options.kernel],
    ...options.param.map((value) => ['--param', value] as const),
    ['--cmdline', options.cmdline],
    ['--host-file', options.hostFile],
    ['--cpu', options.cpu === 0 ? undefined : String(options.cpu)],
    ['--reserved', options.reserved === 'zero' ? undefined : options.reserved],
    ['--placement', options.placement === 'separate' ? undefined : options.placement],
    ...options.defect.map((value) => ['--defect', value] as const),
  ];
  return pairs.flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${quoted(value)}`])).join(' ');
}

const quoted = (text: string): string => (/^[\w./,=:@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
