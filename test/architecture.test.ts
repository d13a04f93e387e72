import { existsSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSources, SOURCE_ROOT, type Sources, withoutComments } from './support/sources.js';

/** From low to high. A file imports from its own floor or from those below. */
const FLOORS: readonly (readonly string[])[] = [
  ['cpuid'],
  ['emu', 'hosts'],
  ['linux'],
  ['kvm'],
  ['vmx', 'svm', 'tdx'],
  ['api', 'index.ts'],
  ['report', 'fuzz', 'scenarios', 'live', 'batch'],
  ['cli'],
];

/** Neighbours on one floor that do not know each other. */
const STRANGERS: readonly (readonly [string, string])[] = [
  ['emu', 'hosts'],
  ['vmx', 'svm'],
];

/** What runs in a browser too: no Node, no packages, no clock, no chance. */
const PURE = ['cpuid', 'emu', 'hosts', 'linux', 'kvm', 'vmx', 'svm', 'tdx', 'scenarios', 'api', 'index.ts'];

const IMPURE_GLOBALS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['Math.random', /\bMath\s*\.\s*random\b/],
  ['the clock', /\bDate\s*\.\s*now\b|\bnew\s+Date\b|\bperformance\s*\.\s*now\b/],
  ['a timer', /\bset(?:Timeout|Interval|Immediate)\s*\(/],
  [
    'Node',
    /\bprocess\s*\.\s*(?:env|argv|stdin|stdout|stderr|exit|exitCode|cwd|hrtime|platform|binding)\b|\bBuffer\s*\./,
  ],
  ['the console', /\bconsole\s*\./],
];

const floorOf = (folder: string): number => FLOORS.findIndex((folders) => folders.includes(folder));

/** The folder right below `src/`, or the file itself. */
const folderOf = (path: string): string => path.split('/')[0]!;

/** What a file imports: `import … from`, `export … from`, `import 'x'`, `import('x')`, `require('x')`. */
function importsOf(text: string): string[] {
  const code = withoutComments(text);
  const statements = /(?:^|[\n;}])\s*(?:import|export)\b(?:[^'"`;]*?\bfrom)?\s*['"]([^'"\n]+)['"]/g;
  const calls = /(?<![.\w])(?:import|require)\s*\(\s*['"`]([^'"`\n]+)['"`]/g;
  return [...code.matchAll(statements), ...code.matchAll(calls)].map((match) => match[1]!);
}

/** Everything in which sources break the floor plan, one sentence each. */
function violations(sources: Sources): string[] {
  return Object.entries(sources).flatMap(([path, text]) => {
    const folder = folderOf(path);
    if (floorOf(folder) < 0) return [`${path}: ${folder} has no floor`];
    return [
      ...importsOf(text).flatMap((target) => importViolation(path, target)),
      ...(PURE.includes(folder) ? impurities(path, text) : []),
    ];
  });
}

function importViolation(path: string, target: string): string[] {
  const folder = folderOf(path);
  if (!target.startsWith('.')) {
    return PURE.includes(folder) ? [`${path}: ${folder} is pure and imports ${target}`] : [];
  }
  const other = folderOf(posix.normalize(posix.join(posix.dirname(path), target)).replace(/\.js$/, '.ts'));
  if (other === '..') return []; // package.json and the like: not a floor
  if (floorOf(other) < 0) return [`${path}: ${target} has no floor`];
  if (floorOf(other) > floorOf(folder)) return [`${path}: ${folder} imports upward from ${other}`];
  const strangers = STRANGERS.some((pair) => pair.includes(folder) && pair.includes(other) && folder !== other);
  return strangers ? [`${path}: ${folder} must not know ${other}`] : [];
}

function impurities(path: string, text: string): string[] {
  const code = withoutComments(text);
  return IMPURE_GLOBALS.filter(([, pattern]) => pattern.test(code)).map(([name]) => `${path}: uses ${name}`);
}

describe('the floors of src/', () => {
  const sources = readSources();

  test('every import points down, and the pure floors are pure', () => {
    expect(violations(sources)).toEqual([]);
  });

  test('every relative import names a file that is there, with its extension', () => {
    const dangling = Object.entries(sources).flatMap(([path, text]) =>
      importsOf(text)
        .filter((target) => target.startsWith('.'))
        .filter((target) => !existsSync(join(SOURCE_ROOT, dirname(path), target.replace(/\.js$/, '.ts'))))
        .map((target) => `${path}: ${target}`),
    );
    expect(dangling).toEqual([]);
  });

  test('the checker reads the imports that are there', () => {
    const found = Object.values(sources).flatMap(importsOf);
    expect(found).toContain('node:fs');
    expect(found).toContain('commander');
    expect(found).toContain('./api/check.js');
    const statements =
      Object.values(sources)
        .join('\n')
        .match(/^(?! \*).*\bfrom '[^']+';$/gm) ?? [];
    expect(found.length).toBeGreaterThanOrEqual(statements.length);
  });
});

describe('the checker bites', () => {
  const broken: readonly (readonly [what: string, path: string, text: string, complaint: string | null])[] = [
    ['an upward import', 'cpuid/a.ts', "import { x } from '../kvm/x.js';", 'cpuid/a.ts: cpuid imports upward from kvm'],
    [
      'a type-only one',
      'linux/a.ts',
      "import type { X } from '../kvm/x.js';",
      'linux/a.ts: linux imports upward from kvm',
    ],
    ['a re-export', 'kvm/a.ts', "export * from '../vmx/vmx.js';", 'kvm/a.ts: kvm imports upward from vmx'],
    [
      'a named re-export',
      'kvm/p/a.ts',
      "export { a,\n  b } from '../../svm/svm.js';",
      'kvm/p/a.ts: kvm imports upward from svm',
    ],
    ['common code that knows TDX', 'kvm/a.ts', "import '../tdx/td.js';", 'kvm/a.ts: kvm imports upward from tdx'],
    [
      'the public API from below',
      'vmx/a.ts',
      "import { a } from '../index.js';",
      'vmx/a.ts: vmx imports upward from index.ts',
    ],
    [
      'an import over several lines',
      'emu/a.ts',
      "import {\n  a,\n  b,\n} from '../linux/b.js';",
      'emu/a.ts: emu imports upward from linux',
    ],
    [
      'a dynamic import',
      'api/a.ts',
      "const a = await import('../cli/main.js');",
      'api/a.ts: api imports upward from cli',
    ],
    [
      'hosts that know the machine',
      'hosts/a.ts',
      "import { Cpu } from '../emu/machine.js';",
      'hosts/a.ts: hosts must not know emu',
    ],
    [
      'a machine that knows hosts',
      'emu/a.ts',
      "import { h } from '../hosts/index.js';",
      'emu/a.ts: emu must not know hosts',
    ],
    ['VMX that knows SVM', 'vmx/a.ts', "import { s } from '../svm/svm.js';", 'vmx/a.ts: vmx must not know svm'],
    [
      'Node on a pure floor',
      'kvm/a.ts',
      "import { readFileSync } from 'node:fs';",
      'kvm/a.ts: kvm is pure and imports node:fs',
    ],
    ['a bare builtin', 'linux/a.ts', "import fs from 'fs';", 'linux/a.ts: linux is pure and imports fs'],
    ['a package', 'api/a.ts', "import pc from 'picocolors';", 'api/a.ts: api is pure and imports picocolors'],
    ['require', 'index.ts', "const z = require('zlib');", 'index.ts: index.ts is pure and imports zlib'],
    ['chance', 'scenarios/a.ts', 'export const a = Math.random();', 'scenarios/a.ts: uses Math.random'],
    ['the clock', 'emu/a.ts', 'export const a = () => Date.now();', 'emu/a.ts: uses the clock'],
    ['the environment', 'kvm/a.ts', 'export const a = process.env.A;', 'kvm/a.ts: uses Node'],
    ['a folder of its own', 'misc/a.ts', '', 'misc/a.ts: misc has no floor'],
    [
      'an import behind another statement',
      'cpuid/a.ts',
      "import './b.js'; import '../emu/c.js';",
      'cpuid/a.ts: cpuid imports upward from emu',
    ],

    ['a downward import', 'kvm/a.ts', "import { a } from '../linux/b.js';", null],
    ['a neighbour', 'tdx/a.ts', "import { a } from '../vmx/b.js';", null],
    ['Node above the pure floors', 'cli/a.ts', "import { readFileSync } from 'node:fs';", null],
    [
      'an import in a comment',
      'cpuid/a.ts',
      "/**\n * import { a } from '../kvm/b.js';\n */\n// import 'node:fs';",
      null,
    ],
    ['a word in a comment', 'emu/a.ts', '/** No Math.random here, and no Date.now. */\nexport const a = 1;', null],
    [
      'a sentence that only looks like one',
      'cpuid/a.ts',
      "throw new Error('cannot import from ' + name + 'kvm');",
      null,
    ],
  ];

  test.each(broken)('%s', (_, path, text, complaint) => {
    expect(violations({ [path]: text })).toEqual(complaint === null ? [] : [complaint]);
  });
});
