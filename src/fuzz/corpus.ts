import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError } from '../cpuid/errors.js';
import type { CoverageArrays } from './coverage.js';
import type { FuzzFinding } from './finding.js';
import { type PlaceSpec, placeName } from './place.js';
import type { Plan } from './plan.js';

const STATE = 'state.json';

/** Where a campaign stopped. */
export interface CampaignState {
  /** The next case, and how many have been done before it. */
  readonly next: number;
  readonly runs: number;
  readonly seed: number;
  /** Of what campaign: laws, places, shard. */
  readonly campaign: string;
  readonly coverage: readonly (readonly [place: number, arrays: CoverageArrays])[];
}

/** A folder of findings, a file each, and of where the campaign stopped. */
export class Corpus {
  private readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  /** Writes a finding that is not there yet. Returns the path of its file, new or not. */
  save(finding: FuzzFinding): string {
    const path = join(this.folder, `${finding.property}-${slug(finding.cell)}.json`);
    if (!existsSync(path)) {
      const document = { ...finding, replay_file: `kvm-cpuid fuzz --replay ${path}` };
      writeFileSync(path, `${JSON.stringify(document, null, 2)}\n`);
    }
    return path;
  }

  /** Writes where the campaign stopped. */
  saveState(plan: Plan, next: number, runs: number, coverage: ReadonlyMap<number, CoverageArrays>): void {
    const plain = ({ accepted, refused, seen }: CoverageArrays) => ({
      accepted: [...accepted],
      refused: [...refused],
      seen: [...seen],
    });
    const places = [...coverage].map(([place, arrays]) => [place, plain(arrays)]);
    const state = { next, runs, seed: plan.seed, campaign: fingerprint(plan), coverage: places };
    writeFileSync(join(this.folder, STATE), `${JSON.stringify(state)}\n`);
  }

  /**
   * Where the campaign stopped.
   *
   * @throws FormatError when there is no such file, or none that {@link saveState} has written
   */
  loadState(): CampaignState {
    const path = join(this.folder, STATE);
    if (!existsSync(path)) throw new FormatError('no such file', path, 'the state of a campaign that was stopped');
    const state = readJson(path) as Partial<CampaignState>;
    if (!Number.isInteger(state.next) || !Number.isInteger(state.seed) || !Array.isArray(state.coverage))
      throw new FormatError('no campaign in it', path, 'next, runs, seed, campaign, coverage');
    return { ...(state as CampaignState), coverage: state.coverage.map(([place, arrays]) => [place, typed(arrays)]) };
  }
}

const typed = ({ accepted, refused, seen }: CoverageArrays): CoverageArrays => ({
  accepted: Int32Array.from(accepted),
  refused: Int32Array.from(refused),
  seen: Int32Array.from(seen),
});

/** What must be the same for a campaign to go on: laws, shard, and of each place all that decides about a verdict there. */
export const fingerprint = ({ laws, places, shard }: Plan): string =>
  [`${shard.index + 1}/${shard.count}`, ...laws, ...places.map(placeDetails)].join('; ');

function placeDetails(spec: PlaceSpec): string {
  const { kernel, cmdline, parameters } = spec.host.inputs;
  const { policy = 'off', defects = [], tdxModule = 'newest', placement, reserved } = spec.options;
  const details = [
    placeName(spec),
    `kernel ${kernel}`,
    `policy ${policy}`,
    ...(spec.vmType === 'tdx' ? [`module ${tdxModule}`] : []),
    ...defects.map((defect) => `defect ${defect}`),
    ...(placement === undefined || placement === 'separate' ? [] : [`placement ${placement}`]),
    ...(reserved === undefined || reserved === 'zero' ? [] : [`reserved ${reserved}`]),
    ...[...parameters].map(([name, value]) => `${name}=${value}`),
    ...(cmdline === '' ? [] : [cmdline]),
  ];
  return details.join(', ');
}

const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 80);

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new FormatError((error as Error).message, path, 'JSON');
  }
}

/**
 * Reads the file of a finding.
 *
 * @throws FormatError when it is none
 */
export function readFinding(path: string, document: unknown): FuzzFinding {
  const finding = document as Partial<FuzzFinding> | null;
  const strings = [finding?.property, finding?.host, finding?.vm_type, finding?.cell];
  if (!strings.every((text) => typeof text === 'string') || !Array.isArray(finding?.entries))
    throw new FormatError('no finding in it', path, 'a file that kvm-cpuid fuzz --corpus has written');
  return finding as FuzzFinding;
}
