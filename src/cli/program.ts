import { Command, CommanderError } from 'commander';
import { FormatError, IoctlFailed, KvmNotLoaded } from '../index.js';
import { addAllowed } from './commands/allowed.js';
import { addCheck } from './commands/check.js';
import { addConvert } from './commands/convert.js';
import { addDiff } from './commands/diff.js';
import { addFuzz } from './commands/fuzz.js';
import { addHosts } from './commands/hosts.js';
import { addLive } from './commands/live.js';
import { addMatrix } from './commands/matrix.js';
import { addReplay } from './commands/replay.js';
import { addScenario } from './commands/scenario.js';
import { addSupported } from './commands/supported.js';
import { EXIT_REFUSED, EXIT_USAGE, UsageError } from './failure.js';
import { VERSION } from './version.js';

function makeProgram(): Command {
  const program = new Command('kvm-cpuid')
    .description(
      "What KVM answers on its CPUID ioctls, and what a paranoid KVM would refuse, for a host that you don't own.",
    )
    .version(VERSION)
    .configureOutput({
      outputError: (text, write) =>
        write(
          `${text
            .trim()
            .replace(/\s*\n\s*/g, ' ')
            .replace(/^error: /, 'kvm-cpuid: ')}\n`,
        ),
    })
    .exitOverride()
    .addHelpText('after', EXAMPLES);
  addHosts(program);
  addSupported(program);
  addAllowed(program);
  addCheck(program);
  addConvert(program);
  addDiff(program);
  addMatrix(program);
  addReplay(program);
  addLive(program);
  addFuzz(program);
  addScenario(program);
  return program;
}

const EXAMPLES = `
Examples:
  kvm-cpuid hosts
  kvm-cpuid supported --host sapphire-rapids --names
  kvm-cpuid check table.json --host genoa
  kvm-cpuid allowed --host genoa --leaf 7.0

Exit status: 0 accepted or answered, 1 refused, 2 bad usage, unreadable input or not modelled yet.`;

/** What a user did or gave wrong: one line. Anything else is a defect of ours and keeps its stack. */
function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (error instanceof IoctlFailed) {
    process.stderr.write(`kvm-cpuid: ${error.message}: this KVM does not offer it on this host\n`);
    return EXIT_REFUSED;
  }
  if (error instanceof KvmNotLoaded) {
    process.stderr.write(`kvm-cpuid: open("/dev/kvm") fails with ENOENT: ${error.message}\n`);
    return EXIT_REFUSED;
  }
  if (error instanceof FormatError || error instanceof UsageError) {
    process.stderr.write(`kvm-cpuid: ${error.message.replace(/\s*\n\s*/g, ' ')}\n`);
    return EXIT_USAGE;
  }
  throw error;
}

// A reader that closes the pipe early (head, less) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

// No await here: the program is built as CommonJS.
makeProgram()
  .parseAsync()
  .catch((error: unknown) => {
    // Anything that nobody has foreseen keeps its stack.
    try {
      process.exitCode = explain(error);
    } catch (unforeseen) {
      console.error(unforeseen);
      process.exitCode = 70;
    }
  });
