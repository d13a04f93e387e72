import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EventQueue } from '../../src/emu/events.js';
import { runs } from '../support/runs.js';

function drain(queue: EventQueue) {
  const order: number[] = [];
  while (queue.pop()) order.push(queue.popped.argument);
  return order;
}

describe('event queue', () => {
  test('an empty queue has no next event', () => {
    const queue = new EventQueue();
    expect(queue.next[0]).toBe(Number.POSITIVE_INFINITY);
    expect(queue.pop()).toBe(false);
    expect(queue.cancel(0)).toBe(false);
  });

  test('events of one cycle come in the order in which they went in', () => {
    const queue = new EventQueue(1);
    for (let at = 0; at < 20; at++) queue.push(7, 0, at);
    expect(drain(queue)).toEqual(Array.from({ length: 20 }, (_, at) => at));
  });

  test('the next event is readable without a call, and comes with kind and argument', () => {
    const queue = new EventQueue();
    queue.push(300, 2, 30);
    queue.push(100, 1, 2 ** 40);
    expect(queue.next[0]).toBe(100);
    expect(queue.pop()).toBe(true);
    expect(queue.popped).toEqual({ cycle: 100, kind: 1, argument: 2 ** 40 });
    expect(queue.next[0]).toBe(300);
  });

  test('a handle means one event only', () => {
    const queue = new EventQueue();
    const first = queue.push(10, 0, 1);
    expect(queue.has(first)).toBe(true);
    expect(queue.cancel(first)).toBe(true);
    expect(queue.cancel(first)).toBe(false);
    const second = queue.push(20, 0, 2);
    expect(second).not.toBe(first);
    expect(queue.has(first)).toBe(false);
    expect(queue.cancel(first)).toBe(false);
    expect(queue.next[0]).toBe(20);
    queue.pop();
    expect(queue.cancel(second)).toBe(false);
  });

  test('no cycle before zero, and none that is no number', () => {
    const queue = new EventQueue();
    expect(() => queue.push(-1, 0, 0)).toThrow('an event needs a cycle, not -1');
    expect(() => queue.push(Number.NaN, 0, 0)).toThrow('NaN');
  });
});

/** One step of a random history. */
type Step = { readonly push: number } | { readonly pop: true } | { readonly cancel: number } | { readonly clear: true };

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ push: fc.oneof(fc.nat(20), fc.constant(Number.POSITIVE_INFINITY)) }) },
    { weight: 3, arbitrary: fc.constant({ pop: true } as const) },
    { weight: 3, arbitrary: fc.record({ cancel: fc.nat(60) }) },
    { weight: 1, arbitrary: fc.constant({ clear: true } as const) },
  ),
  { maxLength: 120 },
);

/** Runs a history on the queue and on a sorted array; `false` when they disagree. */
function agrees(history: readonly Step[], queue: EventQueue): boolean {
  let model: { cycle: number; id: number }[] = [];
  const handles: number[] = [];
  for (const step of history) {
    if ('push' in step) {
      const id = handles.length;
      handles.push(queue.push(step.push, id % 7, id));
      model.push({ cycle: step.push, id });
      // The sort is stable: ties keep their order.
      model.sort((one, other) => (one.cycle < other.cycle ? -1 : one.cycle > other.cycle ? 1 : 0));
    } else if ('pop' in step) {
      const expected = model.shift();
      if (queue.pop() !== (expected !== undefined)) return false;
      if (expected && (queue.popped.argument !== expected.id || queue.popped.cycle !== expected.cycle)) return false;
    } else if ('cancel' in step) {
      const there = model.some(({ id }) => id === step.cancel);
      model = model.filter(({ id }) => id !== step.cancel);
      if (step.cancel < handles.length && queue.cancel(handles[step.cancel]!) !== there) return false;
    } else {
      queue.clear();
      model = [];
    }
    if (queue.size !== model.length) return false;
    if (queue.next[0] !== (model[0]?.cycle ?? Number.POSITIVE_INFINITY)) return false;
  }
  return drain(queue).join() === model.map(({ id }) => id).join();
}

test('law: the queue is a sorted list', () => {
  fc.assert(
    fc.property(steps, (history) => agrees(history, new EventQueue(2))),
    runs(500),
  );
});

test('the law bites: ties by heap order are found', () => {
  class Tieless extends EventQueue {
    override push(cycle: number, kind: number, argument: number) {
      const handle = super.push(cycle, kind, argument);
      (this as unknown as { sequence: number }).sequence = 0;
      return handle;
    }
  }
  const found = fc.check(
    fc.property(steps, (history) => agrees(history, new Tieless(2))),
    { ...runs(500), numRuns: 500 },
  );
  expect(found.failed).toBe(true);
});
