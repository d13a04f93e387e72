import { CPUID2_HEADER_SIZE, ENTRY2_WORDS } from '../../kvm/abi.js';
import type { TableLaw } from '../law.js';
import { LiveVcpu } from '../live-vcpu.js';
import { Place } from '../place.js';
import { THIS_MACHINE } from '../this-machine.js';
import { VcpuUser } from '../user.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

/** Tables a second and thread that the machine is asked at most. */
const MOST_A_SECOND = 10_000;
/** Tables between two looks at the clock. */
const STRIDE = 100;

export const live: TableLaw = {
  name: 'live',
  says: "this machine's real KVM answers KVM_SET_CPUID2 as a simulated one without the policy does",
  share: 0,
  where: ({ vmType, amx }) => vmType === 'default' && !amx,
  judge({ spec, words }) {
    const machine = new LiveVcpu();
    const simulated = new Place({ ...spec, options: { ...spec.options, policy: 'off' } });
    const user = new VcpuUser(simulated);
    const pace = new Pace();
    // What KVM writes into a table by itself follows from host and kernel: only of this machine's they are known.
    const comparesReadback = spec.given === THIS_MACHINE;
    const judge = (at: number, count: number): boolean => {
      pace.keep();
      const length = HEADER_WORDS + count * ENTRY2_WORDS;
      for (let n = 0; n < length; n++) {
        machine.words[n] = words[at + n]!;
        simulated.words[simulated.scratch + n] = words[at + n]!;
      }
      const answer = machine.set();
      if (answer !== user.set(simulated.scratch)) return false;
      if (answer !== 0 || !comparesReadback) return true;
      machine.get(count);
      user.get(simulated.scratch, count);
      for (let n = HEADER_WORDS; n < length; n++) {
        if (machine.words[n] !== simulated.words[simulated.scratch + n]) return false;
      }
      return true;
    };
    return Object.assign(judge, { close: () => machine.close() });
  },
};

/** Sleeps now and then, so that no more is asked in a second than is good for a machine that others use too. */
class Pace {
  private readonly cell = new Int32Array(new SharedArrayBuffer(4));
  private count = 0;
  private next = 0;

  keep(): void {
    if (this.count++ % STRIDE !== 0) return;
    const now = performance.now();
    if (now < this.next) Atomics.wait(this.cell, 0, 0, this.next - now);
    this.next = Math.max(now, this.next) + (1000 * STRIDE) / MOST_A_SECOND;
  }
}
