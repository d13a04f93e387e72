import { describe, expect, test } from 'vitest';
import { CommandLine } from '../../src/linux/command-line.js';

describe('words', () => {
  const rows: readonly (readonly [text: string, word: string, given: boolean])[] = [
    ['quiet noxsave ro', 'noxsave', true],
    ['noxsave', 'noxsave', true],
    ['\tnoxsave\n', 'noxsave', true],
    ['', 'noxsave', false],
    ['noxsaves', 'noxsave', false],
    ['noxsave=1', 'noxsave', false],
    ['xnoxsave', 'noxsave', false],
    ['NOXSAVE', 'noxsave', false],
    ['mitigations=off', 'mitigations=off', true],
    ['mitigations=off,nosmt', 'mitigations=off', true],
    ['mitigations=auto,nosmt', 'mitigations=nosmt', true],
    ['mitigations=auto mitigations=off', 'mitigations=off', true],
    ['mitigations=offline', 'mitigations=off', false],
    ['mitigations', 'mitigations=off', false],
    ['kvm.mitigations=off', 'mitigations=off', false],
    ['tsx=on', 'tsx=off', false],
    ['tsx=off', 'tsx', false],
    ['tsx=', 'tsx=', true],
  ];

  test.each(rows)('"%s" has %s: %s', (text, word, given) => {
    expect(new CommandLine(text).has(word)).toBe(given);
  });
});

describe('lists', () => {
  const rows: readonly (readonly [text: string, key: string, list: readonly string[]])[] = [
    ['clearcpuid=avx2,sha_ni,rdrand', 'clearcpuid', ['avx2', 'sha_ni', 'rdrand']],
    ['clearcpuid=avx2 ro clearcpuid=514', 'clearcpuid', ['avx2', '514']],
    ['clearcpuid', 'clearcpuid', []],
    ['clearcpuid=', 'clearcpuid', ['']],
    ['setcpuid=avx2', 'clearcpuid', []],
    ['xclearcpuid=avx2', 'clearcpuid', []],
    ['a=b=c,d', 'a', ['b=c', 'd']],
    ['', 'a', []],
  ];

  test.each(rows)('"%s": %s', (text, key, list) => {
    expect(new CommandLine(text).list(key)).toEqual(list);
  });

  test('the text is kept as it was', () => {
    expect(new CommandLine('  ro   quiet ').text).toBe('  ro   quiet ');
  });
});
