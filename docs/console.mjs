// Runs the commands in a page's ```console blocks again and writes down what they print.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * The page with fresh output. A block holds commands (`$ …`, continued by a backslash), each with its output below.
 * Commands run in bash at the project's root; remarks on standard error are left out. A command that names a variable
 * (`$VMM/…`) which is not set needs data that does not come with the project: its output stays as it is.
 */
export function rerunConsole(page) {
  const folder = mkdtempSync(join(tmpdir(), 'kvm-cpuid-'));
  const program = join(folder, 'kvm-cpuid');
  writeFileSync(program, `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'dist/cli/main.js')}" "$@"\n`);
  chmodSync(program, 0o755);
  const env = { ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}`, NO_COLOR: '1' };
  try {
    return page.replace(/```console\n([\s\S]*?)```/g, (_, body) => {
      const parts = body.split(/^(?=\$ )/m).map((part) => rerunOne(part, env));
      return `\`\`\`console\n${parts.join('')}\`\`\``;
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function rerunOne(part, env) {
  const [head] = /^\$ (?:.*\\\n)*.*\n/.exec(part);
  const command = head.slice(2);
  const missing = [...command.matchAll(/\$([A-Z]+)\b/g)].some(([, name]) => env[name] === undefined);
  if (missing) return part;
  const { stdout, error } = spawnSync('bash', ['-c', command], { cwd: root, env, encoding: 'utf8' });
  if (error) throw error;
  return (
    head +
    stdout
      .replace(/[ \t]+$/gm, '')
      .replace(/\n*$/, '\n')
      .replace(/^\n$/, '')
  );
}
