import type { TdxModel } from '../kvm/td.js';
import { FUTURE_MODULES, type FutureModule, TDX_MODULE_VERSIONS, type TdxModuleVersion } from './module.js';

/** Names of the TDX modules that can be had by name: the published versions, oldest first, and the declared ones. */
export const TDX_MODULE_NAMES: readonly string[] = [...TDX_MODULE_VERSIONS, ...FUTURE_MODULES.map(({ name }) => name)];

const NEWEST: TdxModuleVersion = TDX_MODULE_VERSIONS[TDX_MODULE_VERSIONS.length - 1]!;

/**
 * The module that a name means; the newest published one when nobody says. Descriptions are taken as they are.
 *
 * @throws RangeError for a name that is not known
 */
export function resolveModel(model: TdxModel | undefined): TdxModuleVersion | FutureModule {
  if (model === undefined) return NEWEST;
  if (typeof model !== 'string') return model as FutureModule;
  const version = TDX_MODULE_VERSIONS.find((candidate) => candidate === model);
  const found = version ?? FUTURE_MODULES.find(({ name }) => name === model);
  if (!found) throw new RangeError(`no TDX module is called ${model}: expected one of ${TDX_MODULE_NAMES.join(', ')}`);
  return found;
}
