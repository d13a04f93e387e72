import { afterAll, describe, expect, test } from 'vitest';
// Workers run what is built, so this test does too.
import { VerifierPool, VerifierWorker } from '../../dist/batch/pool.js';
import { bootKvm, builtInHost, describeBuiltIn, Vmm } from '../../dist/index.js';
import { putEntry } from '../../dist/kvm/cpuid-table.js';

const HEADER = 8;
const ENTRY = 40;

function rulesOf(name: string) {
  const module = bootKvm(describeBuiltIn(builtInHost(name)!), { policy: 'paranoid' });
  const { process } = new Vmm(module);
  return {
    allowed: module.allowed(module.defaultOverlay, process),
    reported: module.supported(module.defaultOverlay, process),
  };
}

const intel = rulesOf('sapphire-rapids');
const amd = rulesOf('genoa');
const SIZE = HEADER + 100 * ENTRY;

/** Puts what a host reports at the n-th place of an arena, on request with one bit too many; returns where. */
function put(arena: Uint8Array, n: number, { reported }: typeof intel, bad = false): number {
  const offset = n * SIZE;
  const words = new Uint32Array(arena.buffer, offset, SIZE / 4);
  words[0] = reported.length;
  for (const [position, entry] of reported.entries()) putEntry(words.subarray(2), position, entry);
  if (bad) words.set([0x7fff_ffff, 0, 0, 1], 2 + 10 * 5);
  return offset;
}

describe('a pool of workers', () => {
  const pool = new VerifierPool(40 * SIZE, 2);
  afterAll(() => pool.close());

  test('each verifies its own arena, with any rules', async () => {
    const offsets = pool.workers.map(({ arena }, worker) =>
      Uint32Array.from({ length: 40 }, (_, n) => put(arena, n, worker === 0 ? intel : amd, n % 3 === worker)),
    );
    const answers = await Promise.all(
      pool.workers.flatMap((worker, n) => [
        worker.verify(intel.allowed, offsets[n]!),
        worker.verify(amd.allowed, offsets[n]!),
      ]),
    );
    const every = (first: number) => Array.from({ length: 40 }, (_, n) => n % 3 === first);
    const bits = (refused: Uint32Array) =>
      Array.from({ length: 40 }, (_, n) => ((refused[n >>> 5]! >>> (n & 31)) & 1) === 1);
    expect(bits(answers[0]!.refused)).toEqual(every(0));
    expect(answers[0]!.count).toBe(14);
    expect(answers[1]!.count).toBe(40);
    expect(answers[2]!.count).toBe(40);
    expect(bits(answers[3]!.refused)).toEqual(every(1));
  });

  test('what has changed in the arena is seen by the next request', async () => {
    const [worker] = pool.workers;
    const offsets = Uint32Array.of(put(worker!.arena, 0, intel));
    expect((await worker!.verify(intel.allowed, offsets)).count).toBe(0);
    put(worker!.arena, 0, intel, true);
    expect((await worker!.verify(intel.allowed, offsets)).count).toBe(1);
  });

  test('many requests are answered in order', async () => {
    const [worker] = pool.workers;
    const { arena } = worker!;
    const offsets = [put(arena, 0, intel), put(arena, 1, intel, true)].map((offset) => Uint32Array.of(offset));
    const turns = Array.from({ length: 50 }, (_, n) => n % 2);
    const answers = await Promise.all(turns.map((turn) => worker!.verify(intel.allowed, offsets[turn]!)));
    expect(answers.map(({ count }) => count)).toEqual(turns);
  });
});

describe('a worker that ends', () => {
  test('answers whatever is awaited, and all that follows, with the reason', async () => {
    const worker = new VerifierWorker(SIZE);
    const offsets = Uint32Array.of(put(worker.arena, 0, intel));
    const awaited = worker.verify(intel.allowed, new Uint32Array(500_000));
    const closed = worker.close();
    await expect(awaited).rejects.toThrow('the worker has ended');
    await closed;
    await expect(worker.verify(intel.allowed, offsets)).rejects.toThrow('the worker has ended');
  });
});
