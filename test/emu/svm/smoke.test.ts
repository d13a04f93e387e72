import { expect, test } from 'vitest';
import { AT, Rig } from './rig.js';

test('a guest runs CPUID and leaves', () => {
  const rig = new Rig().intercept('CPUID').guest((a) => {
    a.mov('eax', 1);
    a.cpuid();
    a.hlt();
  });
  expect(rig.enter()).toBe('CPUID');
  expect(rig.vmcb.get('RIP')).toBe(BigInt(AT.guestCode + 5));
  expect(rig.vmcb.get('NRIP')).toBe(BigInt(AT.guestCode + 7));
  expect(rig.vmcb.get('RAX')).toBe(1n);
  console.log(rig.core.clock.now[0]);
});
