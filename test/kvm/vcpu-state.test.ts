import { describe, expect, test } from 'vitest';
import { KERNEL_LINES, type KernelLine } from '../../src/index.js';
import * as abi from '../../src/kvm/abi.js';
import { entry, kvmOn, VcpuUser } from '../support/vcpu-user.js';

const XSAVE = 1 << 26;
const PKU = 1 << 3;
const KERNEL_ADDRESS = 0xffff_8880_0000_0000n;

/** A guest with XSAVE, PKU, x2APIC, AVX-512 and AMX as far as the table goes. */
const capable = [
  entry(0, { eax: 0xd }),
  entry(1, { ecx: XSAVE | (1 << 21) | 1 }),
  entry(7, { flags: 1, ecx: PKU }),
  entry(0xd, { flags: 1, eax: 0x602e7 }),
  entry(0xd, { flags: 1, index: 1, eax: 0xf, ecx: 0x1800 }),
  entry(0x8000_0000, { eax: 0x8000_0008 }),
  entry(0x8000_0008, { eax: 0x3934 }),
];

function user(entries = capable, line: KernelLine = '7.3', permissions = [18], host = 'sapphire-rapids'): VcpuUser {
  const it = new VcpuUser(kvmOn(host, line), { guestPermissions: permissions });
  expect(it.setCpuid(entries)).toBe('OK');
  return it;
}

describe('structures that cannot be read or written', () => {
  const requests = [
    ['KVM_GET_REGS', abi.KVM_GET_REGS],
    ['KVM_SET_REGS', abi.KVM_SET_REGS],
    ['KVM_GET_SREGS', abi.KVM_GET_SREGS],
    ['KVM_SET_SREGS', abi.KVM_SET_SREGS],
    ['KVM_GET_XCRS', abi.KVM_GET_XCRS],
    ['KVM_SET_XCRS', abi.KVM_SET_XCRS],
    ['KVM_GET_MSRS', abi.KVM_GET_MSRS],
    ['KVM_SET_MSRS', abi.KVM_SET_MSRS],
    ['KVM_ENABLE_CAP', abi.KVM_ENABLE_CAP],
    ['KVM_GET_SUPPORTED_HV_CPUID', abi.KVM_GET_SUPPORTED_HV_CPUID],
  ] as const;

  test.each(requests)('%s: EFAULT', (_, request) => {
    const it = user();
    expect([0, KERNEL_ADDRESS].map((address) => it.errno(it.vcpu, request, address))).toEqual(['EFAULT', 'EFAULT']);
  });

  test.each(requests)('%s: EINVAL on /dev/kvm unless it is one of its own, ENOTTY on a VM', (name, request) => {
    const it = user();
    it.clear();
    if (name !== 'KVM_GET_SUPPORTED_HV_CPUID') expect(it.errno(it.kvm, request)).toBe('EINVAL');
    if (name !== 'KVM_ENABLE_CAP') expect(it.errno(it.vm, request)).toBe('ENOTTY');
  });
});

describe('KVM_SET_REGS', () => {
  test('takes everything, and RFLAGS[1] is always one', () => {
    const it = user();
    expect(it.setRegs({ [abi.RAX]: 2n ** 64n - 1n, [abi.RFLAGS]: 0n })).toBe('OK');
    expect(it.getRegs()[abi.RAX]).toBe(2n ** 64n - 1n);
    expect(it.getRegs()[abi.RFLAGS]).toBe(2n);
  });

  test('a fresh vCPU stands at F000:FFF0 with family 6 in EDX', () => {
    const it = user([]);
    expect(it.getRegs()).toEqual([0n, 0n, 0n, 0x600n, ...Array(12).fill(0n), 0xfff0n, 2n]);
    const sregs = it.clear();
    it.errno(it.vcpu, abi.KVM_GET_SREGS);
    expect(sregs.getBigUint64(abi.SREGS_SEGMENTS.cs, true)).toBe(0xffff_0000n);
    expect(sregs.getUint16(abi.SREGS_SEGMENTS.cs + abi.SEGMENT.selector, true)).toBe(0xf000);
    expect(sregs.getBigUint64(abi.SREGS_CR0, true)).toBe(0x6000_0010n);
    expect(sregs.getBigUint64(abi.SREGS_APIC_BASE, true)).toBe(0xfee0_0900n);
  });
});

describe('KVM_SET_SREGS', () => {
  const bit = (n: number) => 1n << BigInt(n);
  const CR0_PG_PE = bit(31) | bit(0);

  type Row = readonly [name: string, errno: string, change: (sregs: DataView) => void];
  const rows: readonly Row[] = [
    ['nothing changed', 'OK', () => {}],
    ['CR4: everything that needs no feature', 'OK', (s) => s.setBigUint64(abi.SREGS_CR4, 0x7ffn, true)],
    ['CR4.OSXSAVE of a guest with XSAVE', 'OK', (s) => s.setBigUint64(abi.SREGS_CR4, bit(18), true)],
    ['CR4.PKE of a guest with PKU', 'OK', (s) => s.setBigUint64(abi.SREGS_CR4, bit(22), true)],
    ['CR4.SMEP of a guest without it', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_CR4, bit(20), true)],
    ['CR4.SMXE', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_CR4, bit(14), true)],
    ['CR4.FRED, above bit 31', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_CR4, bit(32), true)],
    ['CR0 above bit 31', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_CR0, bit(32), true)],
    ['CR0.NW without CD', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_CR0, bit(29), true)],
    ['CR0.PG without PE', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_CR0, bit(31), true)],
    ['EFER.LMA without paging', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_EFER, bit(10), true)],
    ['a 64-bit code segment without paging', 'EINVAL', (s) => s.setUint8(abi.SEGMENT.l, 1)],
    ['EFER: anything else', 'OK', (s) => s.setBigUint64(abi.SREGS_EFER, bit(63), true)],
    [
      'long mode',
      'OK',
      (s) => {
        s.setBigUint64(abi.SREGS_CR0, CR0_PG_PE, true);
        s.setBigUint64(abi.SREGS_CR4, bit(5), true);
        s.setBigUint64(abi.SREGS_EFER, bit(8) | bit(10), true);
      },
    ],
    [
      'long mode without PAE',
      'EINVAL',
      (s) => {
        s.setBigUint64(abi.SREGS_CR0, CR0_PG_PE, true);
        s.setBigUint64(abi.SREGS_EFER, bit(8) | bit(10), true);
      },
    ],
    [
      'long mode with CR3 beyond MAXPHYADDR',
      'EINVAL',
      (s) => {
        s.setBigUint64(abi.SREGS_CR0, CR0_PG_PE, true);
        s.setBigUint64(abi.SREGS_CR3, bit(52), true);
        s.setBigUint64(abi.SREGS_CR4, bit(5), true);
        s.setBigUint64(abi.SREGS_EFER, bit(8) | bit(10), true);
      },
    ],
    ['APIC off', 'OK', (s) => s.setBigUint64(abi.SREGS_APIC_BASE, 0xfee0_0100n, true)],
    ['APIC base: a reserved bit', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_APIC_BASE, 0xfee0_0901n, true)],
    ['APIC base beyond MAXPHYADDR', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_APIC_BASE, bit(52) | 0x900n, true)],
    ['x2APIC', 'OK', (s) => s.setBigUint64(abi.SREGS_APIC_BASE, 0xfee0_0d00n, true)],
    ['x2APIC with the APIC off', 'EINVAL', (s) => s.setBigUint64(abi.SREGS_APIC_BASE, 0xfee0_0500n, true)],
  ];

  test.each(rows)('%s: %s', (_, errno, change) => {
    const it = user();
    const before = new Uint8Array(it.clear().buffer);
    it.errno(it.vcpu, abi.KVM_GET_SREGS);
    const old = before.slice(it.view.byteOffset, it.view.byteOffset + abi.SREGS_SIZE);
    expect(it.setSregs(change)).toBe(errno);
    if (errno === 'OK') return;
    it.clear();
    it.errno(it.vcpu, abi.KVM_GET_SREGS);
    expect(new Uint8Array(it.view.buffer, it.view.byteOffset, abi.SREGS_SIZE)).toEqual(old);
  });

  test('x2APIC of a guest without it: EINVAL', () => {
    const it = user([entry(1)]);
    const x2apic = (sregs: DataView) => sregs.setBigUint64(abi.SREGS_APIC_BASE, 0xfee0_0d00n, true);
    expect(it.setSregs(x2apic)).toBe('EINVAL');
  });

  test('a guest with a MAXPHYADDR below its APIC: an unchanged base is only accepted from 6.18 on', () => {
    const narrow = [entry(0x8000_0000, { eax: 0x8000_0008 }), entry(0x8000_0008, { eax: 0x3010 })];
    const results = KERNEL_LINES.map((line) => user(narrow, line).setSregs(() => {}));
    expect(results).toEqual(['EINVAL', 'EINVAL', 'OK', 'OK', 'OK']);
  });

  test('CR4.CET is reserved before 6.18, whatever the table says', () => {
    const table = [entry(7, { flags: 1, ecx: 1 << 7 })];
    const results = KERNEL_LINES.map((line) => user(table, line).setCr4(bit(23)));
    expect(results).toEqual(['EINVAL', 'EINVAL', 'OK', 'OK', 'OK']);
  });
});

describe('KVM_SET_XCRS', () => {
  const rows: readonly (readonly [xcr0: bigint, errno: string])[] = [
    [0x1n, 'OK'],
    [0x3n, 'OK'],
    [0x7n, 'OK'],
    [0xe7n, 'OK'],
    [0x2e7n, 'OK'],
    [0x602e7n, 'OK'],
    [0x0n, 'EINVAL'], // x87 is always on
    [0x2n, 'EINVAL'],
    [0x5n, 'EINVAL'], // AVX without SSE
    [0x27n, 'EINVAL'], // a part of AVX-512
    [0xe3n, 'EINVAL'], // AVX-512 without AVX
    [0x20003n, 'EINVAL'], // a part of AMX
    [0x103n, 'EINVAL'], // Intel PT is no component of XCR0
    [0x9n, 'EINVAL'], // a part of MPX, which the guest lacks
    [1n << 62n, 'EINVAL'],
  ];

  test.each(rows)('XCR0 = %s: %s', (xcr0, errno) => {
    expect(user().setXcr0(xcr0)).toBe(errno);
  });

  test('the guest gets what its table offers, and x87', () => {
    const it = user([entry(0xd, { flags: 1, eax: 3 })]);
    expect([1n, 3n, 7n].map((xcr0) => it.setXcr0(xcr0))).toEqual(['OK', 'OK', 'EINVAL']);
    expect(user([]).setXcr0(3n)).toBe('EINVAL');
  });

  test('counts, flags and other registers', () => {
    const it = user();
    expect([it.setXcr0(7n, 17), it.setXcr0(7n, 1, 1)]).toEqual(['EINVAL', 'EINVAL']);
    expect([it.setXcr0(7n, 0), it.setXcr0(2n, 1, 0, 1)]).toEqual(['OK', 'OK']); // nothing to set
  });

  test('KVM_GET_XCRS gives XCR0', () => {
    const it = user();
    it.setXcr0(0xe7n);
    const view = it.clear();
    expect(it.errno(it.vcpu, abi.KVM_GET_XCRS)).toBe('OK');
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([1, 0]);
    expect(view.getBigUint64(abi.XCRS_FIRST + abi.XCR_VALUE, true)).toBe(0xe7n);
  });
});

describe('KVM_GET_MSRS and KVM_SET_MSRS', () => {
  const MISC_ENABLE = 0x1a0;
  const XSS = 0xda0;
  const PLATFORM_INFO = 0xce;
  const MISC_FEATURES = 0x140;
  const UNKNOWN = 0x123_4567;

  test('give the number that was processed, up to the first that is refused', () => {
    const it = user();
    expect(it.setMsrs([MISC_ENABLE, 0n], [UNKNOWN, 0n], [MISC_ENABLE, 1n])).toBe(1);
    expect([it.getMsr(MISC_ENABLE), it.getMsr(UNKNOWN)]).toEqual([0n, null]);
    expect(it.setMsrs()).toBe(0);
  });

  test('take at most 255, before they are read', () => {
    const it = user();
    const end = it.buffer + 16 * 4096 - abi.MSRS_HEADER_SIZE;
    for (const request of [abi.KVM_GET_MSRS, abi.KVM_SET_MSRS]) {
      expect(it.msrErrno(request, 256)).toBe('E2BIG');
      it.clear().setUint32(16 * 4096 - abi.MSRS_HEADER_SIZE, 256, true);
      expect(it.errno(it.vcpu, request, end)).toBe('E2BIG');
      it.clear().setUint32(16 * 4096 - abi.MSRS_HEADER_SIZE, 255, true);
      expect(it.errno(it.vcpu, request, end)).toBe('EFAULT');
    }
  });

  test('what a fresh vCPU has', () => {
    const values = (host: string) => {
      const it = new VcpuUser(kvmOn(host));
      return [0x1b, 0x8b, PLATFORM_INFO, MISC_FEATURES, MISC_ENABLE].map((index) => it.getMsr(index));
    };
    expect(values('sapphire-rapids')).toEqual([0xfee0_0900n, 1n << 32n, 1n << 31n, 0n, 0x1800n]);
    expect(values('genoa')).toEqual([0xfee0_0900n, 0x0100_0065n, 1n << 31n, 0n, 0x1800n]);
  });

  test('CPUID faulting: enabled only where it is there, and there as long as it is enabled', () => {
    const it = user();
    expect(it.setMsrs([MISC_FEATURES, 1n])).toBe(1);
    expect(it.setMsrs([PLATFORM_INFO, 0n])).toBe(0);
    expect(it.setMsrs([MISC_FEATURES, 0n], [PLATFORM_INFO, 0n], [MISC_FEATURES, 1n])).toBe(2);
    expect(it.setMsrs([MISC_FEATURES, 2n])).toBe(0);
  });

  test('feature MSRs freeze with the first run, from 6.12 on', () => {
    const results = KERNEL_LINES.map((line) => {
      const it = user(capable, line);
      it.prepare([0xf4]);
      it.run();
      return [it.setMsrs([PLATFORM_INFO, 1n << 31n]), it.setMsrs([PLATFORM_INFO, 0n])];
    });
    expect(results).toEqual([
      [1, 1],
      [1, 0],
      [1, 0],
      [1, 0],
      [1, 0],
    ]);
  });

  test('IA32_MISC_ENABLE[18] needs SSE3 once the quirk is off', () => {
    const quirkOff = (entries = capable) => {
      const it = user(entries);
      expect(it.enableCap(it.vm, abi.KVM_CAP_DISABLE_QUIRKS2, 1n << 4n)).toBe('OK');
      return it.setMsrs([MISC_ENABLE, 1n << 18n]);
    };
    expect([quirkOff(), quirkOff([entry(1)]), user([entry(1)]).setMsrs([MISC_ENABLE, 1n << 18n])]).toEqual([1, 0, 1]);
  });

  describe('IA32_XSS', () => {
    const bare = [entry(1)];
    // Sapphire Rapids has CET, which KVM supports from 6.18 on.
    const rows = [
      ['6.1', capable, 0n, 1],
      ['6.1', capable, 0x1800n, 0],
      ['6.1', bare, 0n, 1], // the guest is not asked
      ['6.12', bare, 0n, 1],
      ['6.18', capable, 0x1800n, 1],
      ['6.18', capable, 0x800n, 1],
      ['6.18', capable, 1n << 8n, 0],
      ['7.3', bare, 0n, 1], // it is in the list of MSRs, so 0 may be written
      ['7.3', bare, 0x800n, 0],
    ] as const;

    test.each(rows)('%s, case %#: %s', (line, entries, value, written) => {
      expect(user([...entries], line).setMsrs([XSS, value])).toBe(written);
    });

    test('without any supported component, it is not there for a guest without XSAVES', () => {
      const it = user(bare, '7.3', [], 'naples');
      expect([it.setMsrs([XSS, 0n]), it.getMsr(XSS)]).toEqual([0, null]);
    });
  });
});

describe('KVM_ENABLE_CAP on a vCPU', () => {
  const { KVM_CAP_ENFORCE_PV_FEATURE_CPUID: PV, KVM_CAP_HYPERV_ENFORCE_CPUID: HYPERV } = abi;
  const rows = [
    ['ENFORCE_PV_FEATURE_CPUID', PV, 0, 'OK'],
    ['HYPERV_ENFORCE_CPUID', HYPERV, 0, 'OK'],
    ['flags', PV, 1, 'EINVAL'],
    ['a capability of VMs', abi.KVM_CAP_X86_DISABLE_EXITS, 0, 'EINVAL'],
    ['an unknown capability', 9999, 0, 'EINVAL'],
  ] as const;

  test.each(rows)('%s', (_, cap, flags, errno) => {
    const it = user();
    expect([1n, 0n].map((value) => it.enableCap(it.vcpu, cap, value, flags))).toEqual([errno, errno]);
  });

  test('they are no capabilities of VMs', () => {
    const it = user();
    expect([PV, HYPERV].map((cap) => it.enableCap(it.vm, cap, 1n))).toEqual(['EINVAL', 'EINVAL']);
  });
});

describe('attributes of /dev/kvm', () => {
  const attribute = (it: VcpuUser, group: number, attr: bigint, address: bigint): void => {
    const view = it.clear();
    view.setUint32(4, group, true);
    view.setBigUint64(8, attr, true);
    view.setBigUint64(16, address, true);
  };

  test('KVM_X86_XCOMP_GUEST_SUPP is what KVM supports, permitted or not', () => {
    const it = user([], '7.3', []);
    attribute(it, 0, 0n, BigInt(it.buffer + 64));
    expect(it.errno(it.kvm, abi.KVM_GET_DEVICE_ATTR)).toBe('OK');
    expect(it.view.getBigUint64(64, true)).toBe(0x602e7n);
  });

  test('others are not there; what cannot be reached faults', () => {
    const it = user();
    attribute(it, 1, 0n, 0n);
    expect([abi.KVM_GET_DEVICE_ATTR, abi.KVM_HAS_DEVICE_ATTR].map((r) => it.errno(it.kvm, r))).toEqual([
      'ENXIO',
      'ENXIO',
    ]);
    attribute(it, 0, 1n, 0n);
    expect(it.errno(it.kvm, abi.KVM_HAS_DEVICE_ATTR)).toBe('ENXIO');
    attribute(it, 0, 0n, KERNEL_ADDRESS);
    expect(it.errno(it.kvm, abi.KVM_HAS_DEVICE_ATTR)).toBe('OK');
    expect(it.errno(it.kvm, abi.KVM_GET_DEVICE_ATTR)).toBe('EFAULT');
    expect(it.errno(it.kvm, abi.KVM_GET_DEVICE_ATTR, 0)).toBe('EFAULT');
  });
});

describe('KVM_SET_USER_MEMORY_REGION', () => {
  const PAGE = 4096n;
  const HVA = 0x10_0000n;

  type Row = readonly [
    name: string,
    errno: string,
    slot: number,
    flags: number,
    gpa: bigint,
    size: bigint,
    hva: bigint,
  ];
  const rows: readonly Row[] = [
    ['a page', 'OK', 0, 0, 0n, PAGE, HVA],
    ['read-only, with a dirty log', 'OK', 0, 3, 0n, PAGE, HVA],
    ['memory that is not mapped', 'OK', 0, 0, 0n, PAGE, 0x7000_0000_0000n],
    ['the second address space', 'OK', 1 << 16, 0, 0n, PAGE, HVA],
    ['the last slot', 'OK', 32763, 0, 0n, PAGE, HVA],
    ['unknown flags', 'EINVAL', 0, 4, 0n, PAGE, HVA],
    ['a part of a page', 'EINVAL', 0, 0, 0n, 100n, HVA],
    ['a guest address within a page', 'EINVAL', 0, 0, 1n, PAGE, HVA],
    ['a user address within a page', 'EINVAL', 0, 0, 0n, PAGE, HVA + 1n],
    ['a kernel address', 'EINVAL', 0, 0, 0n, PAGE, KERNEL_ADDRESS],
    ['a guest address that wraps', 'EINVAL', 0, 0, 2n ** 64n - PAGE, PAGE, HVA],
    ['a slot too many', 'EINVAL', 32764, 0, 0n, PAGE, HVA],
    ['a third address space', 'EINVAL', 2 << 16, 0, 0n, PAGE, HVA],
    ['too large', 'EINVAL', 0, 0, 0n, 2n ** 43n, HVA],
    ['removing what is not there', 'EINVAL', 0, 0, 0n, 0n, HVA],
  ];

  test.each(rows)('%s: %s', (_, errno, ...region) => {
    expect(user([]).setRegion(...region)).toBe(errno);
  });

  test('a slot may move and change its log, but not its size, memory or KVM_MEM_READONLY', () => {
    const it = user([]);
    const set = (flags: number, gpa: bigint, size: bigint, hva: bigint) => it.setRegion(0, flags, gpa, size, hva);
    expect(set(0, 0n, PAGE, HVA)).toBe('OK');
    expect([set(1, 0n, PAGE, HVA), set(0, PAGE, PAGE, HVA)]).toEqual(['OK', 'OK']);
    expect([set(0, PAGE, 2n * PAGE, HVA), set(0, PAGE, PAGE, HVA + PAGE), set(2, PAGE, PAGE, HVA)]).toEqual(
      Array(3).fill('EINVAL'),
    );
    expect([set(0, 0n, 0n, 0n), set(0, 0n, 0n, 0n)]).toEqual(['OK', 'EINVAL']);
  });

  test('slots of one address space do not overlap', () => {
    const it = user([]);
    expect(it.setRegion(0, 0, 0n, 2n * PAGE, HVA)).toBe('OK');
    expect([0n, PAGE].map((gpa) => it.setRegion(1, 0, gpa, PAGE, HVA))).toEqual(['EEXIST', 'EEXIST']);
    expect(it.setRegion(1, 0, 2n * PAGE, PAGE, HVA)).toBe('OK');
    expect(it.setRegion(1 << 16, 0, 0n, PAGE, HVA)).toBe('OK');
  });

  test('EFAULT when the structure cannot be read', () => {
    const it = user([]);
    expect(it.errno(it.vm, abi.KVM_SET_USER_MEMORY_REGION, 0)).toBe('EFAULT');
  });
});
