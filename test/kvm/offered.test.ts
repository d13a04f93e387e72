import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { bootKvm, describeDump, withInputs } from '../../src/api/host.js';
import { Vmm } from '../../src/api/vmm.js';
import { bitName } from '../../src/cpuid/architecture.js';
import { REGISTERS, type Register } from '../../src/cpuid/entry.js';
import { featureNamed } from '../../src/cpuid/features.js';
import { readHost } from '../../src/cpuid/formats/index.js';

const FILE = new URL('../../../shared/hosts/libvirt-hosts.json', import.meta.url);
const present = existsSync(FILE);
const document = present ? JSON.parse(readFileSync(FILE, 'utf8')) : { hosts: {} };

/** Bits that QEMU adds by itself, on top of what the KVM of that age reported. */
const ADDED_BY_QEMU = ['TSC_DEADLINE_TIMER', 'HYPERVISOR'];

/**
 * Host inputs that the recordings need, by flag: their kernels are older than a rule, their firmware or microcode differs
 * from the default, or the dump is incomplete. Each is a flag that a host file sets.
 */
const NAMED_INPUTS: readonly { readonly flag: string; readonly hosts: RegExp; readonly why: string }[] = [
  { flag: 'SELFSNOOP', hosts: /./, why: 'kernels before 5.3 do not know the self-snoop errata' },
  { flag: 'NX', hosts: /^Phenom-B95$/, why: 'NX was off in the firmware; old kvm-amd modules loaded without it' },
];

/** What another input explains. */
const EXPLAINED: Readonly<Record<string, readonly string[]>> = {
  'Core-i5-4670T': ['XSAVEOPT'], // the dump has no CPUID.(EAX=DH,ECX=1)
  'Ice-Lake-Server': ['MPX'], // CPUID.(EAX=DH,ECX=0) of the dump has no MPX components
  'Ryzen-9-3900X-12-Core': ['XSAVES'], // erratum 1386, which kernels of that age did not know: fact erratum_1386_microcode
};

function missing(name: string): string[] {
  const dump = readHost(readFileSync(FILE), 'libvirt-hosts.json', `hosts.${name}`);
  const host = withInputs(describeDump(dump, name), { kernel: '6.12' });
  const { set, clear } = host.inputs.flags;
  const named = NAMED_INPUTS.filter((input) => input.hosts.test(name)).map((input) => featureNamed(input.flag));
  const vmm = new Vmm(bootKvm(withInputs(host, { flags: { set: [...set, ...named], clear } })));
  const supported = vmm.supported().entries;
  const offered = Object.entries(document.hosts[name].kvm_offered as Record<string, string>);
  return offered.flatMap(([place, value]) => {
    const parts = place.split('.');
    const [fn, index] = [Number.parseInt(parts[0]!, 16), Number.parseInt(parts[1]!, 16)];
    // "d.1.eax" and "80000001.0.ecx" alike: function, index, register.
    const register = parts.at(-1) as Register;
    expect(REGISTERS).toContain(register);
    const entry = supported.find((item) => item.function === fn && item.index === index);
    const lacking = Number.parseInt(value, 16) & ~(entry?.[register] ?? 0);
    return [...Array(32).keys()]
      .filter((bit) => (lacking & (1 << bit)) !== 0)
      .map((bit) => bitName(fn, index, register, bit) ?? `${place}[${bit}]`)
      .filter((bit) => !ADDED_BY_QEMU.includes(bit));
  });
}

describe.skipIf(!present)('hosts with what KVM and QEMU offered there (skipped without ../shared/hosts)', () => {
  test.each(Object.keys(document.hosts))('%s', (name) => {
    expect(missing(name)).toEqual(EXPLAINED[name] ?? []);
  });
});
