import { CAPTURE_SCHEMA } from '../cpuid/formats/capture.js';
import { describeDump, type HostDescription, readHost } from '../index.js';
import { loadLibc } from '../live/ffi.js';
import { hostSection } from '../live/host.js';
import { withInstructions } from '../live/instruction.js';
import { outOfRangeRows, rawRows } from '../live/raw.js';

/** What the host that a campaign runs on is called. */
export const THIS_MACHINE = 'this-machine';

/**
 * Describes the machine that the campaign runs on: its CPUID, and what its kernel says of itself.
 *
 * @throws LiveUnavailable where that cannot be had; FormatError for a kernel that is not modelled
 */
export function thisMachine(): HostDescription {
  const libc = loadLibc();
  const raw = withInstructions(libc, ({ cpuid }) => ({ raw: rawRows(cpuid), raw_out_of_range: outOfRangeRows(cpuid) }));
  const document = { schema: CAPTURE_SCHEMA, name: THIS_MACHINE, host: hostSection(libc), ...raw, kvm: 'OK' };
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  return describeDump(readHost(bytes, THIS_MACHINE), THIS_MACHINE);
}
