import type { Campaign } from '../../fuzz/campaign.js';
import type { CoverageSummary } from '../../fuzz/coverage.js';
import { progress } from '../output.js';

/** Milliseconds between two updates. */
const INTERVAL = 500;

export const millions = (count: number): string =>
  count >= 1e6 ? `${(count / 1e6).toFixed(count >= 1e8 ? 0 : 1)} M` : String(count);

/** One line on standard error while a campaign runs: how much, how fast, what came of it. Only where somebody looks. */
export class CampaignLine {
  private readonly campaign: Campaign;
  private readonly coverage: () => CoverageSummary;
  private readonly start = performance.now();
  private readonly timer: NodeJS.Timeout;

  constructor(campaign: Campaign, coverage: () => CoverageSummary) {
    this.campaign = campaign;
    this.coverage = coverage;
    this.timer = setInterval(() => this.show(), INTERVAL);
  }

  /** Seconds since the campaign began. */
  get seconds(): number {
    return (performance.now() - this.start) / 1000;
  }

  private show(): void {
    const { runs, hits } = this.campaign.progress;
    const { rows, complete } = this.coverage();
    const rate = millions(Math.round(runs / this.seconds));
    progress(`${millions(runs)} tables, ${rate}/s, ${complete} of ${rows} rule rows hit in full, ${hits} suspects`);
  }

  end(): void {
    clearInterval(this.timer);
    progress(null);
  }
}
