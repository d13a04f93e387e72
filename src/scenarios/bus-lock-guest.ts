import type { Assembler } from '../emu/isa/asm.js';
import { msrIndex } from '../linux/user-return-rows.js';
import { GUEST, writeMsr } from './guest-image.js';

/** A guest whose user mode locks the bus, and whose kernel counts the #DBs that come of it. */

/** The register that counts, by number. */
export const DB_COUNT = 12;

/** Crosses from one line into the next. */
export const SPLIT_ADDRESS = GUEST.DATA + 0x3e;

/** In `STAR`: kernel CS and SS, user CS and SS. */
const STAR = (0x20n << 48n) | (0x10n << 32n);
const RFLAGS = 2;
/** With bases of 0 for IDTR and TR, as at reset: RSP0 of the TSS, and the gate of #DB. */
const TSS_RSP0 = 4;
const DB_GATE = 0x10;
/** Selector 10H; an interrupt gate, present. */
const GATE = 0x8e00_0010_0000n;

/** @param debugctl what the guest's kernel writes into IA32_DEBUGCTL; `null`: nothing */
export function busLockGuest(debugctl: number | null): (a: Assembler) => void {
  return (a) => {
    a.mov('r12d', 0);
    a.mov('rdi', TSS_RSP0);
    a.mov('rax', GUEST.STACK_TOP);
    a.mov('qword ptr [rdi]', 'rax');
    a.lea('rax', '[rip+debug]');
    a.mov('rbx', GATE);
    a.or('rax', 'rbx');
    a.mov('rdi', DB_GATE);
    a.mov('qword ptr [rdi]', 'rax');
    writeMsr(a, msrIndex('IA32_STAR'), STAR);
    a.lea('rax', '[rip+kernel]');
    a.mov('edx', 0);
    a.mov('ecx', msrIndex('IA32_LSTAR'));
    a.wrmsr();
    if (debugctl !== null) writeMsr(a, msrIndex('IA32_DEBUGCTL'), debugctl);
    a.lea('rcx', '[rip+user]');
    a.mov('r11d', RFLAGS);
    a.sysretq();

    a.label('user');
    a.mov('rdi', SPLIT_ADDRESS);
    a.lock().inc('dword ptr [rdi]');
    a.syscall();

    a.label('debug');
    a.inc('r12d');
    a.iretq();

    a.label('kernel');
    a.hlt();
  };
}
