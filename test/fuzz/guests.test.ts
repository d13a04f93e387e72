import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  drawInstructions,
  instructionText,
  parseInstruction,
  programOf,
  simplerInstructions,
} from '../../src/fuzz/arbitraries/guest-program.js';
import { INSTRUCTION_ROWS } from '../../src/fuzz/arbitraries/instruction-rows.js';
import { fewerComponents } from '../../src/fuzz/arbitraries/td-params.js';
import { bitsOf, diceOf, fewerWideBits, maskOf, someBits } from '../../src/fuzz/dice.js';
import { Harvest } from '../../src/fuzz/finding.js';
import { GuestGenerator, guestText, readGuest, simplerGuests } from '../../src/fuzz/guest-case.js';
import { GuestHost } from '../../src/fuzz/guest-host.js';
import { guestProgram, tdConfiguration, tdOffer, tdParams } from '../../src/fuzz/index.js';
import { lawNamed } from '../../src/fuzz/laws/index.js';
import type { PlaceSpec } from '../../src/fuzz/place.js';
import { Place } from '../../src/fuzz/place.js';
import { Runner } from '../../src/fuzz/runner.js';
import { benchOf } from '../../src/fuzz/shrink.js';
import { bootKvm, impliedByVmType, type KvmOptions, Vmm } from '../../src/index.js';
import { Chance } from '../../src/scenarios/chance.js';
import { hostNamed } from '../support/platforms.js';
import { runs } from '../support/runs.js';
import { planOf, specOf } from './places.js';

describe('dice', () => {
  const dice = diceOf(new Chance());

  test('bits and masks are each other’s way back', () => {
    fc.assert(fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (mask) => maskOf(bitsOf(mask)) === mask));
  });

  test('some bits of a mask are bits of it', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (mask) => (someBits(dice, mask) & ~mask) === 0n),
    );
  });

  test('fewer bits are fewer, and bits of the same', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) =>
        [...fewerWideBits(value)].every((fewer) => fewer !== value && (fewer & ~value) === 0n),
      ),
    );
  });
});

describe('programs', () => {
  test.each(INSTRUCTION_ROWS.map(({ name }) => [name]))('%s can be assembled and fits its slot', (name) => {
    const { operands } = INSTRUCTION_ROWS.find((row) => row.name === name)!;
    const instruction = { name, operands: operands.map(() => 0xffff_ffffn) };
    for (const guest of ['vm', 'td'] as const) {
      const empty = programOf([], guest).code.length;
      expect(programOf([instruction], guest).code.length - empty).toBe(64);
    }
  });

  test('read back from their text', () => {
    fc.assert(
      fc.property(guestProgram(), ({ instructions, listing }) => {
        expect(listing.map(parseInstruction)).toEqual(instructions);
      }),
    );
    for (const text of ['', 'wrmsr', 'wrmsr 1 2', 'nonsense 0x1', 'hlt 0x0', 'rdmsr 0x11112222333344445'])
      expect(() => parseInstruction(text)).toThrow(RangeError);
  });

  test('shrink to fewer instructions or fewer bits of them', () => {
    const chance = new Chance();
    for (let n = 0; n < 50; n++) {
      chance.start(1, n);
      const list = drawInstructions(diceOf(chance), 12);
      const size = (some: typeof list) =>
        some.reduce(
          (sum, { operands }) => sum + 100 + operands.reduce((all, value) => all + bitsOf(value).length, 0),
          0,
        );
      for (const simpler of simplerInstructions(list)) expect(size(simpler)).toBeLessThan(size(list));
    }
  });

  test('every instruction is drawn', () => {
    const chance = new Chance();
    const names = new Set<string>();
    for (let n = 0; n < 400; n++) {
      chance.start(1, n);
      for (const { name } of drawInstructions(diceOf(chance), 12)) names.add(name);
    }
    expect(names.size).toBe(INSTRUCTION_ROWS.length);
    expect(instructionText({ name: 'wrmsr', operands: [0xe1n, 5n] })).toBe('wrmsr 0xe1 0x5');
  });

  test('one that is too long is none', () => {
    const many = Array.from({ length: 300 }, () => ({ name: 'hlt', operands: [] }));
    expect(() => programOf(many, 'vm').code).toThrow(RangeError);
  });
});

describe('parameters of TDs', () => {
  const { host, options } = impliedByVmType(hostNamed('emerald-rapids'), 'tdx');
  const vmm = new Vmm(bootKvm(host, { ...options, policy: 'paranoid' }), { guestPermissions: [18] });
  const create = (configuration: Parameters<Vmm['createTd']>[0]): string | null => {
    const { vm, vcpus, failed } = vmm.createTd(configuration);
    for (const fd of [...vcpus, vm]) vmm.process.close(fd);
    return failed && `${failed.ioctl}: ${failed.errno}`;
  };

  test('what KVM offers is accepted, in any choice of it', () => {
    fc.assert(
      fc.property(tdParams({ offer: tdOffer(vmm) }), (params) => {
        expect(create(tdConfiguration(params, vmm))).toBeNull();
      }),
      { seed: 1, ...runs(100) },
    );
  });

  test('what only the module offers is refused, and shrinks to one feature', () => {
    const accepted = fc.property(tdParams(), (params) => create(tdConfiguration(params, vmm)) === null);
    const { counterexample } = fc.check(accepted, { seed: 1, numRuns: 500 });
    const [{ features, xfam, attributes, addressWidth }] = counterexample!;
    expect(features).toHaveLength(1);
    expect([xfam, attributes, addressWidth]).toEqual([3n, 0n, 48]);
  });

  test('components that go together are taken away together', () => {
    const fewer = [...fewerComponents(maskOf([0, 1, 2, 5, 6, 7, 17, 18]))];
    expect(fewer).toContain(maskOf([0, 1, 2, 17, 18]));
    expect(fewer).toContain(maskOf([0, 1, 2, 5, 6, 7]));
    expect(fewer).not.toContain(maskOf([0, 1, 2, 5, 6, 17, 18]));
    expect([...fewerComponents(3n)]).toEqual([]);
  });
});

const COMMAND = { place: () => '', kernelOptions: {} };

/** What a campaign over guests finds, shrunk. */
function harvest(spec: PlaceSpec, first: number, count: number, seed = 1) {
  const plan = planOf({ places: [spec], laws: ['host-state'], first, end: first + count, seed });
  const found = new Harvest(plan, COMMAND);
  for (const hit of new Runner(plan).run(0)!.hits) found.add(hit);
  return found.findings;
}

const td = (options: KvmOptions) => specOf('emerald-rapids', 'tdx', options);

describe('guests that change the host', () => {
  test('TDs without any check: UMWAIT’s limit and TSX', () => {
    const findings = harvest(td({ policy: 'off' }), 0, 60);
    const byAspect = new Map(findings.map((finding) => [finding.aspect, finding]));
    expect([...byAspect.keys()].sort()).toEqual(['CPUID.(EAX=7H,ECX=0):EBX', 'IA32_TSX_CTRL', 'IA32_UMWAIT_CONTROL']);
    expect(byAspect.get('IA32_UMWAIT_CONTROL')).toMatchObject({
      cell: 'CPUID.(EAX=7,ECX=0):ECX[5] WAITPKG: IA32_UMWAIT_CONTROL',
      entries: ['00000007 00000000 1 00000000 00000000 00000020 00000000'],
      broken: 'IA32_UMWAIT_CONTROL 0x186a0 -> 0x0',
      guest: { program: [], attributes: '0x0', xfam: '0x3' },
    });
    expect(byAspect.get('IA32_TSX_CTRL')).toMatchObject({
      entries: ['00000007 00000000 1 00000000 00000810 00000000 00000000'],
    });
  });

  test('a feature that the list of denied ones does not know', () => {
    const [finding, ...others] = harvest(td({ policy: 'denylist', tdxModule: 'fred-a' }), 0, 40);
    expect(others).toEqual([]);
    expect(finding).toMatchObject({ entries: ['00000007 00000001 1 00020000 00000000 00000000 00000000'] });
    expect(finding!.cell).toBe('CPUID.(EAX=7,ECX=1):EAX[17] FRED: IA32_FRED_RSP0');
  });

  test.each([
    ['TDs', td({})],
    ['TDs of a module of the future', td({ tdxModule: 'fred-a' })],
    ['VMs on VMX', specOf('sapphire-rapids')],
    ['VMs on SVM', specOf('genoa')],
    ['VMs on VMX without any check', specOf('sapphire-rapids', 'default', { policy: 'off' })],
  ] as const)('none among %s', (_, spec) => {
    expect(harvest(spec, 0, runs(100).numRuns!)).toEqual([]);
  });

  test('most guests run', () => {
    for (const spec of [td({}), specOf('sapphire-rapids'), specOf('genoa')]) {
      const generator = new GuestGenerator(new Place(spec));
      const host = new GuestHost(spec);
      const ran = [...Array(40).keys()].filter((number) => {
        const { entries, guest } = generator.make(5, number);
        return host.run({ entries: generator.complete(entries), guest }).ran;
      });
      expect(ran.length).toBeGreaterThan(spec.vmType === 'tdx' ? 5 : 20);
    }
  });

  test('an MSR that KVM lets through by mistake shrinks to the instruction that writes it', () => {
    const spec = specOf('sapphire-rapids', 'default', { defects: ['umwait-passthrough'] });
    const place = new Place(spec);
    const bench = benchOf(place, lawNamed('host-state')!);
    const { guest } = bench.regenerate(1, 0);
    const instructions = ['ud2', 'wrmsr 0x174 0x10', 'wrmsr 0xe1 0x500', 'cpuid 0x1 0x0', 'hlt'].map(parseInstruction);
    const found = { entries: place.reported, chance: 0, guest: { ...guest!, instructions } };
    expect(bench.broken(found, 'IA32_UMWAIT_CONTROL')).toContain('-> 0x500');
    const smallest = bench.shrink(found, 'IA32_UMWAIT_CONTROL');
    expect(guestText(smallest.guest!).program).toEqual(['wrmsr 0xe1 0x0']);
    expect(smallest.entries.length).toBeLessThanOrEqual(2);
    expect(readGuest(guestText(smallest.guest!))).toEqual(smallest.guest);
  });

  test('a case does not depend on those before it', () => {
    const law = lawNamed('host-state')!;
    const place = new Place(td({ policy: 'off' }));
    const [busy, fresh] = [benchOf(place, law), benchOf(place, law)];
    const broken = Array.from({ length: 20 }, (_, n) => busy.broken(busy.regenerate(1, n)));
    expect(fresh.broken(fresh.regenerate(1, 19))).toBe(broken[19]);
    expect(new Set(broken).size).toBeGreaterThan(1);
  });

  test('setups shrink to less', () => {
    const setup = { instructions: [], attributes: 1n << 28n, xfam: maskOf([0, 1, 2, 9]) };
    const simpler = [...simplerGuests(setup)];
    expect(simpler).toContainEqual({ ...setup, attributes: 0n });
    expect(simpler).toContainEqual({ ...setup, xfam: 3n });
  });
});
