/**
 * A CPU in real mode, as little of it as there is today: it fetches and decodes HLT, CPUID and NOP. The first two are
 * intercepted by every hypervisor, so they end the run before they do anything. Every other instruction ends it too, as
 * unknown: that is a limit of this emulator.
 */

/** Where instruction bytes come from. */
export interface CodeSource {
  /** The byte at a linear address; negative when there is none. */
  codeAt(linear: number): number;
}

/** The registers that fetching needs. */
export interface RealModeCpu {
  /** Base of the code segment, below 4 GiB. */
  csBase: number;
  /** Instruction pointer; on return, of the instruction that ended the run. */
  ip: number;
}

/** Why a run ended. `no-code`: the next byte cannot be fetched, or lies beyond the code segment. */
export type RealModeExit = 'hlt' | 'cpuid' | 'unknown-instruction' | 'no-code';

/** Lengths of the intercepted instructions: what a hypervisor adds to IP when it has emulated one. */
export const HLT_LENGTH = 1;
export const CPUID_LENGTH = 2;

const HLT = 0xf4;
const NOP = 0x90;
const TWO_BYTE = 0x0f;
const CPUID = 0xa2;

/** The code segment ends at 64 KiB. */
const LIMIT = 0xffff;

function fetch(cpu: RealModeCpu, code: CodeSource, ahead: number): number {
  const ip = cpu.ip + ahead;
  return ip > LIMIT ? -1 : code.codeAt((cpu.csBase + ip) >>> 0);
}

/** Executes until an instruction is intercepted. There are no jumps, so the end of the segment is the latest. */
export function runRealMode(cpu: RealModeCpu, code: CodeSource): RealModeExit {
  for (;;) {
    const opcode = fetch(cpu, code, 0);
    if (opcode < 0) return 'no-code';
    if (opcode === HLT) return 'hlt';
    if (opcode === TWO_BYTE) {
      const second = fetch(cpu, code, 1);
      if (second < 0) return 'no-code';
      return second === CPUID ? 'cpuid' : 'unknown-instruction';
    }
    if (opcode !== NOP) return 'unknown-instruction';
    cpu.ip++;
  }
}
