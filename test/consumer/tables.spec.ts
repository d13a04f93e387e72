import fc from 'fast-check';
import {
  bootKvm,
  builtInHost,
  Checker,
  type CpuidEntry2,
  describeBuiltIn,
  impliedByVmType,
  KvmNotLoaded,
  Vmm,
} from 'kvm-cpuid';
import {
  entry,
  type GuestProgram,
  guestProgram,
  host,
  ioctlSequence,
  performIoctls,
  type TableOptions,
  type TdParams,
  table,
  tdConfiguration,
  tdOffer,
  tdParams,
  word,
} from 'kvm-cpuid/fuzz';
import { describe, expect, test } from 'vitest';

// A VMM's own code under test: it hides a feature from its guests, and forgets the entries whose index does not count.
const WAITPKG = 1 << 5;
const hideWaitpkg = (entries: readonly CpuidEntry2[]): CpuidEntry2[] =>
  entries.map((item) =>
    item.function === 7 && item.index === 0 && item.flags === 1
      ? { ...item, ecx: (item.ecx & ~WAITPKG) >>> 0 }
      : { ...item },
  );
const showsWaitpkg = (entries: readonly CpuidEntry2[]): boolean =>
  entries.some(({ function: fn, index, flags, ecx }) => fn === 7 && (index === 0 || flags === 0) && ecx & WAITPKG);

const sapphireRapids = describeBuiltIn(builtInHost('sapphire-rapids')!);

describe('arbitraries from the outside', () => {
  test('a bug shrinks to the entry and the bit', () => {
    const report = fc.check(
      fc.property(table(), (entries) => !showsWaitpkg(hideWaitpkg(entries))),
      { seed: 7, numRuns: 5000 },
    );
    expect(report.failed).toBe(true);
    const [smallest] = report.counterexample!;
    expect(smallest).toHaveLength(1);
    expect(smallest[0]).toMatchObject({ function: 7, flags: 0, eax: 0, ebx: 0, ecx: WAITPKG, edx: 0 });
  });

  test('the nearest accepted table of any table is accepted', () => {
    const checker = new Checker(sapphireRapids);
    const options: TableOptions = { kinds: ['mutated', 'adversarial'], mutations: 3 };
    fc.assert(
      fc.property(table(options), (entries) => checker.check(checker.check(entries).acceptedTable).accepted),
      { seed: 1, numRuns: 50 },
    );
  });

  test('every host accepts what it reports', () => {
    fc.assert(
      fc.property(host({ vendor: 'intel' }), (description) => {
        try {
          const vmm = new Vmm(bootKvm(description));
          return vmm.setCpuid2(vmm.createVcpu(vmm.createVm(0)), vmm.supported().entries) === 'OK';
        } catch (error) {
          if (error instanceof KvmNotLoaded) return true;
          throw error;
        }
      }),
      { seed: 1, numRuns: 10 },
    );
  });

  test('sequences of ioctls are answered as the model says', () => {
    const module = bootKvm(sapphireRapids, { policy: 'paranoid' });
    fc.assert(
      fc.property(ioctlSequence(), (commands) => performIoctls(module, commands)),
      { seed: 1, numRuns: 20 },
    );
  });

  test('TDs: what a policy refuses shrinks to one feature', () => {
    const { host: capable, options } = impliedByVmType(sapphireRapids, 'tdx');
    const vmm = new Vmm(bootKvm(capable, { ...options, policy: 'paranoid' }), { guestPermissions: [18] });
    const creates = (params: TdParams): boolean => {
      const { vm, vcpus, failed } = vmm.createTd(tdConfiguration(params, vmm));
      for (const fd of [...vcpus, vm]) vmm.process.close(fd);
      return failed === null;
    };
    const { counterexample } = fc.check(fc.property(tdParams(), creates), { seed: 1, numRuns: 200 });
    expect(counterexample![0].features).toHaveLength(1);
    const offered = fc.property(tdParams({ offer: tdOffer(vmm) }), ({ features }) => !features.includes('WAITPKG'));
    fc.assert(offered, { seed: 1, numRuns: 100 });
  });

  test('programs of guests shrink to the instruction', () => {
    const quiet = ({ instructions }: GuestProgram): boolean => !instructions.some(({ name }) => name === 'xsetbv');
    const { counterexample } = fc.check(fc.property(guestProgram({ guest: 'td' }), quiet), { seed: 1, numRuns: 1000 });
    expect(counterexample![0].listing).toEqual(['xsetbv 0x0']);
    expect(counterexample![0].code).toBeInstanceOf(Uint8Array);
  });

  test('words and entries', () => {
    fc.assert(
      fc.property(word(), entry(), (value, item) => value >>> 0 === value && item.function >>> 0 === item.function),
    );
  });
});
