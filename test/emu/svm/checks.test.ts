import { describe, expect, test } from 'vitest';
import { CHECKS, type Check } from '../../../src/emu/svm/checks.js';
import { Rig } from './rig.js';

/** What makes a VMCB illegal, one thing at a time. */
// biome-ignore format: one row per fact
const ROWS: readonly (readonly [check: Check, spoil: (rig: Rig) => void])[] = [
  ['EFER.SVME is zero', ({ vmcb }) => vmcb.set('EFER', 0xd01)],
  ['CR0.CD is zero and CR0.NW is set', ({ vmcb }) => vmcb.set('CR0', 0xa005_0033)],
  ['CR0[63:32] are not zero', ({ vmcb }) => vmcb.set('CR0', 0x1_8005_0033)],
  ['an MBZ bit of CR3 is set', ({ vmcb }) => vmcb.set('CR3', vmcb.get('CR3') | (1n << 52n))],
  ['an MBZ bit of CR3 is set', ({ vmcb }) => vmcb.set('CR3', vmcb.get('CR3') | (1n << 63n))],
  ['an MBZ bit of CR4 is set', ({ vmcb }) => vmcb.set('CR4', vmcb.get('CR4') | (1n << 13n))],
  ['an MBZ bit of CR4 is set', ({ vmcb }) => vmcb.set('CR4', vmcb.get('CR4') | (1n << 32n))],
  ['DR6[63:32] are not zero', ({ vmcb }) => vmcb.set('DR6', 0x1_ffff_0ff0)],
  ['DR7[63:32] are not zero', ({ vmcb }) => vmcb.set('DR7', 0x1_0000_0400)],
  ['an MBZ bit of EFER is set', ({ vmcb }) => vmcb.set('EFER', 0x1d03)],
  ['an MBZ bit of EFER is set', ({ vmcb }) => vmcb.set('EFER', 0x1_0000_1d01)],
  ['EFER.LME and CR0.PG are set and CR4.PAE is zero', ({ vmcb }) => vmcb.set('CR4', 0x680)],
  ['EFER.LME and CR0.PG are set and CR0.PE is zero', ({ vmcb }) => vmcb.set('CR0', 0x8005_0032)],
  ['EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are set', ({ vmcb }) => vmcb.set('CS_ATTRIB', 0xe9b)],
  ['the VMRUN intercept is clear', ({ vmcb }) => vmcb.intercept(0x80, false)],
  ['the MSR or IOIO map lies beyond physical memory', ({ vmcb }) => { vmcb.intercept(0x7c); vmcb.set('MSRPM_BASE_PA', 1n << 52n); }],
  ['the MSR or IOIO map lies beyond physical memory', ({ vmcb }) => { vmcb.intercept(0x7b); vmcb.set('IOPM_BASE_PA', 1n << 60n); }],
  ['illegal event injection', ({ vmcb }) => vmcb.set('EVENTINJ', 0x8000_0100)],
  ['illegal event injection', ({ vmcb }) => vmcb.set('EVENTINJ', 0x8000_0500)],
  ['illegal event injection', ({ vmcb }) => vmcb.set('EVENTINJ', 0x8000_0302)],
  ['illegal event injection', ({ vmcb }) => vmcb.set('EVENTINJ', 0x8000_030f)],
  ['illegal event injection', ({ vmcb }) => vmcb.set('EVENTINJ', 0x8000_0320)],
  ['ASID is zero', ({ vmcb }) => vmcb.set('ASID', 0)],
  ['CR4.CET is set and CR0.WP is zero', ({ vmcb }) => { vmcb.set('CR4', 0x80_06a0); vmcb.set('CR0', 0x8004_0033); }],
  ['nested paging while the host does not page', ({ vmcb, core, nestedTables }) => {
    vmcb.set('NP_CONTROL', 1);
    vmcb.set('N_CR3', nestedTables.root);
    core.control.lo[0]! &= 0x7fff_ffff;
  }],
  ['an MBZ bit of nCR3 is set', ({ vmcb }) => { vmcb.set('NP_CONTROL', 1); vmcb.set('N_CR3', 1n << 52n); }],
  ['a memory type of G_PAT is reserved', ({ vmcb }) => { vmcb.set('NP_CONTROL', 1); vmcb.set('G_PAT', 0x0007_0406_0002_0406n); }],
  ['a memory type of G_PAT is reserved', ({ vmcb }) => { vmcb.set('NP_CONTROL', 1); vmcb.set('G_PAT', 0x0807_0406_0007_0406n); }],
  ['virtual NMIs without the NMI intercept', ({ vmcb }) => vmcb.set('VINTR', 1 << 26)],
];

describe('VMRUN refuses', () => {
  test.each(ROWS)('%s', (check, spoil) => {
    // Genoa has CET's shadow stacks, so that CR4.CET is no reserved bit there.
    const rig = new Rig().guest((a) => a.vmmcall());
    spoil(rig);
    const { core } = rig;
    const before = { regs: [...core.lo.slice(0, 17)], msrs: core.msrs.snapshot(), state: rig.vmcb.get('RIP') };
    expect(rig.enter()).toBe('INVALID');
    expect(rig.svm.refusal).toBe(check);
    expect(core.world).toBeNull();
    expect(rig.svm.gif).toBe(false);
    expect([...core.lo.slice(0, 17)]).toEqual(before.regs);
    expect(core.msrs.snapshot()).toEqual(before.msrs);
    expect(rig.vmcb.get('RIP')).toBe(before.state);
    expect(rig.vmcb.get('EXITCODE')).toBe(0xffff_ffff_ffff_ffffn);
  });

  test('what is listed, and every row but long mode on a CPU without it has a case', () => {
    const told = new Set(ROWS.map(([check]) => check));
    expect(CHECKS.filter((check) => !told.has(check))).toEqual(['legal', 'EFER.LMA or EFER.LME without long mode']);
  });

  test('nothing of a VMCB that is as it should be', () => {
    const rig = new Rig().guest((a) => a.vmmcall());
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.svm.refusal).toBe('legal');
  });

  test('none of the events that exist', () => {
    for (const event of [0x20, 0x202, 0x300, 0x301, 0x303, 0xb0e, 0x315, 0x480]) {
      const rig = new Rig().guest((a) => a.vmmcall());
      rig.gate(event & 0xff, 0x2_4000).guest((a) => a.vmmcall(), 0x2_4000);
      rig.vmcb.set('EVENTINJ', BigInt(0x8000_0000 + event));
      expect(rig.enter()).toBe('VMMCALL');
      expect(rig.vmcb.get('RIP')).toBe(0x2_4000n);
    }
  });
});

describe('a guest outside 64-bit mode', () => {
  test('is beyond this machine, which says so', () => {
    const rig = new Rig();
    rig.vmcb.set('CS_ATTRIB', 0xc9b);
    expect(() => rig.enter()).toThrow('outside 64-bit mode');
  });
});
