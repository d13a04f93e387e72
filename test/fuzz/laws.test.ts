import { describe, expect, test } from 'vitest';
import { Harvest } from '../../src/fuzz/finding.js';
import { TableGenerator } from '../../src/fuzz/generator.js';
import { GuestGenerator } from '../../src/fuzz/guest-case.js';
import { type GuestLaw, isGuestLaw } from '../../src/fuzz/law.js';
import { LAWS, lawNamed } from '../../src/fuzz/laws/index.js';
import { Place, type PlaceSpec } from '../../src/fuzz/place.js';
import { brokenBy, holds, Runner } from '../../src/fuzz/runner.js';
import type { KvmOptions } from '../../src/index.js';
import { KVM_SET_CPUID2 } from '../../src/kvm/abi.js';
import { runs } from '../support/runs.js';
import { NAMED, OWN_LAWS, planOf, specOf } from './places.js';

const COMMAND = { place: () => '', kernelOptions: {} };

/** Judges as many cases of one law at one place; returns the numbers of those in which it does not hold. */
function broken(law: string, place: Place, count: number): number[] {
  const chosen = lawNamed(law)!;
  if (isGuestLaw(chosen)) return brokenGuests(chosen, place, Math.ceil(count / 20));
  const judge = chosen.judge(place);
  const generator = new TableGenerator(place);
  const reportedOnly = chosen.tables === 'reported';
  return Array.from({ length: count }, (_, number) => number).filter(
    (number) => !holds(judge, generator.make(3, number, reportedOnly), generator.count, generator.chance),
  );
}

function brokenGuests(law: GuestLaw, place: Place, count: number): number[] {
  const judge = law.judgeGuests(place);
  const generator = new GuestGenerator(place);
  return Array.from({ length: count }, (_, number) => number).filter(
    (number) => brokenBy(judge, generator.make(3, number)).size > 0,
  );
}

describe('the catalogue', () => {
  test('has a name and a sentence for each law', () => {
    expect(new Set(LAWS.map(({ name }) => name)).size).toBe(LAWS.length);
    for (const { name, says } of LAWS) {
      expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(says).toMatch(/^\w.*[^.]$/);
    }
  });

  describe.each(NAMED)('at %s', (_, spec) => {
    test.each(OWN_LAWS.filter(({ where }) => where === undefined || where(spec)).map(({ name }) => name))(
      '%s holds',
      (law) => {
        expect(broken(law, new Place(spec), runs(1000).numRuns!)).toEqual([]);
      },
    );
  });
});

/** What campaigns on a kernel with a known fault find, shrunk. */
function harvest(spec: PlaceSpec, laws: readonly string[], blocks: number) {
  const plan = planOf({ places: [spec], laws, end: blocks * 1024, seed: 1 });
  const runner = new Runner(plan);
  const found = new Harvest(plan, COMMAND);
  for (let n = 0; n < blocks && found.findings.length < 20; n++) for (const hit of runner.run(n)!.hits) found.add(hit);
  return found.findings;
}

describe('the known faults are found, and shrink', () => {
  const spec = (options: KvmOptions, amx = false) => specOf('sapphire-rapids', 'default', options, amx);

  test('emulated features that are looked up by function only', () => {
    const [finding] = harvest(spec({ defects: ['emulated-index-blind'] }), ['verdict-naive'], 100);
    expect(finding!.entries).toEqual(['00000007 00000001 1 00000000 00000000 00400000 00000000']);
    expect(finding!.cell).toBe('CPUID.(EAX=7,ECX=1):ECX[22]');
  });

  test('entries without a flag that are checked against sub-leaf 0 alone', () => {
    const findings = harvest(spec({ defects: ['flagless-first-row'] }), ['verdict-naive'], 10);
    expect(findings.length).toBeGreaterThan(3);
    for (const { entries, cell } of findings) {
      expect(entries).toHaveLength(1);
      expect(cell).toContain('without a significant index');
    }
  });

  test('a pass that verifies after it has grown the FPU buffer', () => {
    const findings = harvest(spec({ placement: 'combined' }, true), ['refusal-changes-nothing'], 20);
    expect(findings.length).toBeGreaterThan(0);
    for (const { entries } of findings) expect(entries.length).toBeLessThanOrEqual(2);
    expect(findings[0]!.cell).toContain('EAX[18]');
  });

  test.each([
    ['features that the module lets a TD have, and no check', { policy: 'off' }, 'WAITPKG'],
    ['a feature that the list of denied ones does not know', { policy: 'denylist', tdxModule: 'fred-a' }, 'FRED'],
  ] as const)('TDs: %s', (_, options, feature) => {
    const findings = harvest(specOf('sapphire-rapids', 'tdx', options), ['td-features'], 80);
    expect(findings.map(({ cell }) => cell).join()).toContain(feature);
    for (const { entries } of findings) expect(entries).toHaveLength(1);
  });

  test('no fault, no findings', () => {
    const td = specOf('sapphire-rapids', 'tdx', { tdxModule: 'fred-a' });
    expect(harvest(td, ['td-features'], 40)).toEqual([]);
    expect(harvest(spec({}, true), ['verdict-naive', 'refusal-changes-nothing', 'verdict-kernels'], 20)).toEqual([]);
  });
});

describe('the laws bite', () => {
  const tampered = (change: (place: Place) => void, vmType: PlaceSpec['vmType'] = 'default'): Place => {
    const place = new Place(specOf('sapphire-rapids', vmType));
    change(place);
    return place;
  };
  /** The lines of the rules no longer say what the screen says that was made from them. */
  const withoutMasks = (place: Place): void => {
    void place.rules.screen;
    place.rules.reject.fill(0);
  };

  /** KVM_SET_CPUID2 answers as it should not. */
  const answering =
    (wrongly: (answer: number, n: number) => number) =>
    ({ process }: Place): void => {
      const original = process.ioctl.bind(process);
      let calls = 0;
      process.ioctl = (fd, request, argument) => {
        const answer = original(fd, request, argument);
        return request === KVM_SET_CPUID2 ? wrongly(answer, calls++) : answer;
      };
    };

  test.each([
    [
      'verdict-kernels',
      'a screen that refuses more than the rules',
      (place: Place) => {
        const { verifier } = place;
        const original = verifier.firstRefused.bind(verifier);
        verifier.firstRefused = (rules, offset, count) => (count > 3 ? 2 : original(rules, offset, count));
      },
    ],
    ['verdict-naive', 'rules without masks', withoutMasks],
    ['errno-only', 'an ioctl that answers EPERM for EINVAL', answering((answer) => (answer === -22 ? -1 : answer))],
    [
      'idempotence',
      'an ioctl that answers otherwise each time',
      answering((answer, n) => (answer === -22 && n % 2 === 0 ? -1 : answer)),
    ],
  ] as const)('%s: %s', (law, _, change) => {
    expect(broken(law, tampered(change), 2000).length).toBeGreaterThan(0);
  });

  test('an exception on the way breaks a law too', () => {
    const throwing = () => {
      throw new Error('out of bounds');
    };
    expect(holds(throwing, 0, 0, 0)).toBe(false);
  });
});
