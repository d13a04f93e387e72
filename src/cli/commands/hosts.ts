import type { Command } from 'commander';
import { builtInHosts } from '../../index.js';
import { colours, columns, print, printJson } from '../output.js';

/** `kvm-cpuid hosts` */
export function addHosts(program: Command): void {
  program
    .command('hosts')
    .description('the built-in hosts')
    .option('--json', 'print one JSON document')
    .action((options: { json?: boolean }) => {
      const hosts = builtInHosts();
      if (options.json) {
        printJson(
          hosts.map(({ name, title, vendor, family, model, stepping, technology, tdx }) => {
            return { name, title, vendor, family, model, stepping, technology, tdx };
          }),
        );
        return;
      }
      const rows = hosts.map((host) => [
        colours.bold(host.name),
        host.vendor,
        `${host.family.toString(16)}h/${host.model.toString(16)}h/${host.stepping}`,
        `${host.technology.toUpperCase()}${host.tdx ? ', TDX' : ''}`,
        host.title,
      ]);
      for (const line of columns([['name', 'vendor', 'fam/mod/step', 'runs', 'part'], ...rows], '')) print(line);
    });
}
