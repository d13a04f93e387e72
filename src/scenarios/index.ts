import type { Scenario, ScenarioRun, Variant } from './scenario.js';
import { Stage } from './stage.js';
import { waitpkgTd } from './waitpkg-td.js';

export type { Changed, Moment, Outcome, Sample, Scenario, ScenarioRun, Variant } from './scenario.js';

/** All scenarios, in the order in which they are told. */
export const SCENARIOS: readonly Scenario[] = [waitpkgTd];

/** Plays one variant of a scenario. */
export function runScenario(scenario: Scenario, variant: Variant): ScenarioRun {
  return new Stage(scenario, variant).run();
}
