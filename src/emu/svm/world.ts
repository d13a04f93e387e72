import type { Core } from '../core/core.js';
import { EXIT, type Exit, type GuestWorld, INTERCEPT } from '../core/guest-world.js';
import { EVENT_TYPE, VECTOR } from '../core/status.js';
import { OP_NAMES } from '../isa/forms.js';
import { MEMORY_OK } from '../memory.js';
import type { NestedPaging } from '../paging-nested.js';
import { CODE_OF_INTERCEPT, EXIT_ROWS, exitCode } from './exit-rows.js';
import { permissionBit } from './permission-map.js';
import type { Svm } from './svm.js';
import { EVENT_HAS_ERROR, EVENT_TYPE_SHIFT, EVENT_VALID, SVM_EVENT, wordOf } from './vmcb-rows.js';

const WORD = 0x1_0000_0000;

const EXCEPTION = exitCode('EXCP0');
const CR_READ = exitCode('CR0_READ');
const CR_WRITE = exitCode('CR0_WRITE');
const CR0_SEL_WRITE = exitCode('CR0_SEL_WRITE');
const MSR = exitCode('MSR');
const NPF = exitCode('NPF');

/** What an operation leaves the guest with, when the core calls it VIRTUALIZATION; 0 for all others. */
const CODE_OF_OP = Int32Array.from(OP_NAMES, (name) => EXIT_ROWS.find(({ op }) => op === name)?.code ?? 0);

/** Intercepts that are one bit of words 3 to 5, by code. */
const PLACES = EXIT_ROWS.filter(({ intercept, op }) => intercept !== null && op === null);
/** VMRUN, VMLOAD, VMSAVE, STGI, CLGI: one place for all. */
const VIRTUALIZATION = EXIT_ROWS.filter(({ op }) => op !== null).map(({ code }) => code);

/** EXITINFO1[63] of MOV to and from CR: the general register is known (decode assist). */
const MOV_CR = 1 << 31;
/** MOV to CR0 that changes no other bits does not make CR0_SEL_WRITE: TS and MP. */
const CR0_UNSELECTIVE = (1 << 3) | (1 << 1);
const CR0_SEL_BIT = 1 << (CR0_SEL_WRITE & 31);
const MSR_BIT = 1 << (MSR & 31);

const INTERCEPT_CR = wordOf('INTERCEPT_CR');
const INTERCEPT_EXCEPTION = wordOf('INTERCEPT_EXCEPTION');
const INTERCEPT_3 = wordOf('INTERCEPT_3');
const INTERCEPT_4 = wordOf('INTERCEPT_4');
const INTERCEPT_5 = wordOf('INTERCEPT_5');
const MSRPM = wordOf('MSRPM_BASE_PA');

/** What leaves an SVM guest, as its VMCB says; VMRUN takes it over from there. */
export class SvmWorld implements GuestWorld {
  readonly name = 'svm';
  readonly intercepts = new Uint8Array(INTERCEPT.COUNT);
  exceptionBitmap = 0;
  offsetsTsc = false;
  nested: NestedPaging | null = null;
  masksInterruptsByHost = false;

  private readonly svm: Svm;
  private controlRegisters = 0;
  private word3 = 0;
  private word4 = 0;
  private word5 = 0;
  private permissionMap = 0;

  constructor(svm: Svm) {
    this.svm = svm;
  }

  /** Takes over the intercepts of a VMCB, its page as words. */
  load(w: Int32Array): void {
    this.exceptionBitmap = w[INTERCEPT_EXCEPTION]!;
    this.controlRegisters = w[INTERCEPT_CR]!;
    this.permissionMap = (w[MSRPM + 1]! & 0xf_ffff) * WORD + ((w[MSRPM]! & ~0xfff) >>> 0);
    const word3 = w[INTERCEPT_3]!;
    const word4 = w[INTERCEPT_4]!;
    const word5 = w[INTERCEPT_5]!;
    if (word3 === this.word3 && word4 === this.word4 && word5 === this.word5) return;
    this.word3 = word3;
    this.word4 = word4;
    this.word5 = word5;
    for (const { code, intercept } of PLACES) this.intercepts[INTERCEPT[intercept!]] = this.isSet(code) ? 1 : 0;
    // Where not all five are intercepted, the instruction itself asks.
    this.intercepts[INTERCEPT.VIRTUALIZATION] = VIRTUALIZATION.every((code) => this.isSet(code)) ? 1 : 0;
    // SVM cannot intercept it but for SEV-ES guests, who have no other way out.
    this.intercepts[INTERCEPT.VMGEXIT] = this.svm.isSevEs ? 1 : 0;
  }

  /** Whether the intercept with that exit code is set, of words 3 to 5. */
  isSet(code: number): boolean {
    const word = code < 0x80 ? this.word3 : code < 0xa0 ? this.word4 : this.word5;
    return code < 0xc0 && ((word >>> (code & 31)) & 1) === 1;
  }

  interceptsPageFault(): boolean {
    return ((this.exceptionBitmap >>> VECTOR.PF) & 1) === 1;
  }

  /** By the permission map, if MSRs are intercepted at all. Bits beyond memory read as ones. */
  interceptsMsr(index: number, write: boolean): boolean {
    if ((this.word3 & MSR_BIT) === 0) return false;
    const bit = permissionBit(index);
    if (bit < 0) return true;
    const { memory } = this.svm.core;
    if (memory.read(this.permissionMap + (bit >>> 3), 1) !== MEMORY_OK) return true;
    return ((memory.value[0]! >>> ((bit & 7) + (write ? 1 : 0))) & 1) === 1;
  }

  interceptsCrRead(number: number): boolean {
    return ((this.controlRegisters >>> number) & 1) === 1;
  }

  interceptsCrWrite(number: number, lo: number): boolean {
    if (((this.controlRegisters >>> (16 + number)) & 1) === 1) return true;
    return number === 0 && (this.word3 & CR0_SEL_BIT) !== 0 && this.changesCr0(lo);
  }

  private changesCr0(lo: number): boolean {
    return ((this.svm.core.control.lo[0]! ^ lo) & ~CR0_UNSELECTIVE) !== 0;
  }

  /** There are no read shadows. */
  readCr(number: number, out: Int32Array): void {
    const { control } = this.svm.core;
    out[0] = control.lo[number]!;
    out[1] = control.hi[number]!;
  }

  writtenCr(_number: number, lo: number, hi: number, out: Int32Array): void {
    out[0] = lo;
    out[1] = hi;
  }

  /** No control of SVM takes an instruction away. */
  gate(): boolean {
    return true;
  }

  takeVirtual(): number {
    return this.svm.virtualInterrupt();
  }

  exit(core: Core, exit: Exit): void {
    const { svm } = this;
    svm.recordDelivery(exit.deliveringVector < 0 ? 0 : eventOf(exit), exit.deliveringErrorCode);
    switch (exit.kind) {
      case EXIT.EXCEPTION:
        this.exception(exit);
        break;
      case EXIT.CR_READ:
        svm.leave(CR_READ + exit.number, exit.register, MOV_CR, 0, 0, exit.length);
        break;
      case EXIT.CR_WRITE:
        this.crWrite(exit);
        break;
      case EXIT.MSR_READ:
        svm.leave(MSR, 0, 0, 0, 0, exit.length);
        break;
      case EXIT.MSR_WRITE:
        svm.leave(MSR, 1, 0, 0, 0, exit.length);
        break;
      case EXIT.NESTED_FAULT: {
        const { address, infoLo, infoHi } = core.mmu.nested!.fault;
        svm.fetchBytes();
        svm.leave(NPF, infoLo, infoHi, address | 0, Math.floor(address / WORD) | 0, 0);
        break;
      }
      case INTERCEPT.SOFTWARE_INTERRUPT:
        svm.leave(CODE_OF_INTERCEPT[exit.kind]!, exit.number, 0, 0, 0, exit.length);
        break;
      case INTERCEPT.VIRTUALIZATION:
        svm.leave(CODE_OF_OP[exit.op]!, 0, 0, 0, 0, exit.length);
        break;
      case INTERCEPT.NMI:
        svm.leave(CODE_OF_INTERCEPT[exit.kind]!, 0, 0, 0, 0, 0);
        // It was not taken: the host finds it once GIF is set.
        core.interrupts.postNmi();
        break;
      default:
        svm.leave(this.codeOf(exit.kind), 0, 0, 0, 0, exit.length);
    }
  }

  private codeOf(kind: number): number {
    const code = CODE_OF_INTERCEPT[kind];
    if (code === undefined || code === 0) throw new Error(`exit ${kind} is none of SVM's`);
    return code;
  }

  private crWrite(exit: Exit): void {
    const whole = ((this.controlRegisters >>> (16 + exit.number)) & 1) === 1;
    this.svm.leave(whole ? CR_WRITE + exit.number : CR0_SEL_WRITE, exit.register, MOV_CR, 0, 0, exit.length);
  }

  private exception(exit: Exit): void {
    const { svm } = this;
    const isPageFault = exit.number === VECTOR.PF;
    if (isPageFault) svm.fetchBytes();
    // INT3 alone is an instruction of which the next one is known.
    svm.leave(
      EXCEPTION + exit.number,
      exit.hasErrorCode ? exit.errorCode : 0,
      0,
      isPageFault ? exit.dataLo : 0,
      isPageFault ? exit.dataHi : 0,
      exit.length,
    );
  }
}

/** EXITINTINFO of the event that was being delivered. */
function eventOf(exit: Exit): number {
  const type =
    exit.deliveringType === EVENT_TYPE.SOFTWARE_EXCEPTION ||
    exit.deliveringType === EVENT_TYPE.PRIVILEGED_SOFTWARE_EXCEPTION
      ? SVM_EVENT.EXCEPTION
      : exit.deliveringType;
  return (
    EVENT_VALID |
    (exit.deliveringHasErrorCode ? EVENT_HAS_ERROR : 0) |
    (type << EVENT_TYPE_SHIFT) |
    exit.deliveringVector
  );
}
