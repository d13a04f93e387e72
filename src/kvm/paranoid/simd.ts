import type { MemoryBlock } from '../../linux/user-memory.js';
import { SCREEN_WORDS, type Screen, ScreenStore } from './screen.js';
import { CLEAN, simdKernel } from './simd-code.js';

// What of the JavaScript API of WebAssembly is used here; not every environment has it.
interface WasmMemory extends MemoryBlock {
  readonly buffer: ArrayBufferLike;
}
interface WebAssemblyApi {
  validate(bytes: Uint8Array): boolean;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: object };
  readonly Memory: new (limits: { initial: number; maximum: number; shared?: boolean }) => WasmMemory;
}
const { WebAssembly } = globalThis as unknown as { readonly WebAssembly?: WebAssemblyApi };

interface Kernel {
  scan(at: number, end: number, screen: number, start: number): number;
  scanAll(list: number, listEnd: number, screen: number, limit: number): number;
}

const PAGE_SHIFT = 16;
const PAGE = 1 << PAGE_SHIFT;
/** Behind the arena, out of the process's reach: screens, then the list of a batch. */
const SCREENS = 4;
const LIST = SCREENS * 4 * SCREEN_WORDS;
/** Tables that {@link SimdScan.scanAll} takes at once. */
export const MAX_LISTED = 8192;
const KERNEL_BYTES = LIST + 4 * MAX_LISTED;

const kernelStart = (arena: number): number => Math.ceil(arena / PAGE) * PAGE;

const modules = new Map<boolean, object | null>();

/** The compiled kernel; `null` where WebAssembly or its vectors are missing. */
function compiled(shared: boolean): object | null {
  let module = modules.get(shared);
  if (module === undefined) {
    const bytes = simdKernel(shared);
    module = WebAssembly?.validate(bytes) ? new WebAssembly.Module(bytes) : null;
    modules.set(shared, module);
  }
  return module;
}

/** Whether other threads may see the memory. */
export const isShared = (buffer: ArrayBufferLike): boolean => !(buffer instanceof ArrayBuffer);

/**
 * Memory for an arena of so many bytes over which the vector kernel can run: pass it to `UserMemory`.
 *
 * @returns `null` where there is no such kernel
 */
export function simdMemory(arena: number, shared = false): MemoryBlock | null {
  if (!WebAssembly || compiled(shared) === null) return null;
  const pages = (kernelStart(arena) + KERNEL_BYTES + PAGE - 1) >>> PAGE_SHIFT;
  return new WebAssembly.Memory({ initial: pages, maximum: pages, ...(shared && { shared }) });
}

/** The vector kernel over one arena. It says which entries need a closer look, not what is wrong with them. */
export class SimdScan {
  private readonly kernel: Kernel;
  private readonly store: ScreenStore;
  /** Where the arena ends. */
  private readonly limit: number;
  private readonly listStart: number;
  private readonly list: Uint32Array;

  private constructor(memory: WasmMemory, module: object, arena: number) {
    const start = kernelStart(arena);
    this.kernel = new WebAssembly!.Instance(module, { kernel: { memory } }).exports as Kernel;
    this.store = new ScreenStore(new Int32Array(memory.buffer), start / 4, SCREENS);
    this.limit = arena;
    this.listStart = start + LIST;
    this.list = new Uint32Array(memory.buffer, this.listStart, MAX_LISTED);
  }

  /**
   * The kernel for an arena that fills the first bytes of a block of memory; `null` unless that is memory of
   * WebAssembly, with room behind the arena, on a machine with vectors.
   */
  static over(block: MemoryBlock | null, arena: number): SimdScan | null {
    if (!WebAssembly || !(block instanceof WebAssembly.Memory)) return null;
    if (block.buffer.byteLength < kernelStart(arena) + KERNEL_BYTES) return null;
    const module = compiled(isShared(block.buffer));
    return module && new SimdScan(block, module, arena);
  }

  /**
   * The first entry from byte `at` on that does not pass the screen, or `end`. KVM's two leaves pass where they are foreign
   * (`isForeignSignatureLeaf()`) in the table that starts at byte `start`.
   */
  nextSuspect(at: number, end: number, screen: Screen, start: number): number {
    return this.kernel.scan(at, end, 4 * this.store.locate(screen), start);
  }

  /**
   * Scans tables, each a `struct kvm_cpuid2`, at `count` of the offsets in a list, at most {@link MAX_LISTED}.
   *
   * @returns how many have suspects, too many entries, or reach beyond the arena; {@link suspectOf} says more
   */
  scanAll(offsets: Uint32Array, first: number, count: number, screen: Screen): number {
    for (let n = 0; n < count; n++) this.list[n] = offsets[first + n]!;
    return this.kernel.scanAll(this.listStart, this.listStart + 4 * count, 4 * this.store.locate(screen), this.limit);
  }

  /** After {@link scanAll}: where the n-th table's first suspect is; 0 if the table itself is odd, -1 if all is well. */
  suspectOf(n: number): number {
    const suspect = this.list[n]!;
    return suspect === CLEAN ? -1 : suspect;
  }
}
