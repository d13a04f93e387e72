import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { builtInHost } from '../../src/hosts/index.js';
import { compareRows, parseDump, stale, unexplained } from './compare.js';
import { DUMPED_HOSTS } from './explanations.js';

/**
 * Each model beside a dump of a real part of its kind: every register is equal, or the difference has a reason.
 * The dumps are others' data and are only read where the shared folder lies beside the project.
 */
const DUMPS = new URL('../../../shared/dumps/', import.meta.url);
const present = existsSync(DUMPS);

describe.skipIf(!present)(`models against dumps${present ? '' : ' (skipped: ../shared/dumps is not there)'}`, () => {
  for (const [name, { dump, explanations }] of Object.entries(DUMPED_HOSTS)) {
    const differences = () =>
      compareRows(builtInHost(name)?.rows ?? [], parseDump(readFileSync(new URL(`${dump}.txt`, DUMPS), 'utf8')));

    test(`${name} differs from ${dump} only where that is explained`, () => {
      expect(unexplained(differences(), explanations)).toEqual([]);
    });

    test(`every explained difference of ${name} is still one`, () => {
      expect(stale(differences(), explanations)).toEqual([]);
    });
  }
});
