import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { Corpus, fingerprint, readFinding } from '../../src/fuzz/corpus.js';
import type { FuzzFinding } from '../../src/fuzz/finding.js';
import type { PlaceSpec } from '../../src/fuzz/place.js';
import { FormatError, readPayload, withInputs } from '../../src/index.js';
import { hostNamed } from '../support/platforms.js';
import { planOf, specOf } from './places.js';

const folder = mkdtempSync(join(tmpdir(), 'kvm-cpuid-corpus-'));
afterAll(() => rmSync(folder, { recursive: true }));

const finding: FuzzFinding = {
  property: 'verdict-naive',
  host: 'genoa',
  vm_type: 'default',
  kernel: '7.3',
  policy: 'paranoid',
  guest_perm: 'none',
  seed: 1,
  case: 12,
  chance: 5,
  cell: 'CPUID.(EAX=7,ECX=1):ECX[22]',
  entries: ['00000007 00000001 1 00000000 00000000 00400000 00000000'],
  replay: 'kvm-cpuid fuzz …',
  kernel_options: {},
};

describe('a corpus', () => {
  test('has a file for each finding, that is a payload too', () => {
    const corpus = new Corpus(join(folder, 'new', 'deep'));
    const path = corpus.save(finding);
    expect(corpus.save({ ...finding, case: 99 })).toBe(path);
    expect(readdirSync(join(folder, 'new', 'deep'))).toEqual(['verdict-naive-cpuid-eax-7-ecx-1-ecx-22.json']);
    const bytes = readFileSync(path);
    expect(readFinding(path, JSON.parse(bytes.toString()))).toMatchObject({ ...finding });
    expect(readPayload(bytes, path).tables[0]!.entries).toMatchObject([{ function: 7, index: 1, ecx: 0x40_0000 }]);
  });

  test('remembers where a campaign stopped', () => {
    const corpus = new Corpus(folder);
    const plan = planOf();
    const arrays = { accepted: Int32Array.of(1, -1), refused: Int32Array.of(0, 2), seen: Int32Array.of(1, 3) };
    corpus.saveState(plan, 2048, 1000, new Map([[3, arrays]]));
    expect(corpus.loadState()).toEqual({
      next: 2048,
      runs: 1000,
      seed: 7,
      campaign: fingerprint(plan),
      coverage: [[3, arrays]],
    });
  });

  test('tells campaigns apart by all that decides about their verdicts', () => {
    const of = (change: Partial<PlaceSpec>) =>
      fingerprint(planOf({ places: [{ ...specOf('emerald-rapids', 'tdx'), ...change }] }));
    const host = hostNamed('emerald-rapids');
    const options: PlaceSpec['options'] = { policy: 'paranoid' };
    const others = [
      of({}),
      of({ options: { policy: 'off' } }),
      of({ options: { ...options, defects: ['emulated-index-blind'] } }),
      of({ options: { ...options, tdxModule: 'fred-a' } }),
      of({ options: { ...options, placement: 'combined' } }),
      of({ options: { ...options, reserved: 'ignore' } }),
      of({ host: withInputs(host, { kernel: '6.18' }) }),
      of({ host: withInputs(host, { cmdline: 'tsx=off' }) }),
      of({ amx: true }),
      of({ vmType: 'default' }),
    ];
    expect(new Set(others).size).toBe(others.length);
    expect(of({ options: { ...options, placement: 'separate', reserved: 'zero', defects: [] } })).toBe(others[0]);
  });

  test('says what is wrong with a state', () => {
    const empty = new Corpus(join(folder, 'empty'));
    expect(() => empty.loadState()).toThrow(FormatError);
    for (const text of ['{', '{}', '{"next":1,"seed":2}']) {
      writeFileSync(join(folder, 'empty', 'state.json'), text);
      expect(() => empty.loadState()).toThrow(FormatError);
    }
  });

  test.each([null, {}, [], { property: 'x' }])('takes %j for no finding', (document) => {
    expect(() => readFinding('file', document)).toThrow('no finding in it');
  });
});
