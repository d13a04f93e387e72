/**
 * The kernel lines that are modelled, oldest first. Everything that differs between kernels is a row with a range or
 * a value per line; this file is the only place that compares lines.
 */
export const KERNEL_LINES = ['6.1', '6.12', '6.18', '7.1', '7.3'] as const;
export type KernelLine = (typeof KERNEL_LINES)[number];
export const NEWEST_KERNEL: KernelLine = '7.3';

/** A value that changed over time: the newest key that is not newer than the line applies, `null` before the first. */
export type ByKernel<T> = { readonly [L in KernelLine]?: T };

/** Position of a line in time. */
export function kernelIndex(line: KernelLine): number {
  return KERNEL_LINES.indexOf(line);
}

/** The value of `by` on `line`; `null` when the first key is newer. */
export function onLine<T>(by: ByKernel<T>, line: KernelLine): T | null {
  let value: T | null = null;
  for (const key of KERNEL_LINES) {
    if (key in by) value = by[key] as T;
    if (key === line) return value;
  }
  return value;
}

/** Whether a row that exists in `[since, until]` (both inclusive) exists on `line`. */
export function inRange(line: KernelLine, since?: KernelLine, until?: KernelLine): boolean {
  const at = kernelIndex(line);
  return (since === undefined || at >= kernelIndex(since)) && (until === undefined || at <= kernelIndex(until));
}

/**
 * The modelled line nearest to a release string such as `6.12.107+deb13-cloud-amd64`: the newest one that is not
 * newer. `null` when the release is older than all of them or is no release.
 */
export function lineOfRelease(release: string): KernelLine | null {
  const match = /^(\d+)\.(\d+)/.exec(release);
  if (!match) return null;
  const rank = (text: string) => {
    const [major = '0', minor = '0'] = text.split('.');
    return Number(major) * 1000 + Number(minor);
  };
  const wanted = rank(`${match[1]}.${match[2]}`);
  return KERNEL_LINES.findLast((line) => rank(line) <= wanted) ?? null;
}
