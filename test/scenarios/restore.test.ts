import { describe, expect, test } from 'vitest';
import { TDX_USER_RETURN_ROWS } from '../../src/linux/user-return-rows.js';
import { type RestoreOptions, runScenario, SCENARIOS } from '../../src/scenarios/index.js';
import { TD_RESTORE_ROWS } from '../../src/tdx/restore-rows.js';

/** What the controls find changed when KVM is not what it is. */
function harm(options: RestoreOptions): readonly string[] {
  const controls = SCENARIOS.filter(({ control, guest }) => control && guest === 'td');
  return controls.flatMap((scenario) => {
    const [module = null] = scenario.modules;
    const variant = { policy: 'paranoid', kernel: scenario.kernels.at(-1)!, module } as const;
    return runScenario(scenario, variant, options).changed.map(({ what }) => what);
  });
}

/** The states of a row: `DR{0-3}` is four. */
function statesOf(state: string): readonly string[] {
  const range = /^(.*)\{(\d)-(\d)\}$/.exec(state);
  if (!range) return [state];
  return [...Array(Number(range[3]) + 1).keys()].slice(Number(range[2])).map((at) => `${range[1]}${at}`);
}

const without = <T>(rows: readonly T[], row: T): readonly T[] => rows.filter((item) => item !== row);

describe('save and restore is all that keeps the host whole', () => {
  test('with all of it nothing is changed', () => {
    expect(harm({})).toEqual([]);
  });

  // Linux has 0 in IA32_XFD_ERR whenever KVM runs a guest, and the module leaves 0.
  const visible = TD_RESTORE_ROWS.filter(({ state }) => state !== 'IA32_XFD_ERR');

  test.each(visible.map((row) => [row.state, row] as const))('without the row of %s a control fails', (state, row) => {
    const changed = harm({ restore: without(TD_RESTORE_ROWS, row) });
    for (const name of statesOf(state)) expect(changed).toContain(name);
  });

  test.each(TDX_USER_RETURN_ROWS.map((row) => [row.msr, row] as const))(
    'without %s among the user-return MSRs a control fails',
    (msr, row) => {
      expect(harm({ userReturn: without(TDX_USER_RETURN_ROWS, row) })).toContain(`CPU 1: ${msr}`);
    },
  );

  test('without IA32_LSTAR the next system call does not come back', () => {
    const lstar = TDX_USER_RETURN_ROWS.find(({ msr }) => msr === 'IA32_LSTAR')!;
    const changed = harm({ userReturn: without(TDX_USER_RETURN_ROWS, lstar) });
    expect(changed).toContain('CPU 1: a system call from user mode: end');
  });
});
