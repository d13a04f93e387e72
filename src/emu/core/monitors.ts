import type { Core } from './core.js';

/** Who waits for a store: the lines that UMONITOR and MONITOR have armed, of all cores that share a memory. */
export class Monitors {
  private readonly cores: Core[] = [];

  join(core: Core): void {
    this.cores.push(core);
  }

  /** Whether any core has armed a line. */
  get armed(): boolean {
    return this.cores.some((core) => core.wait.line >= 0);
  }

  /** A line was armed or disarmed: stores have to be watched, or not. */
  changed(): void {
    for (const core of this.cores) core.watchChanged();
  }

  /** A store to a line, by its physical address. */
  stored(line: number): void {
    for (const core of this.cores) {
      if (core.wait.line !== line) continue;
      core.wait.line = -1;
      core.wait.triggered = true;
      core.interrupts.attention = true;
    }
  }
}
