import type { CpuidRow } from '../../src/cpuid/entry.js';
import { inputsOfCapture, msrsOfCapture, outOfRangeOfCapture } from '../../src/linux/capture-inputs.js';
import { machineOf } from '../../src/linux/host.js';
import type { HostInputs } from '../../src/linux/host-inputs.js';
import { HostKernel } from '../../src/linux/host-kernel.js';
import type { Capture } from './captures.js';

/** The rows of a capture's `raw` section, read apart from the product's own reader. */
export function rowsOf(capture: Capture): CpuidRow[] {
  return capture.raw.map((line: string) => {
    const [fn, index, eax, ebx, ecx, edx] = line.split(' ').map((word) => Number.parseInt(word, 16));
    return { function: fn, index, eax, ebx, ecx, edx } as CpuidRow;
  });
}

/** Boots the host of a capture. */
export function bootCapture(capture: Capture, change: Partial<HostInputs> = {}): HostKernel {
  const rows = rowsOf(capture);
  const machine = machineOf([rows], { outOfRange: outOfRangeOfCapture(capture, rows), msrs: msrsOfCapture(capture) });
  return new HostKernel(machine, { ...inputsOfCapture(capture), ...change });
}
