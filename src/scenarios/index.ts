import type { Policy } from '../kvm/policy.js';
import type { Scenario, ScenarioRun, Variant } from './scenario.js';
import { Stage } from './stage.js';
import { waitpkgTd } from './waitpkg-td.js';

export type { Changed, Moment, Outcome, Sample, Scenario, ScenarioRun, Variant } from './scenario.js';
export type { Stage } from './stage.js';

/** All scenarios, in the order in which they are told. */
export const SCENARIOS: readonly Scenario[] = [waitpkgTd];

/** Gets a variant of a scenario ready: `.run()` plays it. */
export function playScenario(scenario: Scenario, variant: Variant): Stage {
  return new Stage(scenario, variant);
}

/** Plays one variant of a scenario. */
export function runScenario(scenario: Scenario, variant: Variant): ScenarioRun {
  return playScenario(scenario, variant).run();
}

/** All variants of a scenario that are worth comparing. */
export function variantsOf(scenario: Scenario, policies: readonly Policy[]): readonly Variant[] {
  const modules = scenario.guest === 'td' ? scenario.modules : [null];
  return scenario.kernels.flatMap((kernel) =>
    modules.flatMap((module) => policies.map((policy) => ({ policy, kernel, module }))),
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
