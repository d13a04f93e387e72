import pc from 'picocolors';

/** Writes the document of a command with `--json`: one line. */
export function printJson(document: unknown): void {
  process.stdout.write(`${JSON.stringify(document)}\n`);
}

export function print(text = ''): void {
  process.stdout.write(`${text}\n`);
}

/** Remarks go to standard error, so that the answer stays clean. */
export function remark(text: string): void {
  process.stderr.write(`note: ${text}\n`);
}

/** Colours only where somebody looks. */
export const colours = pc.createColors(process.stdout.isTTY === true && process.env.NO_COLOR === undefined);

const width = (text: string): number => text.replace(/\u001b\[[0-9;]*m/g, '').length;

/** Aligns columns, two spaces apart; the last column is not padded. */
export function columns(rows: readonly (readonly string[])[], indent = '  '): string[] {
  const widths: number[] = [];
  for (const row of rows) for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, width(cell));
  return rows.map((row) =>
    (indent + row.map((cell, at) => cell + ' '.repeat(widths[at]! - width(cell))).join('  ')).trimEnd(),
  );
}

let progressShown = false;

/** A line on standard error that the next one replaces; `null` takes it away. Only where somebody looks. */
export function progress(text: string | null): void {
  if (process.stderr.isTTY !== true) return;
  if (progressShown) process.stderr.write('\r\u001b[K');
  if (text !== null) process.stderr.write(text);
  progressShown = text !== null;
}
