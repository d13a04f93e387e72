import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { builtInHost, type CpuidEntry2, describeBuiltIn, type Reason } from '../../src/index.js';
import { bitsOf, type Cell, Column, type Filter, isForVendor, type Model, vendorOf } from '../../src/report/matrix.js';
import { matrixDocument } from '../../src/report/matrix-document.js';
import { alikeModels, changeGroups, namesInShort, refusalGroups } from '../../src/report/matrix-groups.js';
import { readModels, withUniqueNames } from '../../src/report/matrix-models.js';

const MODELS = readAll('qemu-11.1.3-models.json');
const REAL = readAll('qemu-real-kvm.json');

function readAll(name: string, path = ''): Model[] {
  const file = fileURLToPath(new URL(`../fixtures/vmm/${name}`, import.meta.url));
  return readModels(readFileSync(file), name, path);
}

const modelNamed = (name: string): Model => MODELS.find((model) => model.name === name)!;
const columnOn = (host: string, filter: Filter = 'none'): Column =>
  new Column(describeBuiltIn(builtInHost(host)!), { vmType: 'default', filter });

const LEAF_7 = { function: 7, index: 0, flags: 1, eax: 0, ebx: 0, ecx: 0, edx: 0 };
const modelOf = (...entries: CpuidEntry2[]): Model => ({ name: 'own', source: '-', tables: [{ label: '', entries }] });
const texts = (cell: Cell): string[] => cell.changes.map(({ cause }) => cause.text);

describe('reading collections', () => {
  test('a collection has all that it holds, under its keys', () => {
    expect(MODELS).toHaveLength(93);
    expect(MODELS[0]).toMatchObject({ name: '486-v1', source: 'qemu-11.1.3-models.json#models.486-v1' });
    expect(REAL.map(({ name }) => name)).toContain('11.1.3:host,migratable=off');
  });

  test('a path selects a part, or one', () => {
    const [only, ...others] = readAll('qemu-11.1.3-models.json', 'models.EPYC-Turin-v1');
    expect([only!.name, others]).toEqual(['EPYC-Turin-v1', []]);
    expect(readAll('qemu-real-kvm.json', 'runs.11.1.3:host').map(({ name }) => name)).toEqual(['11.1.3:host']);
  });

  test('several vCPUs are one model', () => {
    const smp = readAll('qemu-11.1.3-variants.json').find(({ name }) => name === 'gnr-smp8-2s2c2t')!;
    expect(smp.tables).toHaveLength(8);
  });

  test('names that two files share are told apart', () => {
    const twice = withUniqueNames([
      modelNamed('486-v1'),
      { ...modelNamed('486-v1'), source: 'dir/other.json#m.486-v1' },
    ]);
    expect(twice.map(({ name }) => name)).toEqual(['qemu-11.1.3-models:486-v1', 'other:486-v1']);
  });

  test('what holds no table is an error that says so', () => {
    const read = (text: string) => readModels(new TextEncoder().encode(text), 'x.json');
    expect(() => read('{"a":{"b":1}}')).toThrow(/no CPUID table/);
    expect(() => read('')).toThrow(/x\.json/);
  });
});

describe('one table', () => {
  test('each refused bit is a change of its own', () => {
    const cell = columnOn('sapphire-rapids').judge(modelOf({ ...LEAF_7, edx: 3 }));
    expect([cell.errno, cell.off, bitsOf(cell.refusals)]).toEqual(['EINVAL', 'OK', 2]);
    expect(cell.refusals[0]).toMatchObject({ place: 'CPUID.(EAX=7,ECX=0):EDX[0]', reason: 'unknown', mask: 1 });
    expect(texts(cell)).toEqual(['clear CPUID.(EAX=7,ECX=0):EDX[0]', 'clear CPUID.(EAX=7,ECX=0):EDX[1] sgx_keys']);
  });

  test('a feature takes along what hangs on it', () => {
    const cell = columnOn('ice-lake-sp').judge(modelNamed('SapphireRapids-v1'));
    const amx = cell.changes.find(({ cause }) => cause.text === 'clear CPUID.(EAX=7,ECX=0):EDX[24] AMX_TILE')!;
    const leaves = new Set(amx.refusals.map(({ function: fn, index }) => `${fn.toString(16)}.${index}`));
    expect([...leaves].sort()).toEqual(['1d.0', '1d.1', '1e.0', '7.0', 'd.0', 'd.17', 'd.18']);
  });

  test('leaves that the table itself does not call for are to be left empty', () => {
    const palette = { ...LEAF_7, function: 0x1d, eax: 1 };
    const component = { ...LEAF_7, function: 0xd, index: 19, eax: 0x80 };
    expect(texts(columnOn('skylake-sp').judge(modelOf(palette, component)))).toEqual([
      'leave CPUID.1DH empty without AMX_TILE',
      'leave CPUID.(EAX=DH,ECX=n) empty for components that the table has in neither XCR0 nor IA32_XSS',
    ]);
  });

  test('what a permission cures is one change, and refused by every kernel', () => {
    const cell = columnOn('granite-rapids').judge(modelNamed('SapphireRapids-v1'));
    const permission = cell.changes.find(({ cause }) => cause.action === 'permission')!;
    const reasons = new Set<Reason>(permission.refusals.map(({ reason }) => reason));
    expect([cell.off, [...reasons]]).toEqual(['EPERM', ['no-permission']]);
  });

  test('too many entries', () => {
    const cell = columnOn('genoa').judge(modelOf(...Array<CpuidEntry2>(257).fill(LEAF_7)));
    expect([cell.errno, cell.off, texts(cell)]).toEqual(['E2BIG', 'E2BIG', ['pass at most 256 entries']]);
  });
});

/** The table with all refusals cured but those of one change. */
function curedExcept(cell: Cell, spared: number): CpuidEntry2[] {
  const { entries, checker } = cell.column.tableOf(cell.model.tables[0]!.entries);
  const nearest = checker.check(entries).acceptedTable;
  return entries.map((entry, position) => {
    const result = { ...nearest[position]! };
    for (const refusal of cell.changes[spared]?.refusals ?? []) {
      const { function: fn, index, register, mask } = refusal;
      if (register === 'nent' || fn !== entry.function || index !== entry.index) continue;
      result[register] = ((result[register] & ~mask) | (entry[register] & mask)) >>> 0;
    }
    return result;
  });
}

describe.each(['granite-rapids', 'skylake-sp', 'genoa', 'naples', 'zhaoxin-kh40000'])('all models on %s', (host) => {
  const column = columnOn(host);
  const cells = MODELS.filter((model) => isForVendor(model, column.vendor)).map((model) => column.judge(model));

  test('some are for its vendor', () => {
    expect(cells.length).toBeGreaterThan(0);
  });

  test('each refused bit goes away with exactly one change', () => {
    for (const { refusals, changes } of cells) {
      expect(bitsOf(changes.flatMap((change) => change.refusals))).toBe(bitsOf(refusals));
      const places = changes.flatMap((change) => change.refusals.map(({ place, reason }) => `${place} ${reason}`));
      expect(new Set(places).size).toBe(refusals.length);
    }
  });

  test('with all changes the table is accepted; without any one of them it is refused', () => {
    for (const cell of cells) {
      const { checker } = column.tableOf(cell.model.tables[0]!.entries);
      expect([cell.model.name, checker.check(curedExcept(cell, -1)).errno]).toEqual([cell.model.name, 'OK']);
      for (const [at, { cause }] of cell.changes.entries()) {
        expect([cell.model.name, cause.text, checker.check(curedExcept(cell, at)).accepted]).toEqual([
          cell.model.name,
          cause.text,
          false,
        ]);
      }
    }
  });

  test("cut to this KVM's answer, no table has more refused bits than before", () => {
    const filtered = columnOn(host, 'qemu');
    for (const cell of cells) {
      const after = filtered.judge(cell.model);
      expect([cell.model.name, after.off]).toEqual([cell.model.name, 'OK']);
      const [before, now] = [cell, after].map(({ refusals }) => bitsOf(refusals));
      // QEMU describes XSAVE components that only the host has.
      const ofComponents = bitsOf(after.refusals.filter(({ function: fn, index }) => fn === 0xd && index >= 2));
      expect(now! - ofComponents).toBeLessThanOrEqual(before!);
    }
  });
});

describe('groups and the document', () => {
  const columns = ['skylake-sp', 'genoa'].map((host) => columnOn(host));
  const models = [modelNamed('EPYC-Turin-v1'), modelNamed('DiamondRapids-v1'), modelNamed('qemu64-v1')];
  const cells = columns.flatMap((column) => models.map((model) => column.judge(model)));
  const document = matrixDocument({ policy: 'paranoid', filter: 'none', models, columns, unavailable: [], cells });

  test('totals count pairs', () => {
    const refused = cells.filter(({ errno }) => errno !== 'OK').length;
    expect(document.totals).toEqual({ models: 3, pairs: 6, accepted: 6 - refused, refused });
    expect(document.accepted).toBe(false);
  });

  test('cells point at bits and changes that name their model and host', () => {
    for (const cell of document.cells) {
      for (const at of cell.refused) {
        expect(document.bits[at!]!.models).toContain(cell.model);
        expect(document.bits[at!]!.columns).toContain(cell.column);
      }
      for (const at of cell.changes) expect(document.changes[at!]!.models).toContain(cell.model);
      expect(cell.accepted).toBe(cell.refused.length === 0);
    }
  });

  test('pairs of a group are those cells that have it', () => {
    for (const { refusal, pairs } of refusalGroups(cells)) {
      const having = cells.filter(({ refusals }) =>
        refusals.some(({ place, reason }) => place === refusal.place && reason === refusal.reason),
      );
      expect(pairs).toBe(having.length);
    }
    const all = cells.reduce((sum, { refusals }) => sum + bitsOf(refusals), 0);
    expect(changeGroups(cells).reduce((sum, { bits }) => sum + bits, 0)).toBe(all);
  });

  test('models of one family that fare alike share a row', () => {
    const versions = MODELS.filter(({ name }) => name.startsWith('Skylake-Server-'));
    const [skylake] = columns;
    expect(alikeModels(versions, (model) => [skylake!.judge(model)])).toEqual([versions]);
    expect(alikeModels([versions[0]!, modelNamed('qemu64-v1')], () => [null])).toHaveLength(2);
  });

  test.each([
    [['a', 'b'], 'all 2'],
    [['b'], 'b'],
  ])('%j in short is %s', (names, short) => {
    expect(namesInShort(names, ['a', 'b'])).toBe(short);
  });

  test('versions of a model in short', () => {
    const all = ['X-v1', 'X-v2', 'X-v4', 'Y-v1', 'Z'];
    expect(namesInShort(['X-v1', 'X-v4', 'Y-v1'], all)).toBe('X-v1,v4, Y-v1');
    expect(namesInShort(['X-v1', 'X-v2', 'X-v4'], all)).toBe('X-*');
    expect(namesInShort([], all)).toBe('');
  });
});

describe("another vendor's host", () => {
  const [intel, amd] = [columnOn('granite-rapids', 'qemu'), columnOn('genoa', 'qemu')];
  const vendorOn = (column: Column, name: string) =>
    vendorOf(column.tableOf(modelNamed(name).tables[0]!.entries).entries);

  test("QEMU writes the host's vendor", () => {
    expect([vendorOn(intel!, 'EPYC-v1'), vendorOn(amd!, 'EPYC-v1')]).toEqual(['GenuineIntel', 'AuthenticAMD']);
    expect(vendorOn(amd!, 'Skylake-Server-v5')).toBe('AuthenticAMD');
  });

  test("AMD's copies of 1.EDX come and go with it", () => {
    expect(texts(columnOn('granite-rapids').judge(modelNamed('qemu64-v1'))).join()).toContain('CPUID.80000001H:EDX');
    for (const column of [intel!, amd!]) expect(column.judge(modelNamed('qemu64-v1')).errno).toBe('OK');
  });
});

describe("what a real QEMU passed is what the filter's rows say", () => {
  test('-cpu host has both RAS bits, which KVM does not report', () => {
    const cell = columnOn('genoa').judge(REAL.find(({ name }) => name === '11.1.3:host')!);
    expect(texts(cell)).toContain('clear CPUID.80000007H:EBX[1] succor');
  });

  test('tables that were cut on a real host stay as they are when cut on a richer one', () => {
    const column = columnOn('genoa', 'qemu');
    for (const model of REAL.filter(({ name }) => !name.includes('host') && !name.includes('max'))) {
      const { entries } = model.tables[0]!;
      const words = (list: readonly CpuidEntry2[]) => list.filter(({ function: fn }) => fn !== 0xa && fn !== 0xd);
      const cut = words(column.tableOf(entries).entries);
      expect([model.name, cut]).toEqual([model.name, words(entries)]);
    }
  });
});
