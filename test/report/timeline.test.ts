import { describe, expect, test } from 'vitest';
import { scenariosPage } from '../../src/report/scenarios-doc.js';
import { timelineSvg } from '../../src/report/timeline.js';
import { runScenario, SCENARIOS, type Variant } from '../../src/scenarios/index.js';

const named = (name: string) => SCENARIOS.find((scenario) => scenario.name === name)!;
const play = (name: string, variant: Partial<Variant>) =>
  runScenario(named(name), { policy: 'off', kernel: '7.3', module: '2.0.8', ...variant });

/** Start tags and end tags in their order; what is not closed at the end. */
function open(svg: string): readonly string[] {
  const stack: string[] = [];
  for (const [, end, name, closed] of svg.matchAll(/<(\/?)(\w+)[^<>]*?(\/?)>/g)) {
    if (end) expect(stack.pop()).toBe(name);
    else if (!closed) stack.push(name!);
  }
  return stack;
}

/** All places on the x-axis that a picture names. */
const places = (svg: string): number[] =>
  [...svg.matchAll(/ (?:x|x1|x2|cx)="([^"]*)"/g)].map((match) => Number(match[1]));

describe('a timeline', () => {
  const harmed = play('waitpkg-td', {});
  const svg = timelineSvg(harmed);

  test('is one well-formed drawing within its frame', () => {
    expect(svg.startsWith('<svg ')).toBe(true);
    expect(open(svg)).toEqual([]);
    for (const place of places(svg)) expect(place >= 0 && place <= 960).toBe(true);
  });

  test('has the lanes, the values that the MSR took, and the moment of harm', () => {
    for (const text of ['host', 'KVM', 'guest', 'IA32_UMWAIT_CONTROL', ...harmed.samples.map(({ value }) => value)])
      expect(svg).toContain(`>${text}<`);
    expect(svg).toContain('from cycle 105,657 on: IA32_UMWAIT_CONTROL'.replace('105,657', grouped(harmed.cycle!)));
  });

  test('is the same for the same run', () => {
    expect(timelineSvg(play('waitpkg-td', {}))).toBe(svg);
  });

  test('names the ioctl that refuses, and no harm', () => {
    const prevented = timelineSvg(play('waitpkg-td', { policy: 'paranoid' }));
    expect(prevented).toContain('>KVM_TDX_INIT_VM: EINVAL<');
    expect(prevented).not.toContain('from cycle');
  });

  test('shows each CPU on which guests ran', () => {
    const many = timelineSvg(play('umwait-many', {}));
    expect(open(many)).toEqual([]);
    for (const cpu of [0, 1, 2, 3]) expect(many).toContain(`>CPU ${cpu} guest<`);
  });

  const grouped = (value: number): string => value.toLocaleString('en-GB');
});

describe('the page about scenarios', () => {
  const chosen = SCENARIOS.filter(({ name }) => ['waitpkg-td', 'stale-user-return', 'syscall-msrs'].includes(name));
  const { page, pictures } = scenariosPage(chosen);

  test('has a section for each, what CPUID can do about it, and a command', () => {
    for (const { name, limits } of chosen) {
      expect(page).toContain(`\n## ${name}\n`);
      expect(page).toContain(limits);
      expect(page).toContain(`$ kvm-cpuid scenario run ${name} --policy `);
    }
  });

  test('shows every picture that it writes', () => {
    expect(pictures.size).toBeGreaterThan(0);
    for (const [file, svg] of pictures) {
      expect(page).toContain(`(img/${file})`);
      expect(open(svg)).toEqual([]);
    }
  });

  test('says of what the policy does not prevent that it does not', () => {
    const section = page.split('\n## stale-user-return\n')[1]!.split('\n## ')[0]!;
    expect(section).toContain('scenario run stale-user-return --policy paranoid');
    expect(section).toContain('Paranoid mode does not prevent it');
  });
});
