/**
 * What is going to happen, and when: a binary heap of (cycle, seq, kind, argument) in typed arrays. Events of one cycle
 * come out in the order in which they went in, so every run is like the last one.
 */

/** A scheduled event, as {@link EventQueue.push} names it: generation and node in one number. 0 names none. */
export type EventHandle = number;

/** Nodes that one queue can hold: what is left of 2^53 for generations is plenty. */
const NODE_LIMIT = 2 ** 20;

export class EventQueue {
  /** The cycle of the first event, `Infinity` when there is none: one cell, to be read without a call. */
  readonly next = new Float64Array([Number.POSITIVE_INFINITY]);

  /** What {@link pop} took out. */
  readonly popped = { cycle: 0, kind: 0, argument: 0 };

  private capacity: number;
  private count = 0;
  private sequence = 0;
  /** Node numbers in heap order. */
  private heap: Int32Array;
  /** Of each node: where it lies in the heap; -1 when it is free. */
  private place: Int32Array;
  /** Of each node: how often it has been used. */
  private generation: Float64Array;
  private cycles: Float64Array;
  private sequences: Float64Array;
  private kinds: Int32Array;
  private arguments: Float64Array;
  /** Free nodes, a stack. */
  private free: Int32Array;

  constructor(capacity = 16) {
    this.capacity = Math.max(1, capacity);
    this.heap = new Int32Array(this.capacity);
    this.place = new Int32Array(this.capacity).fill(-1);
    this.generation = new Float64Array(this.capacity);
    this.cycles = new Float64Array(this.capacity);
    this.sequences = new Float64Array(this.capacity);
    this.kinds = new Int32Array(this.capacity);
    this.arguments = new Float64Array(this.capacity);
    this.free = Int32Array.from({ length: this.capacity }, (_, at) => this.capacity - 1 - at);
  }

  get size(): number {
    return this.count;
  }

  /** Schedules an event. Only growing beyond the capacity allocates. */
  push(cycle: number, kind: number, argument: number): EventHandle {
    if (!(cycle >= 0)) throw new Error(`an event needs a cycle, not ${cycle}`);
    if (this.count === this.capacity) this.grow();
    const node = this.free[this.capacity - this.count - 1]!;
    this.generation[node]! += 1;
    this.cycles[node] = cycle;
    this.sequences[node] = this.sequence++;
    this.kinds[node] = kind;
    this.arguments[node] = argument;
    this.put(this.count, node);
    this.count++;
    this.rise(this.count - 1);
    this.next[0] = this.cycles[this.heap[0]!]!;
    return this.generation[node]! * NODE_LIMIT + node;
  }

  /** Takes the first event out, into {@link popped}; `false` when there is none. */
  pop(): boolean {
    if (this.count === 0) return false;
    const node = this.heap[0]!;
    const { popped } = this;
    popped.cycle = this.cycles[node]!;
    popped.kind = this.kinds[node]!;
    popped.argument = this.arguments[node]!;
    this.remove(0);
    return true;
  }

  /** Takes an event out; `false` when it has happened or was cancelled already. */
  cancel(handle: EventHandle): boolean {
    const node = handle % NODE_LIMIT;
    const place = this.placeOf(handle);
    if (place < 0) return false;
    this.remove(this.place[node]!);
    return true;
  }

  /** Whether the event is still to come. */
  has(handle: EventHandle): boolean {
    return this.placeOf(handle) >= 0;
  }

  clear(): void {
    while (this.count > 0) this.remove(this.count - 1);
    this.sequence = 0;
  }

  private placeOf(handle: EventHandle): number {
    const node = handle % NODE_LIMIT;
    if (handle <= 0 || node >= this.capacity) return -1;
    return this.generation[node] === Math.floor(handle / NODE_LIMIT) ? this.place[node]! : -1;
  }

  private remove(at: number): void {
    const node = this.heap[at]!;
    this.count--;
    this.place[node] = -1;
    this.free[this.capacity - this.count - 1] = node;
    if (at < this.count) {
      this.put(at, this.heap[this.count]!);
      this.rise(at);
      this.sink(at);
    }
    this.next[0] = this.count === 0 ? Number.POSITIVE_INFINITY : this.cycles[this.heap[0]!]!;
  }

  private put(at: number, node: number): void {
    this.heap[at] = node;
    this.place[node] = at;
  }

  private before(one: number, other: number): boolean {
    const difference = this.cycles[one]! - this.cycles[other]!;
    // Infinity minus itself is no number: such events are ordered by sequence like all others of one cycle.
    return difference < 0 || (!(difference > 0) && this.sequences[one]! < this.sequences[other]!);
  }

  private rise(from: number): void {
    const node = this.heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.before(node, this.heap[parent]!)) break;
      this.put(at, this.heap[parent]!);
      at = parent;
    }
    this.put(at, node);
  }

  private sink(from: number): void {
    const node = this.heap[from]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.count) break;
      if (child + 1 < this.count && this.before(this.heap[child + 1]!, this.heap[child]!)) child++;
      if (!this.before(this.heap[child]!, node)) break;
      this.put(at, this.heap[child]!);
      at = child;
    }
    this.put(at, node);
  }

  private grow(): void {
    const capacity = this.capacity * 2;
    if (capacity > NODE_LIMIT) throw new Error(`more than ${NODE_LIMIT} events are pending`);
    this.heap = grown(this.heap, new Int32Array(capacity));
    this.place = grown(this.place, new Int32Array(capacity).fill(-1));
    this.generation = grown(this.generation, new Float64Array(capacity));
    this.cycles = grown(this.cycles, new Float64Array(capacity));
    this.sequences = grown(this.sequences, new Float64Array(capacity));
    this.kinds = grown(this.kinds, new Int32Array(capacity));
    this.arguments = grown(this.arguments, new Float64Array(capacity));
    // Every node is taken: the free ones are the new ones, the lowest on top of the stack.
    this.free = Int32Array.from({ length: capacity }, (_, at) => capacity - 1 - at);
    this.capacity = capacity;
  }
}

function grown<T extends Int32Array | Float64Array>(old: T, larger: T): T {
  larger.set(old);
  return larger;
}
