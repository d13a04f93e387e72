/** What waits to be delivered to one core: external interrupts by vector, NMI, and debug traps that are pending. */
export class Interrupts {
  /** Something may be pending, or has changed: to be looked at before the next block. */
  attention = false;
  nmi = false;
  /** Bits of DR6 of a #DB that comes before the next instruction; 0: none. */
  debugTrap = 0;
  /** A STOP event has come. */
  stop = false;
  /** The VMX-preemption timer has run out. */
  preemption = false;
  private readonly requested = new Uint32Array(8);
  private count = 0;

  /** An external interrupt becomes pending; once, however often. */
  post(vector: number): void {
    const word = vector >> 5;
    const bit = 1 << (vector & 31);
    if ((this.requested[word]! & bit) === 0) this.count++;
    this.requested[word]! |= bit;
    this.attention = true;
  }

  postNmi(): void {
    this.nmi = true;
    this.attention = true;
  }

  /** The highest vector that is pending, or -1. */
  get highest(): number {
    if (this.count === 0) return -1;
    for (let word = 7; word >= 0; word--) {
      const bits = this.requested[word]!;
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
    }
    return -1;
  }

  /** The processor acknowledges a vector. */
  take(vector: number): void {
    this.requested[vector >> 5]! &= ~(1 << (vector & 31));
    this.count--;
  }

  /** Whether anything at all is pending. */
  get any(): boolean {
    return this.count > 0 || this.nmi || this.debugTrap !== 0 || this.stop || this.preemption;
  }

  clear(): void {
    this.requested.fill(0);
    this.count = 0;
    this.nmi = false;
    this.debugTrap = 0;
    this.stop = false;
    this.preemption = false;
    this.attention = true;
  }
}
