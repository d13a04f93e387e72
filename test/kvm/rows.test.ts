import { describe, expect, test } from 'vitest';
import { REGISTERS } from '../../src/cpuid/entry.js';
import { compileExpression } from '../../src/cpuid/expression.js';
import { featureNamed, findFeature, wordNamed } from '../../src/cpuid/features.js';
import { inRange, onLine } from '../../src/cpuid/kernel-line.js';
import { bootKvm, KERNEL_LINES, withInputs } from '../../src/index.js';
import { KVM_CHECK_EXTENSION } from '../../src/kvm/abi.js';
import { type CapStep, COMMON_VARIABLES, INIT_PROGRAM, XSS_PROGRAM } from '../../src/kvm/cap-rows.js';
import { CAPABILITY_ROWS } from '../../src/kvm/capability-rows.js';
import { dialectOf } from '../../src/kvm/caps.js';
import { AllowedTable } from '../../src/kvm/paranoid/allowed-table.js';
import { RULE_ROWS } from '../../src/kvm/paranoid/rule-rows.js';
import { LEAF_ROWS } from '../../src/kvm/supported-rows.js';
import type { VendorModule } from '../../src/kvm/vendor.js';
import { kvmAmd } from '../../src/svm/svm.js';
import { kvmIntel } from '../../src/vmx/vmx.js';
import { hostNamed } from '../support/platforms.js';

/** Every row of every table of KVM means something, on every kernel line and for both vendors. */

const VENDORS = [
  { name: 'kvm-intel', vendor: kvmIntel, host: hostNamed('sapphire-rapids') },
  { name: 'kvm-amd', vendor: kvmAmd, host: hostNamed('genoa') },
] as const;
const EVERYWHERE = VENDORS.flatMap((item) => KERNEL_LINES.map((line) => ({ ...item, line })));

const stepsOf = (vendor: VendorModule): readonly CapStep[] =>
  [COMMON_VARIABLES, vendor.variables, INIT_PROGRAM, vendor.program, XSS_PROGRAM].flat();

const isU32 = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;

describe.each(EVERYWHERE)('$name, Linux $line', ({ vendor, host, line }) => {
  const module = bootKvm(withInputs(host, { kernel: line }), { policy: 'paranoid' });
  const dialect = dialectOf(vendor);

  test('the rows of the capabilities compile, and are u32', () => {
    for (const overlay of vendor.overlays) {
      const { scope } = module.caps(overlay);
      const texts = stepsOf(vendor)
        .filter((row) => inRange(line, row.since, row.until))
        .flatMap((row) => [row.when, row.op === 'assign' ? row.value : undefined])
        .filter((text) => text !== undefined);
      const values = texts.map((text) => [text, compileExpression(text, dialect).number(scope)] as const);
      expect(values.filter(([, value]) => !isU32(value))).toEqual([]);
    }
  });

  test('the rows of the leaves compile, and are u32', () => {
    const { scope, words } = module.caps(module.defaultOverlay);
    const rows = LEAF_ROWS.flatMap((row) => [row, ...(row.sub ?? [])]);
    const texts = rows.flatMap((row) =>
      [...REGISTERS.map((register) => row[register]), 'gate' in row ? row.gate : undefined].flatMap((rule) =>
        rule === undefined ? [] : typeof rule === 'string' ? rule : (onLine(rule, line) ?? []),
      ),
    );
    for (const raw of [0, 0xffff_ffff]) {
      const values = texts.map((text) => [
        text,
        compileExpression(text, dialect).number({ ...scope, caps: words, raw }),
      ]);
      expect(values.filter(([, value]) => !isU32(value as number))).toEqual([]);
    }
  });

  test('the rules of paranoid mode compile, and are u32', () => {
    for (const overlay of vendor.overlays) {
      const { resolver } = new AllowedTable(
        module.allowedOptions(overlay, module.kernel.spawn({ guestPermissions: [18] })),
      );
      for (const fn of resolver.functions) {
        for (let index = 0; index <= resolver.lastIndex(fn) + 1; index++) {
          for (const { mask, value, fields } of resolver.resolve(fn, index)) {
            expect([mask, value, ...fields.map(({ limit }) => limit)].every(isU32)).toBe(true);
          }
        }
      }
    }
  });

  test('KVM_CHECK_EXTENSION answers with a number from 0 on', () => {
    const process = module.kernel.spawn();
    const fd = process.open('/dev/kvm');
    const answers = Array.from({ length: 300 }, (_, cap) => process.ioctl(fd, KVM_CHECK_EXTENSION, cap));
    expect(answers.filter((answer) => !isU32(answer) || answer > 0x7fff_ffff)).toEqual([]);
  });
});

describe('the capability programs', () => {
  test.each(VENDORS)('$name: rows name features and words that exist, on some kernel', ({ vendor }) => {
    for (const row of stepsOf(vendor)) {
      if (row.op === 'set' || row.op === 'clear') expect(findFeature(row.feature)?.name).toBe(row.feature);
      if (row.op === 'init') expect(wordNamed(row.word).name).toBe(row.word);
      expect([row, KERNEL_LINES.some((line) => inRange(line, row.since, row.until))]).toEqual([row, true]);
    }
  });

  test.each(KERNEL_LINES)('Linux %s: every word is filled once, and before a bit of it is changed', (line) => {
    const rows = INIT_PROGRAM.filter((row) => inRange(line, row.since, row.until));
    const filledAt = new Map(rows.flatMap((row, at) => (row.op === 'init' ? [[row.word, at] as const] : [])));
    expect(filledAt.size).toBe(rows.filter(({ op }) => op === 'init').length);
    const tooEarly = rows.filter((row, at) => {
      if (row.op !== 'set' && row.op !== 'clear') return false;
      // Words that a kernel does not fill have only the bits that it sets.
      return at < (filledAt.get(featureNamed(row.feature).word.name) ?? -1);
    });
    expect(tooEarly).toEqual([]);
  });
});

describe('the leaves that are reported', () => {
  test('one row for each function, and each sub-leaf once', () => {
    const functions = LEAF_ROWS.map((row) => row.function);
    expect(new Set(functions).size).toBe(functions.length);
    for (const { sub = [] } of LEAF_ROWS) expect(new Set(sub.map(({ index }) => index)).size).toBe(sub.length);
  });
});

describe('the rules', () => {
  test('ranges are in order, and do not overlap each other or a function with rows of its own', () => {
    const ranges = RULE_ROWS.flatMap((row) => (typeof row.function === 'number' ? [] : [row.function]));
    const singles = RULE_ROWS.flatMap((row) => (typeof row.function === 'number' ? row.function : []));
    let last = -1;
    for (const [from, to] of ranges) {
      expect(from).toBeGreaterThan(last);
      expect(to).toBeGreaterThanOrEqual(from);
      expect(singles.filter((fn) => fn >= from && fn <= to)).toEqual([]);
      last = to;
    }
  });

  test('together they cover every function there is', () => {
    const spans = RULE_ROWS.map(({ function: fn }) => (typeof fn === 'number' ? ([fn, fn] as const) : fn));
    const edges = [...new Set(spans.flatMap(([from, to]) => [from - 1, from, to, to + 1]))].filter(isU32);
    expect(edges.filter((fn) => !spans.some(([from, to]) => from <= fn && fn <= to))).toEqual([]);
  });

  test('each row says which registers, and where it comes from', () => {
    for (const row of RULE_ROWS) {
      const registers = row.registers === 'all' ? REGISTERS : row.registers.split(' ');
      expect([row, registers.every((name) => REGISTERS.includes(name as never))]).toEqual([row, true]);
      expect(row.source).toMatch(/^(S|P)/);
      expect(row.why).not.toBe('');
    }
  });
});

describe('KVM_CHECK_EXTENSION', () => {
  test('one row for each capability, in order', () => {
    const numbers = CAPABILITY_ROWS.map(([number]) => number);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    const names = CAPABILITY_ROWS.map(([, name]) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});
