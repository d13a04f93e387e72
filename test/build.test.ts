import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import * as api from '../src/index.js';

const dist = (path: string): string => fileURLToPath(new URL(`../dist/${path}`, import.meta.url));
const LIBRARY = dist('bundle/library.js');

/** `npm test` builds first. */
describe.runIf(existsSync(LIBRARY))('the library as it is built', () => {
  const text = existsSync(LIBRARY) ? readFileSync(LIBRARY, 'utf8') : '';

  test('needs nothing: no package, nothing of Node, no other part', () => {
    expect(text.match(/^import .*|\bimport\(/gm)).toBeNull();
  });

  test('exports no constant that its own code reads', () => {
    const exported = [...text.matchAll(/^export \{(.*)\};$/gm)].flatMap(([, names]) => names!.split(','));
    expect(exported.length).toBeGreaterThan(100);
    const uses = new Map<string, number>();
    for (const [word] of text.matchAll(/[\w$]+/g)) uses.set(word, (uses.get(word) ?? 0) + 1);
    for (const name of exported) {
      const own = name.trim().split(' as ')[0]!;
      expect(uses.get(own), `${own}: once where it is made, once where it is exported`).toBe(2);
    }
  });

  test('gives what the sources export', async () => {
    const built = (await import(dist('index.js'))) as object;
    expect(Object.keys(built).sort()).toEqual(Object.keys(api).sort());
  });
});
