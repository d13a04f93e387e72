import type { ReplayReport } from './replay.js';

/** The sections in the order of the first report that has them. */
function sectionNames(reports: readonly ReplayReport[]): string[] {
  return [...new Set(reports.flatMap((report) => Object.keys(report.sections)))];
}

function cell(report: ReplayReport, section: string): string {
  const result = report.sections[section];
  if (!result) return '';
  const { checked, agree, skipped } = result;
  const text = agree === checked ? String(agree) : `**${agree} of ${checked}**`;
  if (skipped === 0) return text;
  return checked === 0 ? `(${skipped})` : `${text} (${skipped})`;
}

/** Recordings by section: how many experiments agree; differences in bold, skipped ones in parentheses. */
export function fidelityTable(reports: readonly ReplayReport[]): string {
  const sections = sectionNames(reports);
  const header = ['recording', ...sections.map((section) => `\`${section}\``)];
  const rows = reports.map((report) => [report.capture, ...sections.map((section) => cell(report, section))]);
  return [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

/** The totals by section, and why experiments were skipped. */
export function fidelityTotals(reports: readonly ReplayReport[]): string {
  const rows = sectionNames(reports).map((section) => {
    const results = reports.flatMap((report) => report.sections[section] ?? []);
    const sum = (key: 'checked' | 'agree' | 'skipped') => results.reduce((total, result) => total + result[key], 0);
    const reasons = [...new Set(results.flatMap((result) => result.reason ?? []))];
    return `| \`${section}\` | ${sum('checked')} | ${sum('agree')} | ${sum('skipped')} | ${reasons.join('; ')} |`;
  });
  return ['| section | checked | agree | skipped | why |', '|---|--:|--:|--:|---|', ...rows].join('\n');
}
