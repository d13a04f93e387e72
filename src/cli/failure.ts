/** Exit statuses of the command line. */
export const EXIT_OK = 0;
export const EXIT_REFUSED = 1;
export const EXIT_USAGE = 2;

/** What ends a command with status 2: bad usage, unreadable input, or something that is not modelled yet. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
