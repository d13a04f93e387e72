/**
 * The operation table: one row per operation of the machine's instruction set. Decoder, assembler, disassembler, gates
 * and costs are all derived from it.
 *
 * A row is `op(name, encodings, cost, options)`. An encoding is written as in the opcode maps of the SDM, vol. 2D,
 * appendix A: prefixes and opcode on the left, operands on the right of the bar.
 *
 * On the left:
 *
 * - `66`, `F3`, `F2` a mandatory prefix; `NP` none of the three may stand there; `NFx` no F2 and no F3 (66 is operand
 *   size); nothing of these: all three are allowed, and 66 is operand size;
 * - `VEX.F2.MAP7` a VEX prefix with that pp and map, and with L=0, W=0, and vvvv=1111b;
 * - `d64` operand size defaults to 64 bits, 66 makes it 16; `f64` it is 64 bits whatever the prefixes (appendix A.2.5);
 *   `o64` the encoding is for 64-bit operand size only, so it needs REX.W unless that is the default;
 * - `+r` the low three bits of the opcode are a register; `+cc` is written out;
 * - `/digit` ModRM.reg, `/r` ModRM.reg is an operand, a byte after the opcode is a whole ModRM byte;
 *   `mod3` ModRM.mod is 11b although no operand says so; `modx` ModRM.mod is ignored and taken as 11b;
 * - `B0` REX.B is clear.
 *
 * On the right, a letter for the place and one for the width (appendix A.2.1 and A.2.2):
 *
 * - `E` register or memory by ModRM.rm, `R` register only, `M` memory only, `G` register by ModRM.reg, `Z` register by
 *   the opcode (`Z!` not register 0), `C` control register by ModRM.reg, `I` immediate, `J` branch displacement;
 *   `AL`, `rAX`, `CL`, `1`;
 * - `b` byte, `w` word, `d` doubleword, `q` quadword, `o` 16 bytes, `s` pseudo-descriptor (10 bytes); `v` operand size,
 *   `y` 64 bits with REX.W, else 32; `z` operand size but at most 32 bits; `a` address size; `bs` a sign-extended byte.
 *   `M` alone is an address that is not accessed.
 *
 * Sources: SDM vol. 2 and 3, APM vol. 3; ISE (WRMSRLIST, USER_MSR, MSR_IMM); FRED specification (ERETU, ERETS, LKGS);
 * TDX loader and module documents (SEAMCALL and its three neighbours).
 */

/** Names that have to hold for an operation to exist; a `!` says that they must not. Who resolves them is not here. */
export type Gate =
  | `CPUID.${string}`
  | `${'' | '!'}CR4.${'CET' | 'FRED' | 'FSGSBASE' | 'OSXSAVE' | 'PKE' | 'UINTR' | 'VMXE'}`
  | `EFER.${'SCE' | 'SVME'}`
  | 'IA32_MTRRCAP.SEAMRR'
  | `VMX.${'ENABLE_RDTSCP' | 'ENABLE_USER_WAIT_PAUSE'}`;

/**
 * Cost keys: the keys of the cycle reference, where every figure says whether it is measured, derived or estimated.
 * With a `*`, the operands choose the key: `cpuid.*` by leaf and sub-leaf, `mov_to_cr*` by the control register.
 */
export type CostKey =
  | 'alu'
  | 'branch'
  | 'clgi'
  | 'clui'
  | 'cpuid.*'
  | 'eretu'
  | 'erets'
  | 'hlt_wake'
  | 'int_exception_idt_r3_r0'
  | 'iretq_r0_r3'
  | 'lea'
  | 'lfence'
  | 'lkgs'
  | 'mfence'
  | 'mov'
  | 'mov_from_cr'
  | 'mov_to_cr*'
  | 'nop'
  | 'pause'
  | 'push_pop'
  | 'rdmsr'
  | 'rdmsr_imm'
  | 'rdpid'
  | 'rdpkru'
  | 'rdtsc'
  | 'rdtscp'
  | 'seamcall_trivial_roundtrip'
  | 'senduipi'
  | 'serialize'
  | 'stgi'
  | 'stui'
  | 'swapgs'
  | 'syscall'
  | 'sysret'
  | 'tdcall_to_module'
  | 'testui'
  | 'tpause_expired'
  | 'uiret'
  | 'umwait_unarmed'
  | 'vmentry'
  | 'vmload'
  | 'vmread'
  | 'vmrun'
  | 'vmsave'
  | 'vmwrite'
  | 'wrmsr'
  | 'wrmsrns'
  | 'wrmsrns_imm'
  | 'wrpkru'
  | 'xabort_total'
  | 'xbegin'
  | 'xend'
  | 'xgetbv'
  | 'xsetbv'
  | 'xtest';

/**
 * What an operation can do to the run of a block:
 *
 * - `branch` it writes RIP; `ends` it may change what the following bytes mean or when they run (mode, gates, control
 *   registers, MSRs, waits), so that a block ends here too;
 * - `serializes` SDM vol. 3, "Serializing Instructions";
 * - `faults` it can raise a fault other than that of a memory operand; `exits` a VM exit or #VMEXIT exists for it;
 * - `cpl0` #GP(0) above ring 0; `cpl0ud` #UD above ring 0.
 */
export type Trait = 'branch' | 'ends' | 'serializes' | 'faults' | 'exits' | 'cpl0' | 'cpl0ud';

export interface OpOptions {
  /** LOCK is legal when the destination is memory. */
  readonly lock?: boolean;
  /** All of them must hold, else #UD; of a list within, any one. */
  readonly gates?: readonly (Gate | readonly Gate[])[];
  readonly traits?: readonly Trait[];
}

export interface OpRow<Name extends string = string> {
  readonly name: Name;
  readonly encodings: readonly string[];
  /** `null`: no figure of its own is known, or the world switch that it starts is what costs. */
  readonly cost: CostKey | null;
  readonly options: OpOptions;
}

function op<const Name extends string>(
  name: Name,
  encodings: readonly string[],
  cost: CostKey | null,
  options: OpOptions = {},
): OpRow<Name> {
  return { name, encodings, cost, options };
}

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0');

/** Six of the eight rows of `00`–`3D` and their digits of group 1. CMP alone has no destination to lock. */
function alu<const Name extends string>(name: Name, digit: number): OpRow<Name> {
  const base = digit * 8;
  const encodings = [
    `${hex(base)} /r | Eb, Gb`,
    `${hex(base + 1)} /r | Ev, Gv`,
    `${hex(base + 2)} /r | Gb, Eb`,
    `${hex(base + 3)} /r | Gv, Ev`,
    `${hex(base + 4)} | AL, Ib`,
    `${hex(base + 5)} | rAX, Iz`,
    `80 /${digit} | Eb, Ib`,
    `81 /${digit} | Ev, Iz`,
    `83 /${digit} | Ev, Ibs`,
  ];
  return op(name, encodings, 'alu', { lock: name !== 'CMP' });
}

/** One shift of group 2: by an immediate, by one, by CL. */
function shift<const Name extends string>(name: Name, digit: number): OpRow<Name> {
  const encodings = [
    `C0 /${digit} | Eb, Ib`,
    `C1 /${digit} | Ev, Ib`,
    `D0 /${digit} | Eb, 1`,
    `D1 /${digit} | Ev, 1`,
    `D2 /${digit} | Eb, CL`,
    `D3 /${digit} | Ev, CL`,
  ];
  return op(name, encodings, 'alu');
}

/** The conditional jump with condition code `cc`. */
function jcc<const Name extends string>(name: Name, cc: number): OpRow<Name> {
  return op(name, [`f64 ${hex(0x70 + cc)} | Jb`, `f64 0F ${hex(0x80 + cc)} | Jz`], 'branch', { traits: ['branch'] });
}

const WAITPKG = ['CPUID.WAITPKG', 'VMX.ENABLE_USER_WAIT_PAUSE'] as const;
const RTM = ['CPUID.RTM'] as const;
const UINTR = ['CPUID.UINTR', 'CR4.UINTR'] as const;
const FRED = ['CPUID.FRED', 'CR4.FRED'] as const;
const FSGSBASE = ['CPUID.FSGSBASE', 'CR4.FSGSBASE'] as const;
const VMX_ROOT = ['CPUID.VMX', 'CR4.VMXE'] as const;
const SVM_HOST = ['CPUID.SVM', 'EFER.SVME'] as const;
const MSR_READ = ['ends', 'faults', 'exits', 'cpl0'] as const;
const MSR_WRITE = ['ends', 'serializes', 'faults', 'exits', 'cpl0'] as const;
const VMX_INSN = ['ends', 'faults', 'exits', 'cpl0'] as const;
const SVM_INSN = ['ends', 'faults', 'exits', 'cpl0'] as const;

/** The operations: integer core, control transfer, then system instructions by what they touch. */
// biome-ignore format: one row per operation
export const OP_ROWS = [
  // Data movement.
  op('MOV', ['88 /r | Eb, Gb', '89 /r | Ev, Gv', '8A /r | Gb, Eb', '8B /r | Gv, Ev', 'B0+r | Zb, Ib', 'B8+r | Zv, Iv',
    'C6 /0 | Eb, Ib', 'C7 /0 | Ev, Iz'], 'mov'),
  op('MOVZX', ['0F B6 /r | Gv, Eb', '0F B7 /r | Gv, Ew'], 'mov'),
  op('MOVSX', ['0F BE /r | Gv, Eb', '0F BF /r | Gv, Ew'], 'mov'),
  op('MOVSXD', ['63 /r | Gv, Ez'], 'mov'),
  op('LEA', ['8D /r | Gv, M'], 'lea'),
  op('XCHG', ['86 /r | Eb, Gb', '87 /r | Ev, Gv', '90+r | Z!v, rAX'], 'alu', { lock: true }),
  op('CMPXCHG', ['0F B0 /r | Eb, Gb', '0F B1 /r | Ev, Gv'], 'alu', { lock: true }),
  op('CMPXCHG8B', ['0F C7 /1 | Mq'], 'alu', { lock: true, gates: ['CPUID.CX8'] }),
  op('CMPXCHG16B', ['o64 0F C7 /1 | Mo'], 'alu', { lock: true, gates: ['CPUID.CX16'], traits: ['faults'] }),
  op('PUSH', ['d64 50+r | Zv', 'd64 o64 68 | Iz', 'd64 o64 6A | Ibs', 'd64 FF /6 | Ev'], 'push_pop'),
  op('POP', ['d64 58+r | Zv', 'd64 8F /0 | Ev'], 'push_pop'),
  op('PUSHFQ', ['d64 o64 9C'], 'push_pop'),
  op('POPFQ', ['d64 o64 9D'], 'push_pop', { traits: ['ends', 'faults'] }),

  // Arithmetic, logic, shifts.
  alu('ADD', 0),
  alu('OR', 1),
  alu('AND', 4),
  alu('SUB', 5),
  alu('XOR', 6),
  alu('CMP', 7),
  op('TEST', ['84 /r | Eb, Gb', '85 /r | Ev, Gv', 'A8 | AL, Ib', 'A9 | rAX, Iz', 'F6 /0 | Eb, Ib', 'F7 /0 | Ev, Iz'],
    'alu'),
  op('INC', ['FE /0 | Eb', 'FF /0 | Ev'], 'alu', { lock: true }),
  op('DEC', ['FE /1 | Eb', 'FF /1 | Ev'], 'alu', { lock: true }),
  shift('SHL', 4),
  shift('SHR', 5),
  shift('SAR', 7),

  // Control transfer. The sixteen conditions are contiguous: condition code = id - id of JO.
  jcc('JO', 0x0),
  jcc('JNO', 0x1),
  jcc('JB', 0x2),
  jcc('JAE', 0x3),
  jcc('JE', 0x4),
  jcc('JNE', 0x5),
  jcc('JBE', 0x6),
  jcc('JA', 0x7),
  jcc('JS', 0x8),
  jcc('JNS', 0x9),
  jcc('JP', 0xa),
  jcc('JNP', 0xb),
  jcc('JL', 0xc),
  jcc('JGE', 0xd),
  jcc('JLE', 0xe),
  jcc('JG', 0xf),
  op('JMP', ['f64 EB | Jb', 'f64 E9 | Jz', 'f64 FF /4 | Ev'], 'branch', { traits: ['branch', 'faults'] }),
  op('CALL', ['f64 E8 | Jz', 'f64 FF /2 | Ev'], 'branch', { traits: ['branch', 'faults'] }),
  op('RET', ['f64 C3', 'f64 C2 | Iw'], 'branch', { traits: ['branch', 'faults'] }),

  // Nothing, and nothing but #UD.
  op('NOP', ['B0 NP 90', 'B0 66 90', 'B0 F2 90', '0F 1F /0 | Ev'], 'nop'),
  op('PAUSE', ['F3 90'], 'pause', { traits: ['ends', 'exits'] }),
  op('ENDBR64', ['F3 0F 1E FA'], 'nop'),
  op('UD0', ['0F FF /r | Gv, Ev'], null, { traits: ['ends', 'faults'] }),
  op('UD1', ['0F B9 /r | Gv, Ev'], null, { traits: ['ends', 'faults'] }),
  op('UD2', ['0F 0B'], null, { traits: ['ends', 'faults'] }),

  // Fences and cycles.
  op('LFENCE', ['NP 0F AE /5 mod3'], 'lfence'),
  op('MFENCE', ['NP 0F AE /6 mod3'], 'mfence'),
  op('SFENCE', ['NP 0F AE /7 mod3'], null),
  op('SERIALIZE', ['NP 0F 01 E8'], 'serialize', { gates: ['CPUID.SERIALIZE'], traits: ['ends', 'serializes'] }),
  op('RDTSC', ['0F 31'], 'rdtsc', { gates: ['CPUID.TSC'], traits: ['ends', 'faults', 'exits'] }),
  op('RDTSCP', ['0F 01 F9'], 'rdtscp',
    { gates: ['CPUID.RDTSCP', 'VMX.ENABLE_RDTSCP'], traits: ['ends', 'faults', 'exits'] }),
  op('RDPID', ['F3 0F C7 /7 | Rq'], 'rdpid', { gates: ['CPUID.RDPID', 'VMX.ENABLE_RDTSCP'] }),
  op('RDRAND', ['NFx 0F C7 /6 | Rv'], null, { gates: ['CPUID.RDRAND'], traits: ['ends', 'exits'] }),
  op('RDSEED', ['NFx 0F C7 /7 | Rv'], null, { gates: ['CPUID.RDSEED'], traits: ['ends', 'exits'] }),
  op('CPUID', ['0F A2'], 'cpuid.*', { traits: ['ends', 'serializes', 'faults', 'exits'] }),

  // Waits.
  op('HLT', ['F4'], 'hlt_wake', { traits: ['ends', 'faults', 'exits', 'cpl0'] }),
  op('MONITOR', ['NP 0F 01 C8'], null, { gates: ['CPUID.MWAIT'], traits: ['ends', 'faults', 'exits', 'cpl0ud'] }),
  op('MWAIT', ['NP 0F 01 C9'], null, { gates: ['CPUID.MWAIT'], traits: ['ends', 'faults', 'exits', 'cpl0ud'] }),
  op('UMONITOR', ['F3 0F AE /6 | Ra'], null, { gates: WAITPKG, traits: ['ends', 'faults'] }),
  op('UMWAIT', ['F2 0F AE /6 | Rd'], 'umwait_unarmed', { gates: WAITPKG, traits: ['ends', 'faults', 'exits'] }),
  op('TPAUSE', ['66 0F AE /6 | Rd'], 'tpause_expired', { gates: WAITPKG, traits: ['ends', 'faults', 'exits'] }),

  // Interrupts, system calls, returns.
  op('INT3', ['CC'], 'int_exception_idt_r3_r0', { traits: ['branch', 'ends', 'faults', 'exits'] }),
  op('INT', ['CD | Ib'], 'int_exception_idt_r3_r0', { traits: ['branch', 'ends', 'faults', 'exits'] }),
  op('IRETQ', ['o64 CF'], 'iretq_r0_r3', { traits: ['branch', 'ends', 'serializes', 'faults', 'exits'] }),
  op('CLI', ['FA'], null, { traits: ['ends', 'faults'] }),
  op('STI', ['FB'], null, { traits: ['ends', 'faults'] }),
  op('SYSCALL', ['0F 05'], 'syscall', { gates: ['EFER.SCE'], traits: ['branch', 'ends', 'faults'] }),
  op('SYSRET', ['0F 07'], 'sysret', { gates: ['EFER.SCE', '!CR4.FRED'], traits: ['branch', 'ends', 'faults', 'cpl0'] }),
  op('SYSRETQ', ['o64 0F 07'], 'sysret',
    { gates: ['EFER.SCE', '!CR4.FRED'], traits: ['branch', 'ends', 'faults', 'cpl0'] }),
  op('ERETU', ['F3 0F 01 CA'], 'eretu', { gates: FRED, traits: ['branch', 'ends', 'faults', 'cpl0ud'] }),
  op('ERETS', ['F2 0F 01 CA'], 'erets', { gates: FRED, traits: ['branch', 'ends', 'faults', 'cpl0ud'] }),
  op('CLUI', ['F3 0F 01 EE'], 'clui', { gates: UINTR, traits: ['ends'] }),
  op('STUI', ['F3 0F 01 EF'], 'stui', { gates: UINTR, traits: ['ends'] }),
  op('TESTUI', ['F3 0F 01 ED'], 'testui', { gates: UINTR }),
  op('UIRET', ['F3 0F 01 EC'], 'uiret', { gates: UINTR, traits: ['branch', 'ends', 'faults'] }),
  op('SENDUIPI', ['F3 0F C7 /6 | Rq'], 'senduipi', { gates: UINTR, traits: ['ends', 'faults'] }),

  // Control registers and segment bases.
  op('MOV_FROM_CR', ['0F 20 /r modx | Rq, Cq'], 'mov_from_cr', { traits: ['ends', 'faults', 'exits', 'cpl0'] }),
  op('MOV_TO_CR', ['0F 22 /r modx | Cq, Rq'], 'mov_to_cr*',
    { traits: ['ends', 'serializes', 'faults', 'exits', 'cpl0'] }),
  op('CLAC', ['NP 0F 01 CA'], null, { gates: ['CPUID.SMAP'], traits: ['ends', 'cpl0ud'] }),
  op('STAC', ['NP 0F 01 CB'], null, { gates: ['CPUID.SMAP'], traits: ['ends', 'cpl0ud'] }),
  op('LIDT', ['0F 01 /3 | Ms'], null, { traits: ['ends', 'serializes', 'faults', 'exits', 'cpl0'] }),
  op('SWAPGS', ['0F 01 F8'], 'swapgs', { gates: ['!CR4.FRED'], traits: ['ends', 'faults', 'cpl0'] }),
  op('LKGS', ['F2 0F 00 /6 | Ew'], 'lkgs', { gates: ['CPUID.LKGS'], traits: ['ends', 'faults', 'cpl0ud'] }),
  op('RDFSBASE', ['F3 0F AE /0 | Ry'], null, { gates: FSGSBASE }),
  op('RDGSBASE', ['F3 0F AE /1 | Ry'], null, { gates: FSGSBASE }),
  op('WRFSBASE', ['F3 0F AE /2 | Ry'], null, { gates: FSGSBASE, traits: ['faults'] }),
  op('WRGSBASE', ['F3 0F AE /3 | Ry'], null, { gates: FSGSBASE, traits: ['faults'] }),
  op('INCSSPD', ['F3 0F AE /5 | Rd'], null, { gates: ['CPUID.SHSTK', 'CR4.CET'], traits: ['faults'] }),
  op('INCSSPQ', ['o64 F3 0F AE /5 | Rq'], null, { gates: ['CPUID.SHSTK', 'CR4.CET'], traits: ['faults'] }),

  // Model-specific registers.
  op('RDMSR', ['0F 32'], 'rdmsr', { gates: ['CPUID.MSR'], traits: MSR_READ }),
  op('RDMSR_IMM', ['VEX.F2.MAP7 F6 /0 | Rq, Id'], 'rdmsr_imm', { gates: ['CPUID.MSR_IMM'], traits: MSR_READ }),
  op('RDMSRLIST', ['F2 0F 01 C6'], null, { gates: ['CPUID.MSRLIST'], traits: MSR_READ }),
  op('WRMSR', ['0F 30'], 'wrmsr', { gates: ['CPUID.MSR'], traits: MSR_WRITE }),
  op('WRMSRNS', ['NP 0F 01 C6'], 'wrmsrns', { gates: ['CPUID.WRMSRNS'], traits: MSR_READ }),
  op('WRMSRNS_IMM', ['VEX.F3.MAP7 F6 /0 | Id, Rq'], 'wrmsrns_imm', { gates: ['CPUID.MSR_IMM'], traits: MSR_READ }),
  op('WRMSRLIST', ['F3 0F 01 C6'], null, { gates: ['CPUID.MSRLIST'], traits: MSR_READ }),
  op('URDMSR', ['F2 0F 38 F8 /r | Rq, Gq'], null, { gates: ['CPUID.USER_MSR'], traits: ['ends', 'faults', 'exits'] }),
  op('URDMSR_IMM', ['VEX.F2.MAP7 F8 /0 | Rq, Id'], null,
    { gates: ['CPUID.USER_MSR'], traits: ['ends', 'faults', 'exits'] }),
  op('UWRMSR', ['F3 0F 38 F8 /r | Gq, Rq'], null, { gates: ['CPUID.USER_MSR'], traits: ['ends', 'faults', 'exits'] }),
  op('UWRMSR_IMM', ['VEX.F3.MAP7 F8 /0 | Id, Rq'], null,
    { gates: ['CPUID.USER_MSR'], traits: ['ends', 'faults', 'exits'] }),

  // Extended state and protection keys.
  op('XGETBV', ['NP 0F 01 D0'], 'xgetbv', { gates: ['CPUID.XSAVE', 'CR4.OSXSAVE'], traits: ['faults'] }),
  op('XSETBV', ['NP 0F 01 D1'], 'xsetbv',
    { gates: ['CPUID.XSAVE', 'CR4.OSXSAVE'], traits: ['ends', 'serializes', 'faults', 'exits', 'cpl0'] }),
  op('RDPKRU', ['NP 0F 01 EE'], 'rdpkru', { gates: ['CPUID.PKU', 'CR4.PKE'], traits: ['faults'] }),
  op('WRPKRU', ['NP 0F 01 EF'], 'wrpkru', { gates: ['CPUID.PKU', 'CR4.PKE'], traits: ['ends', 'faults'] }),

  // Restricted transactional memory.
  op('XBEGIN', ['C7 F8 | Jz'], 'xbegin', { gates: RTM, traits: ['branch', 'ends', 'faults'] }),
  op('XABORT', ['C6 F8 | Ib'], 'xabort_total', { gates: RTM, traits: ['branch', 'ends'] }),
  op('XEND', ['NP 0F 01 D5'], 'xend', { gates: RTM, traits: ['ends', 'faults'] }),
  op('XTEST', ['NP 0F 01 D6'], 'xtest', { gates: [['CPUID.RTM', 'CPUID.HLE']] }),

  // VMX. Whether the CPU is in VMX operation, and in which, is state and not a gate.
  op('VMCALL', ['NP 0F 01 C1'], null, { gates: ['CPUID.VMX'], traits: VMX_INSN }),
  op('VMCLEAR', ['66 0F C7 /6 | Mq'], null, { gates: VMX_ROOT, traits: VMX_INSN }),
  op('VMLAUNCH', ['NP 0F 01 C2'], 'vmentry', { gates: VMX_ROOT, traits: VMX_INSN }),
  op('VMPTRLD', ['NP 0F C7 /6 | Mq'], null, { gates: VMX_ROOT, traits: VMX_INSN }),
  op('VMPTRST', ['NP 0F C7 /7 | Mq'], null, { gates: VMX_ROOT, traits: VMX_INSN }),
  op('VMREAD', ['NP 0F 78 /r | Eq, Gq'], 'vmread', { gates: VMX_ROOT, traits: VMX_INSN }),
  op('VMRESUME', ['NP 0F 01 C3'], 'vmentry', { gates: VMX_ROOT, traits: VMX_INSN }),
  op('VMWRITE', ['NP 0F 79 /r | Gq, Eq'], 'vmwrite', { gates: VMX_ROOT, traits: VMX_INSN }),
  op('VMXOFF', ['NP 0F 01 C4'], null, { gates: VMX_ROOT, traits: VMX_INSN }),
  op('VMXON', ['F3 0F C7 /6 | Mq'], null, { gates: VMX_ROOT, traits: VMX_INSN }),

  // SVM.
  op('CLGI', ['0F 01 DD'], 'clgi', { gates: SVM_HOST, traits: SVM_INSN }),
  op('STGI', ['0F 01 DC'], 'stgi', { gates: SVM_HOST, traits: SVM_INSN }),
  op('VMGEXIT', ['F2 0F 01 D9', 'F3 0F 01 D9'], null, { gates: ['CPUID.SVM'], traits: ['ends', 'faults', 'exits'] }),
  op('VMLOAD', ['0F 01 DA'], 'vmload', { gates: SVM_HOST, traits: SVM_INSN }),
  op('VMMCALL', ['NFx 0F 01 D9'], null, { gates: ['CPUID.SVM'], traits: ['ends', 'faults', 'exits'] }),
  op('VMRUN', ['0F 01 D8'], 'vmrun', { gates: SVM_HOST, traits: SVM_INSN }),
  op('VMSAVE', ['0F 01 DB'], 'vmsave', { gates: SVM_HOST, traits: SVM_INSN }),

  // TDX: the SEAM instructions.
  op('SEAMCALL', ['66 0F 01 CF'], 'seamcall_trivial_roundtrip', { gates: ['IA32_MTRRCAP.SEAMRR'], traits: VMX_INSN }),
  op('SEAMOPS', ['66 0F 01 CE'], null, { gates: ['IA32_MTRRCAP.SEAMRR'], traits: VMX_INSN }),
  op('SEAMRET', ['66 0F 01 CD'], null, { gates: ['IA32_MTRRCAP.SEAMRR'], traits: VMX_INSN }),
  op('TDCALL', ['66 0F 01 CC'], 'tdcall_to_module', { gates: ['IA32_MTRRCAP.SEAMRR'], traits: VMX_INSN }),
] as const satisfies readonly OpRow[];

export type OpName = (typeof OP_ROWS)[number]['name'];

/** The instruction's name in text, `rdmsr` of RDMSR_IMM and `mov` of MOV_TO_CR: what stands before the underscore. */
export type MnemonicOf<Name extends string> = Name extends `${infer Stem}_${string}`
  ? Lowercase<Stem>
  : Lowercase<Name>;
export type Mnemonic = MnemonicOf<OpName>;

export function mnemonicOf(name: OpName): Mnemonic {
  return name.split('_')[0]!.toLowerCase() as Mnemonic;
}

/** Bits that gates name although the feature table has no row for them: Linux and KVM give them no meaning yet. */
export const GATE_ONLY_CPUID_BITS = [
  { name: 'UINTR', function: 0x7, index: 0, register: 'edx', bit: 5 },
  { name: 'MSRLIST', function: 0x7, index: 1, register: 'eax', bit: 27 },
] as const;
