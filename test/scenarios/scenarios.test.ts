import { describe, expect, test } from 'vitest';
import { builtInHost } from '../../src/hosts/index.js';
import { KERNEL_LINES, POLICIES, TDX_MODULE_NAMES } from '../../src/index.js';
import { runScenario, SCENARIOS, type ScenarioRun, type Variant, variantsOf } from '../../src/scenarios/index.js';

/** One line of the table: what differs is the policy alone. */
interface Line extends Omit<Variant, 'policy'> {
  readonly runs: readonly ScenarioRun[];
}

const lineOf = ({ kernel, module, defects }: Variant): string => [kernel, module, defects].join(' ');

/** What happened, without the cycles at which it did: what a policy looks at takes time. */
const storyOf = ({ outcome, changed, samples, spans }: ScenarioRun) => ({
  outcome,
  changed,
  values: samples.map(({ cpu, name, value }) => [cpu, name, value]),
  guests: spans.filter(({ lane }) => lane === 'guest').map(({ cpu, from, to }) => [cpu, to - from]),
});

function linesOf(name: string): readonly Line[] {
  const scenario = SCENARIOS.find((item) => item.name === name)!;
  const variants = variantsOf(scenario, POLICIES);
  return [...new Set(variants.map(lineOf))].map((key) => {
    const own = variants.filter((variant) => lineOf(variant) === key);
    return { ...own[0]!, runs: own.map((variant) => runScenario(scenario, variant)) };
  });
}

describe.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))('%s', (name, scenario) => {
  const lines = linesOf(name);
  const runs = lines.flatMap((line) => line.runs);

  test('says what it needs, and what can be known about it', () => {
    expect(scenario.title).toMatch(/^\S.*[^.]$/);
    for (const text of [scenario.story, scenario.limits]) expect(text).toMatch(/\.$/);
    expect(scenario.sources.length).toBeGreaterThan(0);
    expect(builtInHost(scenario.host)).toBeDefined();
    for (const kernel of scenario.kernels) expect(KERNEL_LINES).toContain(kernel);
    for (const module of scenario.modules) expect(TDX_MODULE_NAMES).toContain(module);
    expect(scenario.modules.length > 0).toBe(scenario.guest === 'td');
  });

  test('is prevented exactly where an ioctl says no, and then nothing has happened', () => {
    for (const { outcome, ioctl, errno, cycle, changed, spans } of runs) {
      expect(ioctl !== null).toBe(outcome === 'prevented');
      expect(errno !== null).toBe(outcome === 'prevented');
      expect(changed.length > 0).toBe(outcome === 'clobbered');
      expect(cycle !== null).toBe(outcome === 'clobbered');
      if (outcome === 'prevented') expect(spans.filter(({ lane }) => lane === 'guest')).toEqual([]);
    }
  });

  test('a policy that lets it pass changes nothing else: the symptom is there in all such runs, or in none', () => {
    for (const line of lines) {
      const passed = line.runs.filter(({ outcome }) => outcome !== 'prevented');
      for (const run of passed) expect(storyOf(run)).toEqual(storyOf(passed[0]!));
    }
  });

  test(
    scenario.control ? 'never harms the host' : 'harms the host where nothing prevents it, on some line at least',
    () => {
      const harmed = runs.filter(({ outcome }) => outcome === 'clobbered');
      expect(harmed.length > 0).toBe(!scenario.control);
    },
  );

  test('a counterfactual kernel is called one', () => {
    for (const { policy, notes } of runs)
      expect(notes.some((note) => note.includes('counterfactual'))).toBe(policy === 'off' && scenario.guest === 'td');
  });

  test('the host tries something before and after, in machine code', () => {
    for (const { outcome, spans } of runs) {
      const host = spans.filter(({ lane, from, to }) => lane === 'host' && to > from);
      expect(host.length).toBeGreaterThanOrEqual(outcome === 'prevented' ? 1 : 2);
    }
  });

  test('the same again is the same to the byte', () => {
    const { policy, kernel, module, defects } = runs[0]!;
    expect(JSON.stringify(runScenario(scenario, { policy, kernel, module, defects }))).toBe(JSON.stringify(runs[0]));
  });
});

test('names are told apart', () => {
  expect(new Set(SCENARIOS.map(({ name }) => name)).size).toBe(SCENARIOS.length);
});
