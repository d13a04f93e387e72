import { genoa } from './amd/genoa.js';
import { milan } from './amd/milan.js';
import { naples } from './amd/naples.js';
import { rome } from './amd/rome.js';
import { turin } from './amd/turin.js';
import { type BuiltInHost, buildHost } from './build.js';
import { cascadeLake } from './intel/cascade-lake.js';
import { emeraldRapids } from './intel/emerald-rapids.js';
import { graniteRapids } from './intel/granite-rapids.js';
import { iceLakeSp } from './intel/ice-lake-sp.js';
import { sapphireRapids } from './intel/sapphire-rapids.js';
import { skylakeSp } from './intel/skylake-sp.js';
import type { HostModel } from './model.js';
import { kh40000 } from './zhaoxin/kh40000.js';

export type { BuiltInHost } from './build.js';

/** The models, newest first within a vendor. */
export const HOST_MODELS: readonly HostModel[] = [
  graniteRapids,
  emeraldRapids,
  sapphireRapids,
  iceLakeSp,
  cascadeLake,
  skylakeSp,
  turin,
  genoa,
  milan,
  rome,
  naples,
  kh40000,
];

const built = new Map<string, BuiltInHost>();

function hostOf(model: HostModel): BuiltInHost {
  const host = built.get(model.name) ?? buildHost(model);
  built.set(model.name, host);
  return host;
}

/** All built-in hosts, newest first within a vendor. */
export function builtInHosts(): readonly BuiltInHost[] {
  return HOST_MODELS.map(hostOf);
}

/** The host of that name, or `undefined`. Built on first use. */
export function builtInHost(name: string): BuiltInHost | undefined {
  const model = HOST_MODELS.find((item) => item.name === name);
  return model && hostOf(model);
}
