import { describe, expect, test } from 'vitest';
import type { KernelLine } from '../../src/index.js';
import type { Defect, Policy } from '../../src/kvm/policy.js';
import { runScenario, SCENARIOS, type ScenarioRun } from '../../src/scenarios/index.js';

/** What the stories about ordinary VMs come to. */
function play(name: string, policy: Policy, kernel?: KernelLine, defects?: readonly Defect[]): ScenarioRun {
  const scenario = SCENARIOS.find((item) => item.name === name)!;
  const variant = { policy, kernel: kernel ?? scenario.kernels.at(-1)!, module: null };
  return runScenario(scenario, defects ? { ...variant, defects } : variant);
}

const says = ({ outcome, ioctl, changed }: ScenarioRun): string =>
  ioctl ?? (outcome === 'harmless' ? outcome : changed[0]!.what);

const LOG = 'line 1 of the kernel log';

describe.each<readonly [string, off: string, paranoid: string]>([
  ['waitpkg-vmx', 'harmless', 'harmless'],
  ['la57-vm', LOG, 'KVM_SET_CPUID2'],
  ['pt-vm', LOG, 'KVM_SET_CPUID2'],
  ['bus-lock-advertised', 'guest: a bus lock with DEBUGCTL[2]: #DB', 'KVM_SET_CPUID2'],
  ['bus-lock-svm', 'guest: a bus lock in its user mode: #DB', 'guest: a bus lock in its user mode: #DB'],
  ['rdpid-vm', 'RDPID in the kernel: per-CPU data of CPU', 'RDPID in the kernel: per-CPU data of CPU'],
])('%s', (name, off, paranoid) => {
  test('what mainline lets happen, and what paranoid mode makes of it', () => {
    expect([says(play(name, 'off')), says(play(name, 'paranoid'))]).toEqual([off, paranoid]);
  });

  test('policies that are about TDs change nothing', () => {
    expect(says(play(name, 'denylist'))).toBe(off);
    expect(says(play(name, 'allowlist'))).toBe(off);
  });
});

test('waitpkg-vmx: without the shadow the host’s limit is gone', () => {
  const { outcome, changed } = play('waitpkg-vmx', 'paranoid', '7.3', ['umwait-passthrough']);
  expect(outcome).toBe('clobbered');
  expect(changed.map(({ what }) => what)).toContain('IA32_UMWAIT_CONTROL');
});

describe('la57-vm', () => {
  test('has three locks: CR4, since 6.13 the width of MSRs, and paranoid mode', () => {
    expect(says(play('la57-vm', 'off', '6.1', []))).toBe('KVM_SET_SREGS');
    expect(says(play('la57-vm', 'off', '6.12'))).toBe(LOG);
    expect(says(play('la57-vm', 'off', '6.18'))).toBe('KVM_SET_MSRS');
    expect(says(play('la57-vm', 'off', '6.18', []))).toBe('KVM_SET_SREGS');
  });

  test('the WRMSR faults before the entry fails', () => {
    const { moments, cycle } = play('la57-vm', 'off');
    const texts = moments.map(({ text }) => text);
    const printed = texts.findIndex((text) => text.includes('WRMSR to 0xc0000102'));
    expect(moments[printed]!.cycle).toBe(cycle);
    expect(texts.indexOf('KVM_RUN: KVM_EXIT_FAIL_ENTRY')).toBeGreaterThan(printed);
  });
});

test('rdpid-vm: user mode never sees the guest’s number, and in the end the kernel does not either', () => {
  const { changed } = play('rdpid-vm', 'paranoid');
  expect(changed).toEqual([
    { what: 'RDPID in the kernel: per-CPU data of CPU', before: '0', after: '5', lasting: false },
  ]);
});

test('bus-lock-svm: without the defect the guests of both CPUs see the same', () => {
  expect(says(play('bus-lock-svm', 'off', '7.3', []))).toBe('harmless');
});
