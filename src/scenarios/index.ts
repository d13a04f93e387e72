import type { Policy } from '../kvm/policy.js';
import { busLockAdvertised } from './bus-lock-advertised.js';
import { busLockSvm } from './bus-lock-svm.js';
import { denylistBypass } from './denylist-bypass.js';
import { doitmTd } from './doitm-td.js';
import { emulatedWrongSubleaf } from './emulated-wrong-subleaf.js';
import { fredFutureModule } from './fred-future-module.js';
import { fredOverwrite } from './fred-overwrite.js';
import { fredTaskSwitch } from './fred-task-switch.js';
import { la57Vm } from './la57-vm.js';
import { ptVm } from './pt-vm.js';
import { rdpidVm } from './rdpid-vm.js';
import { restoredState } from './restored-state.js';
import type { Scenario, ScenarioRun, Variant } from './scenario.js';
import { Stage } from './stage.js';
import { staleUserReturn } from './stale-user-return.js';
import { syscallMsrs } from './syscall-msrs.js';
import type { StageOptions } from './td-guest.js';
import { tsxTd } from './tsx-td.js';
import { umwaitMany } from './umwait-many.js';
import { unknownFeature } from './unknown-feature.js';
import { waitpkgTd } from './waitpkg-td.js';
import { waitpkgTdWrite } from './waitpkg-td-write.js';
import { waitpkgVmx } from './waitpkg-vmx.js';

export type { Changed, Moment, Outcome, Sample, Scenario, ScenarioRun, Span, Variant } from './scenario.js';
export { changeText } from './scenario.js';
export type { Stage } from './stage.js';
export type { RestoreOptions, StageOptions } from './td-guest.js';

/** All scenarios, in the order in which they are told. */
export const SCENARIOS: readonly Scenario[] = [
  waitpkgVmx,
  la57Vm,
  ptVm,
  busLockSvm,
  busLockAdvertised,
  rdpidVm,
  waitpkgTd,
  waitpkgTdWrite,
  tsxTd,
  fredFutureModule,
  fredTaskSwitch,
  fredOverwrite,
  unknownFeature,
  denylistBypass,
  umwaitMany,
  syscallMsrs,
  restoredState,
  staleUserReturn,
  doitmTd,
  emulatedWrongSubleaf,
];

/** Gets a variant of a scenario ready: `.run()` plays it. */
export function playScenario(scenario: Scenario, variant: Variant, options?: StageOptions): Stage {
  return new Stage(scenario, variant, options);
}

/** Plays one variant of a scenario. */
export function runScenario(scenario: Scenario, variant: Variant, options?: StageOptions): ScenarioRun {
  return playScenario(scenario, variant, options).run();
}

/** All variants of a scenario that are worth comparing: with its defects and without them, where it has some. */
export function variantsOf(scenario: Scenario, policies: readonly Policy[]): readonly Variant[] {
  const modules = scenario.guest === 'td' ? scenario.modules : [null];
  const defects = scenario.defects ? [scenario.defects, []] : [[]];
  return scenario.kernels.flatMap((kernel) =>
    modules.flatMap((module) =>
      defects.flatMap((switched) => policies.map((policy) => ({ policy, kernel, module, defects: switched }))),
    ),
  );
}

/** Plays all variants, one after the other. */
export function* compareScenarios(
  scenarios: readonly Scenario[],
  policies: readonly Policy[],
): Generator<ScenarioRun, void, undefined> {
  for (const scenario of scenarios)
    for (const variant of variantsOf(scenario, policies)) yield runScenario(scenario, variant);
}
