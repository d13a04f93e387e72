import { describe, expect, test } from 'vitest';
import { AT, Rig } from './rig.js';

const VALID = 1 << 31;
const V_IRQ = 1 << 8;
const V_IGN_TPR = 1 << 20;
const V_INTR_MASKING = 1 << 24;
const IF = 0x200;

/** A guest that spins, with a handler that leaves for every vector. */
function spinning(): Rig {
  const rig = new Rig().guest((a) => {
    a.label('again');
    a.nop();
    a.jmp('again');
  });
  for (let vector = 0; vector < 256; vector++) rig.gate(vector);
  return rig.guest((a) => a.vmmcall(), AT.handler);
}

describe('an injected event', () => {
  test('comes before the first instruction, through the guest’s IDT', () => {
    const rig = spinning();
    rig.vmcb.set('EVENTINJ', BigInt((VALID | 0x41) >>> 0));
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.vmcb.get('RIP')).toBe(BigInt(AT.handler));
    rig.memory.read(Number(rig.vmcb.get('RSP')), 8);
    expect(rig.memory.value[0]).toBe(AT.guestCode);
    expect(rig.vmcb.get('EVENTINJ')).toBe(0n);
    expect(rig.vmcb.get('EXITINTINFO')).toBe(0n);
  });

  test('is not intercepted itself, and brings its error code', () => {
    const rig = spinning();
    rig.vmcb.set('INTERCEPT_EXCEPTION', 1 << 13);
    rig.vmcb.set('EVENTINJ', (0x1234n << 32n) | BigInt((VALID | 0xb0d) >>> 0));
    expect(rig.enter()).toBe('VMMCALL');
    rig.memory.read(Number(rig.vmcb.get('RSP')), 8);
    expect(rig.memory.value[0]).toBe(0x1234);
  });

  test('that cannot be delivered leaves with what was being delivered', () => {
    const rig = spinning();
    rig.vmcb.set('IDTR_LIMIT', 0xff);
    rig.vmcb.set('INTERCEPT_EXCEPTION', 1 << 13);
    rig.vmcb.set('EVENTINJ', BigInt((VALID | 0x41) >>> 0));
    expect(rig.enter()).toBe('EXCP13');
    expect(rig.vmcb.get('EXITINTINFO')).toBe(0x8000_0041n);
    expect(rig.vmcb.get('RIP')).toBe(BigInt(AT.guestCode));
  });

  test('from software returns behind the instruction, as NRIP says', () => {
    const rig = spinning();
    rig.vmcb.set('NRIP', AT.guestCode + 2);
    rig.vmcb.set('EVENTINJ', BigInt((VALID | 0x480) >>> 0));
    rig.enter();
    rig.memory.read(Number(rig.vmcb.get('RSP')), 8);
    expect(rig.memory.value[0]).toBe(AT.guestCode + 2);
  });
});

describe('a virtual interrupt', () => {
  const pending =
    (vector: number, more = 0) =>
    (rig: Rig) => {
      rig.vmcb.set('VINTR', (V_IRQ | V_INTR_MASKING | (0xf << 16) | more) >>> 0);
      rig.vmcb.set('V_INTR_VECTOR', vector);
    };

  test('is taken at once when the guest takes interrupts', () => {
    const rig = spinning();
    pending(0x51)(rig);
    rig.vmcb.set('RFLAGS', 2 | IF);
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.vmcb.get('VINTR') & BigInt(V_IRQ)).toBe(0n);
  });

  test('waits for STI and the instruction behind it', () => {
    const rig = new Rig().guest((a) => {
      a.mov('ebx', 1);
      a.sti();
      a.mov('ebx', 2);
      a.mov('ebx', 3);
      a.hlt();
    });
    rig.gate(0x51).guest((a) => a.vmmcall(), AT.handler);
    pending(0x51)(rig);
    expect(rig.enter()).toBe('VMMCALL');
    expect(rig.core.register(3)).toBe(2n);
  });

  test('is a window for a hypervisor that intercepts it', () => {
    const rig = new Rig().intercept('VINTR').guest((a) => {
      a.sti();
      a.nop();
      a.hlt();
    });
    pending(0)(rig);
    expect(rig.enter()).toBe('VINTR');
    expect(rig.vmcb.get('RIP')).toBe(BigInt(AT.guestCode + 2));
  });

  test('waits below the task priority, unless that is ignored', () => {
    for (const ignored of [0, V_IGN_TPR]) {
      const rig = new Rig().intercept('VINTR').guest((a) => {
        a.sti();
        a.nop();
        a.vmmcall();
      });
      rig.vmcb.set('VINTR', V_IRQ | V_INTR_MASKING | (3 << 16) | 8 | ignored);
      expect(rig.enter()).toBe(ignored === 0 ? 'VMMCALL' : 'VINTR');
    }
  });
});

describe('a physical interrupt', () => {
  test('leaves the guest and stays for the host, who takes it once GIF is set', () => {
    const rig = spinning().intercept('INTR');
    const { core, svm } = rig;
    rig.vmcb.set('VINTR', V_INTR_MASKING);
    core.rflags = 2 | IF;
    core.events.push(5000, 1, 0x30);
    expect(rig.enter()).toBe('INTR');
    expect(rig.vmcb.get('NRIP')).toBe(0n);
    expect(core.interrupts.highest).toBe(0x30);

    rig.guest((a) => {
      a.nop();
      a.stgi();
      a.nop();
    }, AT.hostCode);
    core.idtr.baseLo = AT.guestIdt;
    core.idtr.limit = 0xfff;
    rig.guest((a) => a.hlt(), AT.handler);
    core.rip = BigInt(AT.hostCode);
    expect(svm.gif).toBe(false);
    expect(core.run()).toBe('idle');
    expect(core.interrupts.highest).toBe(-1);
    rig.memory.read(Number(core.register(4)), 8);
    expect(rig.memory.value[0]).toBe(AT.hostCode + 4);
  });

  test('waits for the guest’s own flag when nothing is virtual', () => {
    const rig = spinning().intercept('INTR');
    rig.core.rflags = 2 | IF;
    rig.core.events.push(5000, 1, 0x30);
    rig.svm.vmrun(AT.vmcb);
    expect(rig.core.run(20_000)).toBe('limit');
    expect(rig.core.world).not.toBeNull();
  });

  test('NMI leaves and stays', () => {
    const rig = spinning().intercept('NMI');
    rig.core.events.push(5000, 2, 0);
    expect(rig.enter()).toBe('NMI');
    expect(rig.core.interrupts.nmi).toBe(true);
  });

  test('HLT that is not intercepted idles until it comes', () => {
    const rig = new Rig().intercept('INTR').guest((a) => a.hlt());
    rig.vmcb.set('VINTR', V_INTR_MASKING);
    rig.core.rflags = 2 | IF;
    rig.core.events.push(50_000, 1, 0x30);
    expect(rig.enter()).toBe('INTR');
    expect(rig.core.clock.now[0]).toBeGreaterThan(50_000);
    expect(rig.vmcb.get('RIP')).toBe(BigInt(AT.guestCode + 1));
  });
});

test('GIF is set by VMRUN and cleared by #VMEXIT', () => {
  const rig = spinning();
  rig.svm.clgi();
  expect(rig.svm.gif).toBe(false);
  rig.svm.vmrun(AT.vmcb);
  expect(rig.svm.gif).toBe(true);
  const left = spinning()
    .intercept('CPUID')
    .guest((a) => a.cpuid());
  left.enter();
  expect(left.svm.gif).toBe(false);
  left.svm.stgi();
  expect(left.svm.gif).toBe(true);
});
