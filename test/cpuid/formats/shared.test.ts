/** Every real file at hand reads, and where two of them describe the same CPU they agree. */

import { describe, expect, test } from 'vitest';
import { formatEntry } from '../../../src/cpuid/entry.js';
import { readHost, readPayload, writeCpuidR } from '../../../src/cpuid/formats/index.js';
import { formatError, noShared, sharedFiles, type TestFile, textOf, titled } from './support.js';

const fileOf = (folder: string, name: string) =>
  sharedFiles(folder, name).find((file) => file.name === name) as TestFile;

describe.skipIf(noShared)(titled('files of every format'), () => {
  test.each([
    ['aida64-amd-zen.txt', 'aida64', 12, 60],
    ['aida64-intel-hybrid.txt', 'aida64', 16, 71],
    ['aida64-intel-sapphire-rapids.txt', 'aida64', 40, 76],
    ['kvm_cpuid2-Skylake-Server-v5.bin', 'kvm_cpuid2', 1, 38],
    ['libcpuid-aida64.test', 'libcpuid', 2, 28],
    ['libcpuid-basic.test', 'libcpuid', 12, 77],
    ['libvirt-epyc-7502.xml', 'libvirt', 1, 62],
    ['libvirt-xeon-e5-2650-v4.xml', 'libvirt', 1, 40],
    ['strace-qemu-7.2.txt', 'strace', 1, 20],
  ])('%s is %s: %i CPUs of %i rows', (name, format, cpus, rows) => {
    const { bytes } = fileOf('formats', name);
    const dump = readHost(bytes, name);
    expect(dump.format).toBe(format);
    expect(dump.cpus.map((cpu) => cpu.rows.length)).toEqual(Array.from({ length: cpus }, () => rows));
    expect(dump.warnings.filter((warning) => !warning.includes('<msr>'))).toEqual([]);
    expect(readPayload(bytes, name).tables).toHaveLength(cpus);
  });

  test('every CPUID line of the AIDA64 reports is a row with the words of that line', () => {
    for (const { name, bytes } of sharedFiles('formats', '.txt').filter((file) => file.name.startsWith('aida64'))) {
      const lines = textOf(bytes).match(/^CPUID [0-9A-F]{8}: [0-9A-F-]{35}/gm) ?? [];
      const rows = readHost(bytes, name).cpus.flatMap((cpu) => cpu.rows);
      const hex = (word: number) => word.toString(16).toUpperCase().padStart(8, '0');
      const written = rows.map(
        (row) => `CPUID ${hex(row.function)}: ${[row.eax, row.ebx, row.ecx, row.edx].map(hex).join('-')}`,
      );
      expect(written).toEqual(lines);
    }
  });

  test('libvirt and `cpuid -r` agree on an EPYC 7502', () => {
    const { bytes } = fileOf('dumps', 'lv-amd-epyc-7502.txt');
    const xml = readHost(fileOf('formats', 'libvirt-epyc-7502.xml').bytes, 'xml');
    expect(writeCpuidR(xml)).toBe(textOf(bytes));
  });
});

describe.skipIf(noShared)(titled('captures'), () => {
  test('there are some', () => {
    expect(sharedFiles('captures', '.json.gz').length).toBeGreaterThanOrEqual(60);
  });

  test.each(sharedFiles('captures', '.json.gz'))(
    '$name: the rows are those of its `cpuid -r` text',
    ({ name, bytes }) => {
      const dump = readHost(bytes, name);
      expect(dump.warnings).toEqual([]);
      const text = fileOf('captures', name.replace('.json.gz', '.cpuid.txt'));
      expect(writeCpuidR(dump)).toBe(textOf(text.bytes));
      expect(readHost(text.bytes, text.name).cpus).toEqual(dump.cpus);
      const { supported } = dump.document as { supported?: { entries: string[] } };
      if (supported === undefined) formatError(() => readPayload(bytes, name));
      else expect(readPayload(bytes, name).tables[0]?.entries.map(formatEntry)).toEqual(supported.entries);
    },
  );
});

describe.skipIf(noShared)(titled('tables of VMMs'), () => {
  test.each([
    ['qemu-11.1.3-models.json', 'models'],
    ['qemu-11.1.3-variants.json', 'variants'],
    ['qemu-real-kvm.json', 'runs'],
    ['firecracker-fingerprints.json', 'hosts'],
  ])('every member of %s#%s', (name, collection) => {
    const { bytes } = fileOf('vmm', name);
    const members: Record<string, { entries?: unknown[]; vcpus?: unknown[] }> = JSON.parse(textOf(bytes))[collection];
    for (const [member, { entries, vcpus }] of Object.entries(members)) {
      const payload = readPayload(bytes, name, `${collection}.${member}`);
      expect(payload.tables).toHaveLength(vcpus?.length ?? 1);
      if (entries) expect(payload.tables[0]?.entries).toHaveLength(entries.length);
    }
    expect(Object.keys(members).length).toBeGreaterThan(10);
  });

  test('kvmtool.json is a table per vCPU', () => {
    const { name, bytes } = fileOf('vmm', 'kvmtool.json');
    expect(readPayload(bytes, name).tables.map((table) => table.label)).toEqual(['vcpu 0', 'vcpu 1']);
  });

  test('an entry of an array in the words of an entry string', () => {
    const { name, bytes } = fileOf('vmm', 'qemu-11.1.3-models.json');
    const entries: [string, string, number, ...string[]][] = JSON.parse(textOf(bytes)).models['Skylake-Server-v5']
      .entries;
    const [table] = readPayload(bytes, name, 'models.Skylake-Server-v5').tables;
    expect(table?.entries.map(formatEntry)).toEqual(entries.map((words) => words.join(' ')));
    const binary = fileOf('formats', 'kvm_cpuid2-Skylake-Server-v5.bin');
    expect(readPayload(binary.bytes, binary.name).tables[0]?.entries).toEqual(table?.entries);
  });

  test('every host of a collection with raw rows', () => {
    const { name, bytes } = fileOf('hosts', 'libvirt-hosts.json');
    for (const [host, { raw }] of Object.entries<{ raw: unknown[] }>(JSON.parse(textOf(bytes)).hosts)) {
      const [cpu] = readHost(bytes, name, `hosts.${host}`).cpus;
      expect(cpu?.rows).toHaveLength(raw.length);
    }
  });
});
