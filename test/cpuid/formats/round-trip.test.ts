import { describe, expect, test } from 'vitest';
import type { HostDump } from '../../../src/cpuid/dump.js';
import {
  payloadFromHost,
  readHost,
  readPayload,
  writeCpuidR,
  writeEntries,
  writeKvmCpuid2,
  writeLibvirt,
  writePayload,
} from '../../../src/cpuid/formats/index.js';
import { bytesOf, noShared, ONE_CPU, sharedFiles, TWO_CPUS, textOf, titled } from './support.js';

/** Every format that can be written, from the first CPU of a dump. */
const WRITERS: Readonly<Record<string, (dump: HostDump) => Uint8Array>> = {
  'cpuid -r': (dump) => bytesOf(writeCpuidR(dump)),
  'libvirt cpudata': (dump) => bytesOf(writeLibvirt(dump)),
  'struct kvm_cpuid2': (dump) => writeKvmCpuid2(firstTable(dump)),
  'JSON entries': (dump) => bytesOf(writeEntries(firstTable(dump))),
};

const firstTable = (dump: HostDump) => payloadFromHost(dump).tables[0]?.entries ?? [];

describe.each(Object.entries(WRITERS))('`cpuid -r` to %s and back is the same text', (_, write) => {
  const roundTrip = (text: string) => writeCpuidR(readHost(write(readHost(bytesOf(text), 'there')), 'back'));

  test('a made-up host', () => {
    expect(roundTrip(ONE_CPU)).toBe(ONE_CPU);
  });

  test.skipIf(noShared).each(sharedFiles('dumps', '.txt'))('$name', ({ bytes }) => {
    expect(roundTrip(textOf(bytes))).toBe(textOf(bytes));
  });

  test.skipIf(noShared)(titled('60 real dumps'), () => {
    expect(sharedFiles('dumps', '.txt').length).toBeGreaterThanOrEqual(60);
  });
});

test('several CPUs as several vCPUs, and back', () => {
  const dump = readHost(bytesOf(TWO_CPUS), 'there');
  const text = writePayload(payloadFromHost(dump));
  expect(readPayload(bytesOf(text), 'back')).toMatchObject({ tables: payloadFromHost(dump).tables });
  expect(writeCpuidR(readHost(bytesOf(text), 'back'))).toBe(TWO_CPUS);
});
