import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { REGISTERS, type Register } from '../../src/cpuid/entry.js';
import { featureNamed } from '../../src/cpuid/features.js';
import {
  bootKvm,
  type CpuidEntry2,
  type HostDescription,
  hostConfiguration,
  impliedByVmType,
  type KernelLine,
  KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
  type KvmModule,
  minimalConfiguration,
  POLICIES,
  type Policy,
  TDX_MODULE_NAMES,
  type TdConfiguration,
  VM_TYPES,
  Vmm,
  withInputs,
} from '../../src/index.js';
import { TDX_MODULE_VERSIONS } from '../../src/tdx/module.js';
import { runs } from '../support/runs.js';
import { entry, tdxHosts, WIDTH_48 } from './kvm-caller.js';

/** What the four policies do to a TD: side by side on the same hosts, modules and configurations. */

const LINES: readonly KernelLine[] = ['6.18', '7.1', '7.3'];
const HOST = tdxHosts.find(({ name }) => name === 'granite-rapids')!;

const booted = new Map<string, KvmModule>();

function boot(host: HostDescription, policy: Policy, tdxModule: string, kernel: KernelLine = '7.3'): KvmModule {
  const key = `${host.name} ${policy} ${tdxModule} ${kernel}`;
  let module = booted.get(key);
  if (!module) {
    const implied = impliedByVmType(withInputs(host, { kernel }), 'tdx', tdxModule);
    module = bootKvm(implied.host, { ...implied.options, policy, tdxModule });
    booted.set(key, module);
  }
  return module;
}

interface Offer {
  readonly vmm: Vmm;
  readonly vm: number;
  readonly entries: readonly CpuidEntry2[];
  readonly xfam: bigint;
  readonly attributes: bigint;
}

function offer(module: KvmModule, options = {}): Offer {
  const vmm = new Vmm(module, options);
  const vm = vmm.createVm(VM_TYPES.tdx);
  const { errno, ...capabilities } = vmm.tdxCapabilities(vm);
  expect(errno).toBe('OK');
  return { vmm, vm, ...capabilities };
}

const at = (entries: readonly CpuidEntry2[], fn: number, index: number, register: Register): number =>
  entries.find((item) => item.function === fn && item.index === index)?.[register] ?? 0;

const bit = (name: string) => featureNamed(name);
const has = (entries: readonly CpuidEntry2[], name: string): boolean => {
  const { word, mask } = bit(name);
  return (at(entries, word.function, word.index, word.register) & mask) !== 0;
};

/** An entry with one feature's bit. */
function withFeature(...names: readonly string[]): CpuidEntry2 {
  const { function: fn, index } = bit(names[0]!).word;
  const made = { ...entry(fn, index, { flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX }) };
  for (const name of names) {
    const { word, mask } = bit(name);
    made[word.register] = (made[word.register] | mask) >>> 0;
  }
  return made;
}

/** KVM_TDX_INIT_VM with some entries beside the address width: `OK`, or errno and who refused. */
function tryInit(module: KvmModule, ...entries: readonly CpuidEntry2[]): string {
  const vmm = new Vmm(module);
  const vm = vmm.createVm(VM_TYPES.tdx);
  const { errno } = vmm.tdxInitVm(vm, { cpuid: [WIDTH_48, ...entries] });
  if (errno === 'OK') return 'OK';
  const refusal = vmm.tdRefusal(vm);
  return `${errno} by ${refusal === null ? 'count' : refusal.module ? 'module' : 'kvm'}`;
}

const combinations = tdxHosts.flatMap((host) =>
  TDX_MODULE_NAMES.map((name) => ({ host, name, title: `${host.name}, ${name}` })),
);

describe.each(combinations)('$title: KVM_TDX_CAPABILITIES', ({ host, name }) => {
  const offers = Object.fromEntries(
    POLICIES.map((policy) => [policy, () => offer(boot(host, policy, name)).entries]),
  ) as Record<Policy, () => readonly CpuidEntry2[]>;

  test("off hands on the module's own list, with the knob for the address width", () => {
    const module = boot(host, 'off', name);
    const { configurable } = (module.tdx as unknown as { module: { configurable: readonly never[] } }).module;
    const own = (configurable as readonly { leaf: number; subleaf: number | null; reported: CpuidEntry2 }[]).map(
      ({ leaf, subleaf, reported }) =>
        entry(leaf, subleaf ?? 0, {
          ...reported,
          ...(leaf === 0x8000_0008 && { eax: (reported.eax | 0x00ff_0000) >>> 0 }),
        }),
    );
    expect(offers.off()).toEqual(own);
  });

  test('denylist takes three bits out of that, and nothing else', () => {
    const expected = offers.off().map((item) =>
      item.function === 7 && item.index === 0
        ? {
            ...item,
            ebx: (item.ebx & ~(bit('HLE').mask | bit('RTM').mask)) >>> 0,
            ecx: (item.ecx & ~bit('WAITPKG').mask) >>> 0,
          }
        : item,
    );
    expect(offers.denylist()).toEqual(expected);
  });

  test.each(['paranoid', 'allowlist'] as const)('%s offers a part of what denylist offers, leaf by leaf', (policy) => {
    const all = offers.denylist();
    for (const [position, item] of offers[policy]().entries()) {
      expect([item.function, item.index]).toEqual([all[position]!.function, all[position]!.index]);
      for (const register of REGISTERS) expect(item[register] & ~all[position]![register]).toBe(0);
    }
  });

  // The overlay must allow the bits that a module fixes to 1, or its TDs' tables would be refused. 7.0.EDX[30] is fixed in
  // 1.5.01 and can be configured since: so it is offered, though KVM does not list it.
  test('what paranoid offers, allowlist offers too, but for CORE_CAPABILITIES: it does not ask the host', () => {
    const wider = offers.allowlist();
    const more = offers
      .paranoid()
      .flatMap((item, position) =>
        REGISTERS.map((register) => [
          `${item.function.toString(16)}.${item.index}.${register}`,
          (item[register] & ~wider[position]![register]) >>> 0,
        ]),
      );
    const expected = name === '1.5.01' ? [] : [['7.0.edx', bit('CORE_CAPABILITIES').mask]];
    expect(more.filter(([, bits]) => bits !== 0)).toEqual(expected);
  });

  test('no policy but off offers WAITPKG or TSX; only off and denylist offer what KVM has no name for', () => {
    const offered = (features: readonly string[]) =>
      POLICIES.filter((policy) => features.some((feature) => has(offers[policy](), feature)));
    expect(offered(['WAITPKG', 'HLE', 'RTM']).filter((policy) => policy !== 'off')).toEqual([]);
    const future = { 'fred-a': 'FRED', 'fred-b': 'FRED', 'fred-c': 'FRED', 'user-msr': 'USER_MSR' }[name];
    if (future !== undefined) expect(offered([future])).toEqual(['off', 'denylist']);
    const unknown = POLICIES.filter((policy) => (at(offers[policy](), 7, 1, 'edx') & (1 << 20)) !== 0);
    expect(unknown).toEqual(name === 'unknown-bit' ? ['off', 'denylist'] : []);
  });
});

describe('KVM_TDX_INIT_VM, feature by feature', () => {
  const NEWEST = TDX_MODULE_VERSIONS.at(-1)!;
  type Row = readonly [what: string, module: string, entry: CpuidEntry2, outcome: Readonly<Record<Policy, string>>];
  const refused = 'EINVAL by kvm';
  const rows: readonly Row[] = [
    [
      'WAITPKG',
      NEWEST,
      withFeature('WAITPKG'),
      { off: 'OK', denylist: refused, paranoid: refused, allowlist: refused },
    ],
    [
      'HLE and RTM',
      NEWEST,
      withFeature('HLE', 'RTM'),
      { off: 'OK', denylist: refused, paranoid: refused, allowlist: refused },
    ],
    ['FRED', 'fred-a', withFeature('FRED'), { off: 'OK', denylist: 'OK', paranoid: refused, allowlist: refused }],
    [
      'USER_MSR',
      'user-msr',
      withFeature('USER_MSR'),
      { off: 'OK', denylist: 'OK', paranoid: refused, allowlist: refused },
    ],
    [
      'a bit that nobody knows',
      'unknown-bit',
      entry(7, 1, { flags: 1, edx: 1 << 20 }),
      { off: 'OK', denylist: 'OK', paranoid: refused, allowlist: refused },
    ],
    ['BMI1', NEWEST, withFeature('BMI1'), { off: 'OK', denylist: 'OK', paranoid: 'OK', allowlist: 'OK' }],
    // The module has them, KVM does not: no harm is known, and yet they are refused until somebody looks.
    [
      'RDT monitoring',
      NEWEST,
      entry(7, 0, { flags: 1, ebx: 1 << 12 }),
      { off: 'OK', denylist: 'OK', paranoid: refused, allowlist: refused },
    ],
    // Not configurable at all: only the module can tell where KVM's own mask has the bit.
    [
      'SMEP',
      NEWEST,
      withFeature('SMEP'),
      {
        off: 'EINVAL by module',
        denylist: 'EINVAL by module',
        paranoid: 'EINVAL by module',
        allowlist: 'EINVAL by module',
      },
    ],
  ];

  describe.each(rows)('%s', (_, name, item, outcome) => {
    test.each(POLICIES)('%s', (policy) => {
      expect(tryInit(boot(HOST, policy, name), item)).toBe(outcome[policy]);
    });
  });

  test('a refusal names the bit, and what it would do to the host', () => {
    const vmm = new Vmm(boot(HOST, 'paranoid', 'fred-a'));
    const vm = vmm.createVm(VM_TYPES.tdx);
    vmm.tdxInitVm(vm, { cpuid: [WIDTH_48, withFeature('WAITPKG')] });
    expect(vmm.tdRefusal(vm)!.findings).toMatchObject([
      {
        ...{ entry: 1, function: 7, index: 0, register: 'ecx', value: 0x20, allowed: '0', offending: 0x20 },
        bits: [{ bit: 5, name: 'WAITPKG', reason: 'not-in-overlay', clobbers: ['IA32_UMWAIT_CONTROL'] }],
      },
    ]);
    vmm.tdxInitVm(vm, { cpuid: [WIDTH_48, withFeature('FRED')] });
    expect(vmm.tdRefusal(vm)!.findings[0]!.bits).toMatchObject([
      { bit: 17, name: 'FRED', reason: 'unsupported-by-kvm' },
    ]);
    expect(vmm.tdRefusal(vm)!.findings[0]!.bits[0]!.clobbers).toContain('IA32_FRED_RSP0');
  });

  /**
   * `has_waitpkg()` asks for the index that the entry carries. An entry that answers every sub-leaf may carry any, and with
   * entries for the other sub-leaves before it the count fits too.
   */
  test('the deny list overlooks an entry for 7.0 that carries another index', () => {
    const others = [entry(7, 1, { flags: 1 }), entry(7, 2, { flags: 1 })];
    const disguised = { ...withFeature('WAITPKG', 'HLE', 'RTM'), index: 9, flags: 0 };
    const outcomes = POLICIES.map((policy) => [policy, tryInit(boot(HOST, policy, NEWEST), ...others, disguised)]);
    expect(outcomes).toEqual([
      ['off', 'OK'],
      ['denylist', 'OK'],
      ['paranoid', refused],
      ['allowlist', refused],
    ]);
    const vmm = new Vmm(boot(HOST, 'denylist', NEWEST));
    const { entries } = vmm.tdxCapabilities(vmm.createVm(VM_TYPES.tdx));
    expect(['WAITPKG', 'HLE', 'RTM'].map((name) => has(entries, name))).toEqual([false, false, false]);
    const sizes = minimalConfiguration(entries, vmm.supported().entries);
    expect(vmm.createTd({ cpuid: [...sizes, ...others, disguised] }).failed).toBeNull();
  });
});

describe('any configuration', () => {
  const someModule = fc.constantFrom(...combinations);
  const somePolicy = fc.constantFrom(...POLICIES);
  const chance = fc.array(fc.nat(0xffff_ffff), { minLength: 128, maxLength: 128 });

  /** A random part of what a list offers, as entries that answer one sub-leaf each; HLE and RTM go together. */
  function part(entries: readonly CpuidEntry2[], random: readonly number[]): CpuidEntry2[] {
    const tsx = bit('HLE').mask | bit('RTM').mask;
    return entries.map((item, position) => {
      const [eax = 0, ebx = 0, ecx = 0, edx = 0] = REGISTERS.map(
        (register, number) => (item[register] & random[(position * 4 + number) % random.length]!) >>> 0,
      );
      const seven = item.function === 7 && item.index === 0;
      return {
        ...item,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        // 1.EAX takes the native model or 0.
        eax: item.function === 1 ? 0 : item.function === 0x8000_0008 ? ((eax & 0xff) | (48 << 16)) >>> 0 : eax,
        ebx: seven ? ((ebx & ~tsx) | ((ebx & tsx) !== 0 && (item.ebx & tsx) === tsx ? tsx : 0)) >>> 0 : ebx,
        ecx,
        edx,
      };
    });
  }

  test('of what a policy offers every part is accepted, by KVM and by the module', () => {
    fc.assert(
      fc.property(someModule, somePolicy, chance, ({ host, name }, policy, random) => {
        const { vmm, vm, entries } = offer(boot(host, policy, name));
        const { errno } = vmm.tdxInitVm(vm, { cpuid: part(entries, random) });
        expect([errno, vmm.tdRefusal(vm)]).toEqual(['OK', null]);
      }),
      runs(300),
    );
  });

  test('of what the module offers and a policy does not, every bit is refused by KVM and named', () => {
    fc.assert(
      fc.property(
        someModule,
        fc.constantFrom('denylist', 'paranoid', 'allowlist' as const),
        chance,
        ({ host, name }, policy, random) => {
          const all = offer(boot(host, 'off', name)).entries;
          const { vmm, vm, entries } = offer(boot(host, policy as Policy, name));
          const wanted = part(all, random);
          const more = wanted.some((item, position) =>
            REGISTERS.some((register) => (item[register] & ~entries[position]![register]) !== 0),
          );
          const { errno } = vmm.tdxInitVm(vm, { cpuid: wanted });
          expect(errno).toBe(more ? 'EINVAL' : 'OK');
          if (!more) return;
          const findings = vmm.tdRefusal(vm)!.findings;
          expect(findings.length).toBeGreaterThan(0);
          for (const { entry: position, register, offending } of findings) {
            const hidden = wanted[position]![register as Register] & ~entries[position]![register as Register];
            expect(offending).toBe(hidden >>> 0);
          }
        },
      ),
      runs(300),
    );
  });
});

describe('what QEMU does: KVM_TDX_GET_CPUID, merge, KVM_SET_CPUID2', () => {
  const AMX = 3n << 17n;
  const cases = tdxHosts.flatMap((host) =>
    LINES.flatMap((line) =>
      TDX_MODULE_NAMES.map((name) => ({ host, line, name, title: `${host.name}, Linux ${line}, module ${name}` })),
    ),
  );

  test.each(cases)('$title: paranoid accepts every table', ({ host, line, name }) => {
    const module = boot(host, 'paranoid', name, line);
    for (const guestPermissions of [[], [18]]) {
      const { vmm, vm, entries, xfam, attributes } = offer(module, { guestPermissions });
      const supported = vmm.supported(vm).entries;
      const permitted = guestPermissions.length > 0 ? xfam : xfam & ~AMX;
      const configurations: readonly TdConfiguration[] = [
        { cpuid: minimalConfiguration(entries, supported) },
        { cpuid: minimalConfiguration(entries, supported, 52), xfam: permitted, attributes },
        { cpuid: hostConfiguration(entries, supported, 52), xfam: permitted, attributes },
        { cpuid: hostConfiguration(entries, supported) },
      ];
      for (const configuration of configurations) {
        const { failed, table } = vmm.createTd(configuration);
        expect(failed).toBeNull();
        expect(table.length).toBeGreaterThan(40);
      }
    }
  });

  test('any part of what is offered, and any XFAM that the module takes, gives a table that is accepted', () => {
    const words = fc.array(fc.nat(0xffff_ffff), { minLength: 160, maxLength: 160 });
    fc.assert(
      fc.property(fc.constantFrom(...cases), words, fc.nat(0xf_ffff), ({ host, line, name }, random, choice) => {
        const module = boot(host, 'paranoid', name, line);
        const { vmm, entries, xfam } = offer(module, { guestPermissions: [18] });
        const supported = vmm.supported().entries;
        const cpuid = hostConfiguration(entries, supported).map((item, position) => {
          if (item.function === 0x8000_0008 || item.function === 1) return item;
          const [ebx = 0, ecx = 0, edx = 0] = (['ebx', 'ecx', 'edx'] as const).map(
            (register, number) => (item[register] & random[(position * 3 + number) % random.length]!) >>> 0,
          );
          return { ...item, ebx, ecx, edx };
        });
        const { steps, failed } = vmm.createTd({ cpuid, xfam: (xfam & BigInt(choice)) | 3n });
        // The module has rules on combinations of XFAM bits of its own.
        if (failed?.ioctl === 'KVM_TDX_INIT_VM') expect(failed.hwError).not.toBe(0n);
        else expect([failed, steps.length]).toEqual([null, steps.length]);
      }),
      runs(200),
    );
  });

  test('without permission for AMX a TD whose XFAM has it is refused by mainline too: EPERM', () => {
    for (const policy of POLICIES) {
      const { vmm, entries, xfam } = offer(boot(HOST, policy, '2.0.8'));
      const { failed } = vmm.createTd({ cpuid: hostConfiguration(entries, vmm.supported().entries), xfam });
      expect(failed).toMatchObject({ ioctl: 'KVM_SET_CPUID2', errno: policy === 'paranoid' ? 'EINVAL' : 'EPERM' });
    }
  });
});

test.each(POLICIES)('%s: only paranoid looks at the table of KVM_SET_CPUID2 on a TD', (policy) => {
  const { vmm, entries } = offer(boot(HOST, policy, '2.0.8'));
  const { vcpus, failed } = vmm.createTd({ cpuid: minimalConfiguration(entries, vmm.supported().entries) });
  expect(failed).toBeNull();
  expect(vmm.setCpuid2(vcpus[0]!, [withFeature('WAITPKG')])).toBe(policy === 'paranoid' ? 'EINVAL' : 'OK');
});

test("a TD's own KVM_GET_SUPPORTED_CPUID answers with the overlay; under the other policies there is none", () => {
  for (const policy of POLICIES) {
    const vmm = new Vmm(boot(HOST, policy, '2.0.8'));
    const { errno, entries } = vmm.supported(vmm.createVm(VM_TYPES.tdx));
    expect(errno).toBe(policy === 'paranoid' ? 'OK' : 'ENOTTY');
    if (policy === 'paranoid') expect([has(entries, 'WAITPKG'), has(entries, 'BMI1')]).toEqual([false, true]);
  }
});
