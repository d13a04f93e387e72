// What is kept of Stryker's report (https://github.com/stryker-mutator/mutation-testing-elements), and the table of it.

const count = (mutants, ...statuses) => mutants.filter(({ status }) => statuses.includes(status)).length;

/** The source between two places of a report, which count from 1; a long one is cut. */
function excerpt(source, { start, end }) {
  const lines = source.split('\n').slice(start.line - 1, end.line);
  lines[lines.length - 1] = lines.at(-1).slice(0, end.column - 1);
  lines[0] = lines[0].slice(start.column - 1);
  return short(lines.join(' '));
}
const short = (text) => {
  const line = text.replace(/\s+/g, ' ');
  return line.length > 70 ? `${line.slice(0, 69)}…` : line;
};

/** By file: how many mutants had which end, and those that no test noticed. */
export function summaryOf(report) {
  return Object.fromEntries(
    Object.entries(report.files).map(([name, { source, mutants }]) => [
      name,
      {
        killed: count(mutants, 'Killed'),
        timeout: count(mutants, 'Timeout'),
        survived: count(mutants, 'Survived'),
        unreached: count(mutants, 'NoCoverage'),
        survivors: mutants
          .filter(({ status }) => status === 'Survived' || status === 'NoCoverage')
          .sort((a, b) => a.location.start.line - b.location.start.line)
          .map(
            ({ location, replacement }) =>
              `${location.start.line}:${location.start.column} ${excerpt(source, location)} => ${short(replacement ?? '')}`,
          ),
      },
    ]),
  );
}

const score = ({ killed, timeout, survived, unreached }) =>
  ((100 * (killed + timeout)) / (killed + timeout + survived + unreached)).toFixed(1);

/** The figures of all slices as Markdown, a line for each file. */
export function scoreTable(slices) {
  const rows = Object.values(slices).flatMap(({ date, commit, files }) =>
    Object.entries(files).map(([name, file]) => ({ name, date, commit, ...file })),
  );
  const total = { name: 'all', date: '', commit: '' };
  for (const key of ['killed', 'timeout', 'survived', 'unreached']) {
    total[key] = rows.reduce((sum, row) => sum + row[key], 0);
  }
  const line = (row) => {
    const { name, killed, timeout, survived, unreached, date, commit } = row;
    return `| ${[name, killed + timeout + survived + unreached, killed, timeout, survived, unreached, score(row), date, commit].join(' | ')} |`;
  };
  return [
    '| file | mutants | killed | timeout | survived | not reached | score % | run on | commit |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |',
    ...rows.toSorted((a, b) => (a.name < b.name ? -1 : 1)).map(line),
    line(total),
  ].join('\n');
}
