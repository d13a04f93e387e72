import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { msrNamed } from '../../src/emu/msr-rows.js';
import { KERNEL_LINES } from '../../src/index.js';
import { TdxUserReturn, UserReturnMsrs } from '../../src/linux/user-return.js';
import {
  msrIndex,
  TDX_USER_RETURN_ROWS,
  tdxUserReturnRule,
  USER_RETURN_ROWS,
  userReturnRows,
} from '../../src/linux/user-return-rows.js';
import { executing } from '../support/executing.js';
import { runs } from '../support/runs.js';

const TSC_AUX = msrIndex('IA32_TSC_AUX');
const LSTAR = msrIndex('IA32_LSTAR');
const TSX_CTRL = msrIndex('IA32_TSX_CTRL');

function vmxHost() {
  const cpu = executing('sapphire-rapids').cpus[0]!;
  const msrs = cpu.userReturn;
  for (const { msr } of userReturnRows('vmx', '7.3')) msrs.add(msrIndex(msr));
  return { cpu, core: cpu.core, msrs };
}

describe('rows', () => {
  test.each(USER_RETURN_ROWS)('$vendor: $msr', ({ msr }) => {
    expect(msrNamed(msr).name).toBe(msr);
  });

  test('VMX has seven, SVM has TSC_AUX', () => {
    expect(userReturnRows('vmx', '6.1').map(({ msr }) => msr.slice(5))).toEqual([
      'FMASK',
      'LSTAR',
      'CSTAR',
      'EFER',
      'TSC_AUX',
      'STAR',
      'TSX_CTRL',
    ]);
    expect(userReturnRows('svm', '7.3').map(({ msr }) => msr)).toEqual(['IA32_TSC_AUX']);
  });

  test('the module’s fixed values are those of MSRs at their reset, as the silicon has them', () => {
    for (const { msr, value } of TDX_USER_RETURN_ROWS) expect([msr, msrNamed(msr).reset]).toEqual([msr, value]);
  });

  test('kernels write first since 6.19', () => {
    expect(KERNEL_LINES.filter((line) => tdxUserReturnRule(line) === 'before-entry')).toEqual(['7.1', '7.3']);
  });
});

describe('slots', () => {
  test('an MSR that is not there gets none; one that is there, one', () => {
    const { core } = executing('skylake-sp').cpus[0]!;
    const msrs = new UserReturnMsrs(core);
    expect(msrs.add(TSX_CTRL)).toBe(-1);
    expect([msrs.add(LSTAR), msrs.add(TSC_AUX), msrs.add(LSTAR)]).toEqual([0, 1, 0]);
    expect([msrs.count, msrs.find(TSC_AUX), msrs.find(TSX_CTRL)]).toEqual([2, 1, -1]);
  });

  test('hardware is written when the value differs from the one that is there', () => {
    const { cpu, core, msrs } = vmxHost();
    const slot = msrs.find(TSC_AUX);
    const { host } = msrs.values(slot);
    const before = core.clock.now[0]!;
    expect(msrs.set(slot, host)).toBe(true);
    expect([core.clock.now[0], msrs.registered]).toEqual([before, false]);
    expect(msrs.set(slot, 77n)).toBe(true);
    expect([core.msrs.get(TSC_AUX), msrs.values(slot)]).toEqual([77n, { index: TSC_AUX, host, curr: 77n }]);
    expect(core.clock.now[0]).toBeGreaterThan(before);
    cpu.prepareUserMode();
    expect([core.msrs.get(TSC_AUX), msrs.values(slot).curr, msrs.registered]).toEqual([host, host, false]);
  });

  test('masked bits stay the host’s', () => {
    const { core, msrs } = vmxHost();
    const kept = userReturnRows('vmx', '7.3').find(({ msr }) => msr === 'IA32_TSX_CTRL')!.kept!;
    expect(msrs.set(msrs.find(TSX_CTRL), 3n, ~kept)).toBe(true);
    expect(core.msrs.get(TSX_CTRL)).toBe(1n);
  });

  test('what WRMSR refuses changes nothing', () => {
    const { core, msrs } = vmxHost();
    const slot = msrs.find(LSTAR);
    const before = core.msrs.get(LSTAR);
    expect(msrs.set(slot, 1n << 63n)).toBe(false);
    expect([core.msrs.get(LSTAR), msrs.values(slot).curr, msrs.registered]).toEqual([before, before, false]);
  });

  test('whatever was set, user mode finds the host’s values', () => {
    const writes = fc.array(fc.tuple(fc.nat(6), fc.bigInt(0n, 3n)), { maxLength: 12 });
    fc.assert(
      fc.property(writes, (list) => {
        const { cpu, core, msrs } = vmxHost();
        const values = () => userReturnRows('vmx', '7.3').map(({ msr }) => core.msrs.get(msrIndex(msr)));
        const before = values();
        for (const [slot, value] of list) msrs.set(slot, value);
        cpu.prepareUserMode();
        expect(values()).toEqual(before);
      }),
      runs(100),
    );
  });
});

describe('TDX', () => {
  /** What TDH.VP.ENTER does to them: nothing when the module only pretends that the TD has exited. */
  const enter = ({ core }: ReturnType<typeof vmxHost>, synthesized: boolean) => {
    if (synthesized) return;
    for (const { msr, value } of TDX_USER_RETURN_ROWS) core.msrs.set(msrIndex(msr), value);
  };

  function run(rule: 'after-exit' | 'before-entry', synthesized: boolean, guestValue?: bigint) {
    const host = vmxHost();
    const tdx = new TdxUserReturn(host.msrs, rule);
    const slot = host.msrs.find(TSC_AUX);
    const wanted = host.msrs.values(slot).host;
    // Another VM on this CPU has left its own value, which is 0 as the module's.
    if (guestValue !== undefined) host.msrs.set(slot, guestValue);
    tdx.beforeEntry();
    enter(host, synthesized);
    tdx.afterExit();
    tdx.leaveGuestContext();
    host.cpu.prepareUserMode();
    return { wanted, lstar: host.core.msrs.get(LSTAR), end: host.cpu.runUser((a) => a.nop()).end, host };
  }

  test.each(['after-exit', 'before-entry'] as const)('%s: after a real exit everything is restored', (rule) => {
    const { lstar, end, host } = run(rule, false);
    expect(lstar).toBe(host.msrs.values(host.msrs.find(LSTAR)).host);
    expect(end).toBe('exited');
  });

  test.each(['after-exit', 'before-entry'] as const)('%s: so it is after an exit that never was', (rule) => {
    expect(run(rule, true).end).toBe('exited');
  });

  test('after-exit: a value that another VM wants is then taken to be in hardware, and is not', () => {
    const stale = (rule: 'after-exit' | 'before-entry') => {
      const host = vmxHost();
      const tdx = new TdxUserReturn(host.msrs, rule);
      tdx.beforeEntry();
      enter(host, true);
      tdx.afterExit();
      tdx.leaveGuestContext();
      // The next VM on this CPU wants 0 in STAR.
      const slot = host.msrs.find(msrIndex('IA32_STAR'));
      host.msrs.set(slot, 0n);
      return host.core.msrs.get(msrIndex('IA32_STAR'));
    };
    expect(stale('before-entry')).toBe(0n);
    expect(stale('after-exit')).toBe(0x0023_0010_0000_0000n);
  });

  test('without slots TDX cannot be enabled', () => {
    const { userReturn } = executing('sapphire-rapids').cpus[0]!;
    expect(() => new TdxUserReturn(userReturn, 'after-exit')).toThrow('IA32_FMASK is no user-return MSR');
  });
});
