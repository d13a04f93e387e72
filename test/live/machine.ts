import { withKvm } from '../../src/live/device.js';
import { type Libc, LiveUnavailable, loadLibc } from '../../src/live/ffi.js';

/** The system calls of this machine, where its KVM can be asked; else why not. */
export function probeMachine(): { readonly libc: Libc | null; readonly reason: string } {
  try {
    const libc = loadLibc();
    withKvm(libc, () => {});
    return { libc, reason: '' };
  } catch (error) {
    if (!(error instanceof LiveUnavailable)) throw error;
    return { libc: null, reason: error.message };
  }
}
