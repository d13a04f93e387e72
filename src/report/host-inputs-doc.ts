import { NEWEST_KERNEL, onLine } from '../cpuid/kernel-line.js';
import { FACT_ROWS } from '../linux/fact-rows.js';
import { PARAMETER_ROWS } from '../linux/module-parameters.js';

const cell = (text: string): string => text.replaceAll('|', '\\|');

/** The table of facts for `docs/host-inputs.md`. */
export function factsTable(): string {
  const rows = FACT_ROWS.map((row) => {
    const text =
      typeof row.default === 'string' || row.default === null ? row.default : onLine(row.default, NEWEST_KERNEL);
    return `| \`${row.name}\` | ${cell(row.meaning)} | ${text === null ? 'derived at boot' : `\`${cell(text)}\``} |`;
  });
  return ['| fact | meaning | default |', '|---|---|---|', ...rows].join('\n');
}

/** The table of module parameters for `docs/host-inputs.md`. */
export function parametersTable(): string {
  const rows = PARAMETER_ROWS.map(
    (row) =>
      `| \`${row.module}.${row.name}\` | ${row.meaning}${row.since ? ` (since ${row.since})` : ''} | ${row.default} |`,
  );
  return ['| parameter | meaning | default |', '|---|---|---|', ...rows].join('\n');
}

/** Replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->`. */
export function fillSection(page: string, name: string, content: string): string {
  const pattern = new RegExp(`(<!-- ${name} -->\\n)[\\s\\S]*?(\\n<!-- /${name} -->)`);
  return page.replace(pattern, (_, open: string, close: string) => `${open}${content}${close}`);
}

/** The page with its generated sections. */
export function fillHostInputs(page: string): string {
  return fillSection(fillSection(page, 'facts', factsTable()), 'parameters', parametersTable());
}
