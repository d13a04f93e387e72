import { describe, expect, test } from 'vitest';
import { type CpuidEntry2, KERNEL_LINES } from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import { entry, kvmOn, VcpuUser } from '../support/vcpu-user.js';

const HLT = [0xf4, 0xf4];
const OSXSAVE = 1 << 27;
const APIC = 1 << 9;
const XSAVE = 1 << 26;

/** A small table; padding behind entry 0. */
const table = (padding: number, ecx = XSAVE): CpuidEntry2[] => [
  entry(0, { eax: 1, padding: [padding, 0, 0] }),
  entry(1, { ecx, edx: APIC }),
];

function frozen(line: (typeof KERNEL_LINES)[number], entries = table(1)): VcpuUser {
  const user = new VcpuUser(kvmOn('sapphire-rapids', line));
  expect(user.setCpuid(entries)).toBe('OK');
  user.prepare(HLT);
  expect(user.run()).toBe('OK');
  return user;
}

describe.each(KERNEL_LINES)('a vCPU that has run, %s', (line) => {
  const refused: readonly (readonly [name: string, entries: readonly CpuidEntry2[]])[] = [
    ['nothing', []],
    ['one entry fewer', table(1).slice(0, 1)],
    ['one entry more', [...table(1), entry(2)]],
    ['another order', table(1).reverse()],
    ['another function', [entry(0, { eax: 1 }), entry(3, { ecx: XSAVE, edx: APIC })]],
    ['another index', [entry(0, { eax: 1, index: 1 }), table(1)[1]!]],
    ['other flags', [entry(0, { eax: 1, flags: 2 }), table(1)[1]!]],
    ['one bit', [entry(0, { eax: 3 }), table(1)[1]!]],
  ];

  test.each(refused)('refuses %s', (_, entries) => {
    const user = frozen(line);
    const before = user.getCpuid(2);
    expect(user.setCpuid(entries)).toBe('EINVAL');
    expect(user.getCpuid(2)).toEqual(before);
  });

  test('accepts its own table, whatever the bits that follow its state say', () => {
    const user = frozen(line);
    expect(user.setCpuid(table(1))).toBe('OK');
    expect(user.setCpuid([table(1)[0]!, entry(1, { ecx: XSAVE | OSXSAVE })])).toBe('OK');
    expect(user.getCpuid(2)[1]!.slice(5, 7)).toEqual([XSAVE, APIC]);
  });

  test('keeps the old padding up to 6.12, and takes the new one from 6.18 on', () => {
    const user = frozen(line);
    expect(user.setCpuid(table(2))).toBe('OK');
    expect(user.getCpuid(1)[0]![abi.PADDING]).toBe(line === '6.1' || line === '6.12' ? 1 : 2);
  });

  test('compares with what its state has become since', () => {
    const user = frozen(line);
    expect(user.setCr4(1n << 18n)).toBe('OK');
    expect(user.setCpuid(table(1))).toBe('OK');
    expect(user.getCpuid(2)[1]![abi.ECX]).toBe((XSAVE | OSXSAVE) >>> 0);
  });

  test('E2BIG and EFAULT still come first', () => {
    const user = frozen(line);
    user.view.setUint32(0, 257, true);
    expect(user.errno(user.vcpu, abi.KVM_SET_CPUID2)).toBe('E2BIG');
    expect(user.errno(user.vcpu, abi.KVM_SET_CPUID2, 0)).toBe('EFAULT');
  });

  test('without a table accepts only none', () => {
    const user = new VcpuUser(kvmOn('genoa', line));
    user.prepare(HLT);
    expect([user.run(), user.setCpuid(table(0)), user.setCpuid([])]).toEqual(['OK', 'EINVAL', 'OK']);
  });

  test('a run that immediate_exit cut short does not count', () => {
    const user = new VcpuUser(kvmOn('genoa', line));
    const run = user.prepare(HLT);
    run.setUint8(abi.RUN.immediateExit, 1);
    expect([user.run(), user.setCpuid(table(0))]).toEqual(['EINTR', 'OK']);
  });
});

describe('paranoid mode and the first run', () => {
  const refusable = [entry(0, { eax: 1 }), entry(1, { ecx: 1 << 4 })]; // DS-CPL: KVM does not know it

  function paranoid(): VcpuUser {
    return new VcpuUser(kvmOn('sapphire-rapids', '7.3', { policy: 'paranoid' }), {
      beforeVcpu: (user) => expect(user.enableCap(user.vm, abi.KVM_CAP_X86_CPUID_PARANOID, 1n)).toBe('OK'),
    });
  }

  test('before it, a table is verified', () => {
    expect(paranoid().setCpuid(refusable)).toBe('EINVAL');
  });

  test('after it, only equality counts', () => {
    const user = paranoid();
    expect(user.setCpuid(table(0))).toBe('OK');
    user.prepare(HLT);
    expect(user.run()).toBe('OK');
    expect([user.setCpuid(table(0)), user.setCpuid(refusable)]).toEqual(['OK', 'EINVAL']);
  });
});

describe('PV_UNHALT with HLT exits disabled', () => {
  const PV_UNHALT = 1 << 7;
  const kvmLeaves = [
    entry(0x4000_0000, { eax: 0x4000_0001, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d }),
    entry(0x4000_0001, { eax: PV_UNHALT }),
  ];
  const user = (line: (typeof KERNEL_LINES)[number]) =>
    new VcpuUser(kvmOn('genoa', line), {
      beforeVcpu: (it) => expect(it.enableCap(it.vm, abi.KVM_CAP_X86_DISABLE_EXITS, 2n)).toBe('OK'),
    });

  test.each(KERNEL_LINES)('%s: taken out of the table; Linux 6.1 needs a second set for that', (line) => {
    const it = user(line);
    it.setCpuid(kvmLeaves);
    expect(it.getCpuid(2)[1]![abi.EAX]).toBe(line === '6.1' ? PV_UNHALT : 0);
    it.setCpuid(kvmLeaves);
    expect(it.getCpuid(2)[1]![abi.EAX]).toBe(0);
  });

  test('Linux 6.1 takes it out when the state changes, too', () => {
    const it = user('6.1');
    it.setCpuid([...kvmLeaves, entry(1, { ecx: XSAVE })]);
    expect(it.setCr4(1n << 18n)).toBe('OK');
    expect(it.getCpuid(3)[1]![abi.EAX]).toBe(0);
  });
});
