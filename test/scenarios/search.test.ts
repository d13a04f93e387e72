import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Atom, atomText, ClobberSearch, type SearchSetting } from '../../src/scenarios/search.js';
import { DENIED } from '../../src/tdx/kvm-policy.js';
import { FUTURE_MODULES, TDX_MODULE_VERSIONS } from '../../src/tdx/module.js';
import { runs } from '../support/runs.js';

type Place = Omit<SearchSetting, 'policy'>;

/** Hosts on which there is something to lose: TSX is off, FRED on where the CPU has it. */
const PUBLIC: readonly Place[] = ['sapphire-rapids', 'emerald-rapids', 'granite-rapids'].flatMap((host) =>
  TDX_MODULE_VERSIONS.map((module) => ({ host, module, cmdline: 'tsx=off' })),
);
const FUTURE: readonly Place[] = FUTURE_MODULES.map(({ name }) => ({
  host: 'granite-rapids',
  module: name,
  cmdline: 'tsx=off fred=on',
}));

const searches = new Map<string, ClobberSearch>();

function searchOf(setting: SearchSetting): ClobberSearch {
  const key = JSON.stringify(setting);
  const search = searches.get(key) ?? new ClobberSearch(setting);
  searches.set(key, search);
  return search;
}

const textsOf = (atoms: readonly Atom[]): string => atoms.map(atomText).join(' + ');

describe('whatever the module takes and the policy lets through', () => {
  const somePlace = fc.constantFrom(...PUBLIC, ...FUTURE);
  const picks = (maxLength: number) => fc.array(fc.nat(9999), { maxLength });
  const pick = <T>(items: readonly T[], numbers: readonly number[]): readonly T[] =>
    numbers.map((number) => items[number % items.length]!);

  test.each(['paranoid', 'allowlist'] as const)('leaves the host as it was, under %s', (policy) => {
    let ran = 0;
    const some = { offered: picks(120), others: fc.oneof(fc.constant([]), picks(3)), extended: fc.boolean() };
    fc.assert(
      fc.property(somePlace, fc.record(some), (place, { offered, others, extended }) => {
        const search = searchOf({ ...place, policy });
        // Components of XFAM depend on each other: all or none.
        const [cpuid, rest] = [true, false].map((is) => search.offered.filter(({ kind }) => (kind === 'cpuid') === is));
        const chosen = [...pick(cpuid!, offered), ...(extended ? rest! : []), ...pick(search.atoms, others)];
        const { refused, changes } = search.try(chosen);
        if (!refused) ran++;
        expect({ chosen: changes.length > 0 ? textsOf(chosen) : '', changes }).toEqual({ chosen: '', changes: [] });
      }),
      runs(150),
    );
    expect(ran).toBeGreaterThan(0);
  });

  test.each([...PUBLIC, ...FUTURE].map((place) => [place.host, place.module, place] as const))(
    'on %s, module %s: all that paranoid mode offers at once',
    (_host, _module, place) => {
      const search = searchOf({ ...place, policy: 'paranoid' });
      expect(search.try(search.offered)).toEqual({ refused: null, changes: [] });
    },
  );
});

describe('the search finds by itself', () => {
  const found = (setting: SearchSetting) =>
    searchOf(setting)
      .findAll(1, 8)
      .map(({ atoms, changes }) => [textsOf(atoms), changes[0]!.name] as const);

  test.each([
    ['sapphire-rapids', '1.5.01'],
    ['granite-rapids', '2.0.8'],
  ])('without a policy the very bits that the deny list names (%s, module %s)', (host, module) => {
    const clobbers = found({ host, module, policy: 'off', cmdline: 'tsx=off' });
    const named = clobbers.flatMap(([text]) => text.split(' + ').map((part) => part.split(' ').at(-1)!));
    expect(named.sort()).toEqual(DENIED.map(({ name }) => name).sort());
  });

  test('each with the state that it takes from the host', () => {
    const clobbers = found({ host: 'granite-rapids', module: '2.0.8', policy: 'off', cmdline: 'tsx=off' });
    expect(new Map(clobbers)).toEqual(
      new Map([
        ['CPUID.(EAX=7,ECX=0):ECX[5] WAITPKG', 'IA32_UMWAIT_CONTROL'],
        ['CPUID.(EAX=7,ECX=0):EBX[4] HLE + CPUID.(EAX=7,ECX=0):EBX[11] RTM', 'IA32_TSX_CTRL'],
      ]),
    );
  });

  test.each(FUTURE_MODULES.map(({ name, features }) => [name, features[0]!] as const))(
    'under the deny list what a module of tomorrow brings: %s',
    (module, { leaf, subleaf, register, bit, states }) => {
      const clobbers = found({ host: 'granite-rapids', module, policy: 'denylist', cmdline: 'fred=on' });
      const [clobber, ...more] = clobbers.filter(([text]) => !text.includes('without its index'));
      expect(more).toEqual([]);
      expect(clobber![0]).toBe(atomText({ kind: 'cpuid', leaf, subleaf, register, bit }));
      expect(states.map(({ state }) => state)).toContain(clobber![1]);
    },
  );

  test('the hole in the deny list: an entry that does not say which sub-leaf it is for', () => {
    const clobbers = found({ host: 'granite-rapids', module: '2.0.8', policy: 'denylist', cmdline: 'tsx=off' });
    const hidden = 'an entry for (EAX=7,ECX=0) without its index';
    expect(clobbers.map(([text]) => text).sort()).toEqual([
      `CPUID.(EAX=7,ECX=0):EBX[4] HLE + CPUID.(EAX=7,ECX=0):EBX[11] RTM + ${hidden}`,
      `CPUID.(EAX=7,ECX=0):ECX[5] WAITPKG + ${hidden}`,
    ]);
  });

  test('nothing where only what is allowed passes', () => {
    expect(found({ host: 'granite-rapids', module: '2.0.8', policy: 'paranoid', cmdline: 'tsx=off' })).toEqual([]);
  });

  test('the same with the same seed', () => {
    const search = searchOf({ host: 'granite-rapids', module: '2.0.8', policy: 'off', cmdline: 'tsx=off' });
    expect(search.findAll(7, 4)).toEqual(search.findAll(7, 4));
  });
});
