import type { Cpu } from '../emu/machine.js';

/** Legacy area and header: what every XSAVE image starts with. */
const XSAVE_FIXED_SIZE = 576;

const FIRST_EXTENDED = 2;

/** The extended components of a CPU, from CPUID.0DH: their sizes, offsets and alignment, by component number. */
export class XsaveLayout {
  private readonly sizes = new Uint32Array(32);
  private readonly offsets = new Uint32Array(32);
  private readonly flags = new Uint32Array(32);
  /** The latest answers of {@link size}: tables are rewritten far more often than XCR0. */
  private readonly standard = { components: 0, size: XSAVE_FIXED_SIZE };
  private readonly compacted = { components: 0, size: XSAVE_FIXED_SIZE };

  constructor(cpu: Cpu) {
    const out = new Uint32Array(4);
    if (cpu.cpuid.maximum(0xd) < 0xd) return;
    for (let component = FIRST_EXTENDED; component < 32; component++) {
      cpu.cpuid.execute(0xd, component, out);
      this.sizes[component] = out[0]!;
      this.offsets[component] = out[1]!;
      this.flags[component] = out[2]!;
    }
  }

  /** Whether the component exists and is of the kind asked for. */
  has(component: number, supervisor: boolean): boolean {
    return this.sizes[component] !== 0 && ((this.flags[component]! & 1) !== 0) === supervisor;
  }

  /** Bytes that an XSAVE area with these components needs (`xstate_required_size()`). */
  size(components: number, compacted: boolean): number {
    const latest = compacted ? this.compacted : this.standard;
    if (components !== latest.components) {
      latest.components = components;
      latest.size = this.computeSize(components, compacted);
    }
    return latest.size;
  }

  private computeSize(components: number, compacted: boolean): number {
    let end = XSAVE_FIXED_SIZE;
    for (let component = FIRST_EXTENDED; component < 32; component++) {
      if ((components & (1 << component)) === 0) continue;
      const aligned = (this.flags[component]! & 2) !== 0 ? (end + 63) & ~63 : end;
      const offset = compacted ? aligned : this.offsets[component]!;
      end = Math.max(end, offset + this.sizes[component]!);
    }
    return end >>> 0;
  }
}
