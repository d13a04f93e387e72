/** How an instruction ends. */
export const NEXT = 0;
/** It has written RIP (a branch, or an event that it delivered). */
export const JUMP = 1;
/** A fault: `core.fault` says which; nothing has changed. */
export const FAULT = 2;
/** The guest was left; the core is in the host. */
export const LEFT = 3;
/** Registers are as they were at XBEGIN, RIP is at the fallback. */
export const ABORTED = 4;
/** It is done and has written to the code behind it in its block, which must be decoded anew. */
export const SPLIT = 5;

/** Why the core stops running. */
export const STOP = {
  /** The limit of cycles is reached. */
  LIMIT: 'limit',
  /** It waits, and nothing is scheduled that could end that; or see `core.stopsAtHalt`. */
  IDLE: 'idle',
  /** A guest was left (only when `core.stopsAtExit`). */
  EXIT: 'exit',
  /** A triple fault outside a guest: the machine resets. */
  SHUTDOWN: 'shutdown',
  /** A STOP event: whoever scheduled it wants to look. */
  EVENT: 'event',
} as const;
export type Stop = (typeof STOP)[keyof typeof STOP];

/** What a core does. */
export const ACTIVITY = {
  ACTIVE: 0,
  HALTED: 1,
  /** UMWAIT, TPAUSE, MWAIT. */
  WAITING: 2,
  SHUTDOWN: 3,
} as const;

/** Exceptions (SDM volume 3, table 6-1). */
export const VECTOR = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  AC: 17,
  MC: 18,
  CP: 21,
} as const;

/** DR6.BLD, which a bus lock clears. */
export const DR6_BUS_LOCK = 1 << 11;
/** Bits of DR6 that are 1 unless something has happened: BLD, RTM. */
const DR6_ACTIVE_LOW = DR6_BUS_LOCK | (1 << 16);

/** DR6 after #DB for these reasons, which are 1 in `bits` even where DR6 has a 0 for them. */
export function dr6After(dr6: number, bits: number): number {
  return (dr6 | (bits & ~DR6_ACTIVE_LOW)) & ~(bits & DR6_ACTIVE_LOW);
}

/** Event types, as VMX and FRED number them (SDM volume 3, table 26-17). */
export const EVENT_TYPE = {
  INTERRUPT: 0,
  NMI: 2,
  EXCEPTION: 3,
  SOFTWARE_INTERRUPT: 4,
  /** INT1 */
  PRIVILEGED_SOFTWARE_EXCEPTION: 5,
  /** INT3, INTO */
  SOFTWARE_EXCEPTION: 6,
  /** FRED: SYSCALL (1), SYSENTER (2) */
  OTHER: 7,
} as const;

/** What an event queue's entries are, by their kind. */
export const EVENT = {
  /** IA32_TSC_DEADLINE: the core's timer vector becomes pending. */
  TSC_DEADLINE: 0,
  /** An external interrupt; the argument is its vector. */
  INTERRUPT: 1,
  NMI: 2,
  /** The deadline of a wait. */
  WAKE: 3,
  /** VMX-preemption timer. */
  PREEMPTION: 4,
  /** The core stops, for whoever scheduled it. */
  STOP: 5,
} as const;
