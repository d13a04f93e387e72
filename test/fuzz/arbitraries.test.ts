import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { host, ioctlSequence, performIoctls, TABLE_KINDS, type TableKind, table } from '../../src/fuzz/index.js';
import { bootKvm, Checker, type KvmModule, KvmNotLoaded, Vmm } from '../../src/index.js';
import { KVM_SET_CPUID2 } from '../../src/kvm/abi.js';
import { hostNamed } from '../support/platforms.js';
import { runs } from '../support/runs.js';

const sapphireRapids = hostNamed('sapphire-rapids');

describe('tables', () => {
  const checker = new Checker(sapphireRapids);

  test.each(TABLE_KINDS)('of kind %s are accepted and refused', (kind: TableKind) => {
    const verdicts = new Set<string>();
    fc.assert(
      fc.property(table({ kinds: [kind] }), (entries) => {
        verdicts.add(checker.check(entries).errno);
      }),
      { seed: 1, numRuns: 150 },
    );
    expect(verdicts).toContain('OK');
    // What a VMM passes on is what KVM reports, and less.
    if (kind !== 'vmm') expect(verdicts).toContain('EINVAL');
    if (kind === 'wild') expect(verdicts).toContain('E2BIG');
  });

  test('are made from what is given', () => {
    const reported = [{ function: 7, index: 0, flags: 1, eax: 0, ebx: 0, ecx: 0, edx: 0 }];
    const kinds = ['mutated'] as const;
    fc.assert(
      fc.property(table({ reported, kinds, mutations: 0 }), (entries) => {
        expect(entries).toEqual(reported);
      }),
    );
  });
});

describe('hosts', () => {
  const isAccepted = (module: KvmModule): boolean => {
    const vmm = new Vmm(module);
    const vm = vmm.prepareVm(0);
    return vmm.setCpuid2(vmm.createVcpu(vm), vmm.supported().entries) === 'OK';
  };

  test.each(['intel', 'amd', 'centaur'] as const)('%s: boot, and accept what they report', (vendor) => {
    fc.assert(
      fc.property(host({ vendor }), (description) => {
        try {
          expect(isAccepted(bootKvm(description, { policy: 'paranoid' }))).toBe(true);
        } catch (error) {
          if (!(error instanceof KvmNotLoaded)) throw error;
        }
      }),
      runs(40),
    );
  });

  test('have no sub-leaf for an XSAVE component that they lack, and a size that fits those they have', () => {
    fc.assert(
      fc.property(host(), ({ cpus }) => {
        const rows = cpus[0]!.filter((row) => row.function === 0xd);
        const [first, second] = rows;
        const components = (first!.eax | (second?.ecx ?? 0)) >>> 0;
        for (const { index, eax } of rows.slice(2)) if (eax !== 0) expect((components >>> index) & 1).toBe(1);
        const ends = rows.slice(2).filter(({ ecx }) => (ecx & 1) === 0);
        expect(first!.ecx).toBe(Math.max(576, ...ends.map(({ eax, ebx }) => eax + ebx)));
      }),
      runs(100),
    );
  });

  test('shrink to a real one without the feature that matters', () => {
    const { counterexample } = fc.check(
      fc.property(host({ vendor: 'intel' }), ({ cpus }) =>
        cpus[0]!.some((row) => row.function === 7 && row.index === 0 && (row.ebx & 0x20) !== 0),
      ),
      { seed: 1, numRuns: 300 },
    );
    expect(counterexample![0].name).toMatch(/^[\w-]+ without AVX2, \d+ cores$/);
  });
});

describe('sequences of ioctls', () => {
  test.each(['paranoid', 'off', 'denylist'] as const)('are answered as the model says: %s', (policy) => {
    const module = bootKvm(sapphireRapids, { policy });
    fc.assert(
      fc.property(ioctlSequence(), (commands) => performIoctls(module, commands)),
      runs(60),
    );
  });

  test('find a kernel that forgets to verify, in few commands', () => {
    const module = bootKvm(sapphireRapids, { policy: 'paranoid' });
    const forgetful = (commands: Parameters<typeof performIoctls>[1]) => {
      const { spawn } = module.kernel;
      module.kernel.spawn = (options) => {
        const process = spawn.call(module.kernel, options);
        const ioctl = process.ioctl.bind(process);
        process.ioctl = (fd, request, argument) => {
          const answer = ioctl(fd, request, argument);
          return request === KVM_SET_CPUID2 && answer === -22 ? 0 : answer;
        };
        return process;
      };
      try {
        performIoctls(module, commands);
      } finally {
        module.kernel.spawn = spawn;
      }
    };
    const report = fc.check(
      fc.property(ioctlSequence({ processes: 1 }), (commands) => forgetful(commands)),
      { seed: 1, numRuns: 300 },
    );
    expect(report.failed).toBe(true);
    expect(String(report.counterexample![0]).split('),').length).toBeLessThanOrEqual(5);
  });
});
