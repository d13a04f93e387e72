/** What the kernel has printed, and when. */
export interface LogLine {
  readonly cpu: number;
  readonly cycle: number;
  readonly text: string;
}

/** `dmesg` of a machine. */
export class KernelLog {
  /** Oldest first. */
  readonly lines: LogLine[] = [];
  private readonly printed = new Set<string>();

  print(line: LogLine): void {
    this.lines.push(line);
  }

  /** `pr_warn_once()`: what comes from one place in the code is printed the first time only. */
  printOnce(place: string, line: LogLine): void {
    if (this.printed.has(place)) return;
    this.printed.add(place);
    this.print(line);
  }
}
