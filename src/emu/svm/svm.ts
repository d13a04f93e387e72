import { GuestTsc, SVM_TSC_FRACTION } from '../clock.js';
import { CR4_LA57, EFER_LMA } from '../control.js';
import { type Core, RAX, type Virtualization } from '../core/core.js';
import { inject } from '../core/delivery.js';
import { F, IF } from '../core/flags.js';
import { closedSets } from '../core/gates.js';
import { generalProtection, undefinedOpcode } from '../core/linear.js';
import { EVENT_TYPE, JUMP, LEFT, NEXT } from '../core/status.js';
import { note, TRACE } from '../core/trace.js';
import { OP } from '../isa/forms.js';
import { EmulatorLimit, INSN } from '../isa/insn.js';
import { slotNamed } from '../msrs.js';
import { PAGING_OK } from '../paging.js';
import { NestedPaging } from '../paging-nested.js';
import { CHECKS, type Check, illegal, type Limits, limitsOf } from './checks.js';
import { exitCode } from './exit-rows.js';
import { SvmState } from './state.js';
import { PhysicalPage } from './vmcb.js';
import {
  ATTRIB_L,
  EVENT_HAS_ERROR,
  EVENT_TYPE_SHIFT,
  EVENT_VALID,
  EVENT_VECTOR,
  NP_ENABLE,
  SEV_ES_ENABLE,
  SVM_EVENT,
  TLB_FLUSH_ALL,
  TLB_FLUSH_ASID,
  TLB_FLUSH_ASID_LOCAL,
  VINTR_GIF,
  VINTR_GIF_ENABLE,
  VINTR_IGN_TPR,
  VINTR_IRQ,
  VINTR_MASKING,
  VINTR_PRIO_SHIFT,
  wordOf,
} from './vmcb-rows.js';
import { SvmWorld } from './world.js';

const RIP = 16;
const WORD = 0x1_0000_0000;
const HSAVE_SLOT = slotNamed('MSR_VM_HSAVE_PA');
const TSC_RATIO_SLOT = slotNamed('MSR_TSC_RATIO');

const VINTR_CODE = exitCode('VINTR');
const FIRST_OWN = exitCode('VMRUN');

const TSC_OFFSET = wordOf('TSC_OFFSET');
const ASID = wordOf('ASID');
const TLB_CONTROL = wordOf('TLB_CONTROL');
const VINTR = wordOf('VINTR');
const V_INTR_VECTOR = wordOf('V_INTR_VECTOR');
const EXITCODE = wordOf('EXITCODE');
const EXITINFO1 = wordOf('EXITINFO1');
const EXITINFO2 = wordOf('EXITINFO2');
const EXITINTINFO = wordOf('EXITINTINFO');
const NP_CONTROL = wordOf('NP_CONTROL');
const EVENTINJ = wordOf('EVENTINJ');
const N_CR3 = wordOf('N_CR3');
const NRIP = wordOf('NRIP');
const FETCHED = wordOf('FETCHED');
const VMSA_PTR = wordOf('VMSA_PTR');
const CS = wordOf('CS_SELECTOR');
const EFER = wordOf('EFER');
const CR2 = wordOf('CR2');
const CR4 = wordOf('CR4');
const RFLAGS = wordOf('RFLAGS');

/** Bytes of the instruction that a VMCB holds. */
const FETCH_LIMIT = 15;

/** DR7 after #VMEXIT: no breakpoint is on. */
const DR7_DISABLED = 0x400;

/** A power of two. */
const KNOWN_PAGES = 8;

const NOTHING_CLOSED = closedSets(() => true);

/** Who has translations in the TLB: spaces of `Tlb`. */
interface Spaces {
  space: number;
  globals: number;
}

/**
 * SVM of one CPU: VMRUN and #VMEXIT, VMLOAD, VMSAVE, STGI, CLGI (APM volume 2, chapter 15), as instructions and as methods
 * for a hypervisor that is no machine code. It keeps nothing of a VMCB beyond the run: clean bits are not needed, and
 * every VMRUN reads all of it. AVIC, SMM, SEV's encryption, and guests outside 64-bit mode are not modelled.
 */
export class Svm implements Virtualization {
  readonly core: Core;
  readonly world: SvmWorld;
  readonly guestTsc: GuestTsc;
  /** The global interrupt flag. */
  gif = true;
  /** Physical address of the VMCB of the guest that runs, or ran last. */
  vmcb = -1;
  /** Why the last VMRUN came to #VMEXIT(INVALID); `legal` when it did not. */
  refusal: Check = 'legal';
  /** The guest that runs is one of SEV-ES. */
  isSevEs = false;

  private readonly state: SvmState;
  private readonly limits: Limits;
  private readonly hasNrips: boolean;
  private readonly hasDecodeAssists: boolean;
  private readonly hasTscRatio: boolean;
  private readonly vmrunCycles: number;
  private readonly vmexitCycles: number;
  private readonly vmloadCycles: number;
  private readonly vmsaveCycles: number;
  private readonly stgiCycles: number;
  private readonly clgiCycles: number;

  private readonly nested: readonly [NestedPaging, NestedPaging];
  private readonly asids = new Map<number, Spaces>();
  private running: Spaces = { space: 0, globals: 0 };
  /** Whose spaces those are; -1: nobody's. */
  private lastAsid = -1;
  private hostSpace = 0;
  private hostGlobals = 0;
  /** The VMCB of the guest that runs, or ran last, the host's save area, and that of an SEV-ES guest. */
  private page: PhysicalPage | null = null;
  private hostPage: PhysicalPage | null = null;
  private vmsaPage: PhysicalPage | null = null;
  private eventLo = 0;
  private eventHi = 0;
  private readonly knownAddresses = new Float64Array(KNOWN_PAGES).fill(-1);
  private readonly knownPages: (PhysicalPage | null)[] = new Array(KNOWN_PAGES).fill(null);

  constructor(core: Core) {
    const { silicon, costs } = core;
    const has = (bit: number) => silicon.field(0x8000_000a, 0, 'edx', bit, bit) === 1;
    this.core = core;
    this.world = new SvmWorld(this);
    this.guestTsc = new GuestTsc(core.tsc, SVM_TSC_FRACTION);
    this.state = new SvmState(core);
    this.limits = limitsOf(silicon);
    this.hasNrips = silicon.has('NRIPS');
    this.hasTscRatio = silicon.has('TSCRATEMSR');
    this.hasDecodeAssists = has(7);
    const options = { format: 'npt', root: 0 } as const;
    this.nested = [
      new NestedPaging(core.memory, silicon, options),
      new NestedPaging(core.memory, silicon, { ...options, levels: 5 }),
    ];
    this.vmrunCycles = costs.of('vmrun');
    this.vmexitCycles = costs.of('vmexit');
    this.vmloadCycles = costs.of('vmload');
    this.vmsaveCycles = costs.of('vmsave');
    this.stgiCycles = costs.of('stgi');
    this.clgiCycles = costs.of('clgi');
    core.virtualization = this;
  }

  // Instructions. Privilege, gates and their own cost have been settled.

  execute(core: Core, op: number, insn: number): number {
    if (core.world !== null) return this.executeInGuest(op, core.blocks.insns[insn + INSN.LENGTH]!);
    switch (op) {
      case OP.STGI:
        this.setGif(true);
        return NEXT;
      case OP.CLGI:
        this.setGif(false);
        return NEXT;
      case OP.VMLOAD:
      case OP.VMSAVE:
      case OP.VMRUN:
        break;
      default:
        // VMX, and VMMCALL that nobody intercepts.
        return undefinedOpcode(core);
    }
    const address = this.operand();
    if (address < 0) return generalProtection(core);
    if (op === OP.VMLOAD) this.loadState(address);
    else if (op === OP.VMSAVE) this.saveState(address);
    else return this.enter(address, core.blocks.insns[insn + INSN.LENGTH]!);
    return NEXT;
  }

  get holdsEvents(): boolean {
    return !this.gif;
  }

  seam(core: Core): number {
    return undefinedOpcode(core);
  }

  /** In a guest, where not all five are intercepted. VMRUN always is. */
  private executeInGuest(op: number, length: number): number {
    const { core, world } = this;
    const code = codeOfOp(op);
    if (code === 0) return undefinedOpcode(core);
    if (world.isSet(code)) {
      note(core, TRACE.EXIT, code, 0);
      this.recordDelivery(0, 0);
      this.leave(code, 0, 0, 0, 0, length);
      return LEFT;
    }
    if (op === OP.STGI || op === OP.CLGI) {
      this.setGuestGif(op === OP.STGI);
      return NEXT;
    }
    throw core.unsupported('VMLOAD and VMSAVE of a guest');
  }

  /** The physical address in RAX; -1 when it is none of a page. */
  private operand(): number {
    const { core } = this;
    const lo = core.lo[RAX]!;
    const hi = core.hi[RAX]!;
    if ((lo & 0xfff) !== 0 || (hi & this.limits.addressHi) !== 0) return -1;
    return (hi >>> 0) * WORD + (lo >>> 0);
  }

  // For a hypervisor that is no machine code: as the instructions, with their costs.

  /**
   * VMRUN. The host's state is what the core has; where it goes on is not looked at.
   *
   * @returns JUMP: the guest's first instruction is next; LEFT: it was left already, see EXITCODE
   */
  vmrun(address: number): number {
    this.core.clock.advance(this.vmrunCycles);
    return this.enter(address, 0);
  }

  vmload(address: number): void {
    this.core.clock.advance(this.vmloadCycles);
    this.loadState(address);
  }

  vmsave(address: number): void {
    this.core.clock.advance(this.vmsaveCycles);
    this.saveState(address);
  }

  stgi(): void {
    this.core.clock.advance(this.stgiCycles);
    this.setGif(true);
  }

  clgi(): void {
    this.core.clock.advance(this.clgiCycles);
    this.setGif(false);
  }

  private setGif(gif: boolean): void {
    this.gif = gif;
    this.core.interrupts.attention = true;
  }

  /** Virtual GIF (15.33). Without it STGI and CLGI of a guest reach the physical flag. */
  private setGuestGif(gif: boolean): void {
    const w = this.page!.words;
    const vintr = w[VINTR]!;
    if ((vintr & VINTR_GIF_ENABLE) === 0) this.setGif(gif);
    else w[VINTR] = gif ? vintr | VINTR_GIF : vintr & ~VINTR_GIF;
  }

  /** A page, or `null` where there is no RAM. The pages of two or three addresses take turns: they are remembered. */
  private pageOf(address: number): PhysicalPage | null {
    const place = (address / 0x1000) & (KNOWN_PAGES - 1);
    if (this.knownAddresses[place] === address) return this.knownPages[place]!;
    const page = PhysicalPage.at(this.core.memory, address);
    if (page !== null) {
      this.knownAddresses[place] = address;
      this.knownPages[place] = page;
    }
    return page;
  }

  private loadState(address: number): void {
    this.state.vmload(this.pageOf(address)!.words);
  }

  private saveState(address: number): void {
    const page = this.pageOf(address)!;
    page.writes();
    this.state.vmsave(page.words);
  }

  // VMRUN: 15.5.1.

  /** @param length bytes of the instruction: the host goes on behind it */
  private enter(address: number, length: number): number {
    const { core, world } = this;
    const { control, msrs } = core;
    this.vmcb = address;
    const hsavePa = (msrs.hi[HSAVE_SLOT]! >>> 0) * WORD + (msrs.lo[HSAVE_SLOT]! >>> 0);
    const hostPage = this.pageOf(hsavePa);
    const page = this.pageOf(address);
    this.page = page;
    if (hostPage === null || page === null) throw core.unsupported('a VMCB or host save area outside RAM');
    this.hostPage = hostPage;
    this.vmsaPage = this.vmsaOf(page.words);
    const w = page.words;
    const host = hostPage.words;
    page.writes();
    hostPage.writes();
    this.eventLo = 0;
    this.eventHi = 0;

    const refusal = illegal(w, this.limits, control.lo[0]!);
    this.refusal = CHECKS[refusal]!;
    if (refusal !== 0) {
      this.invalid(w, length);
      return LEFT;
    }
    if ((w[EFER]! & EFER_LMA) === 0 || ((w[CS]! >>> 16) & ATTRIB_L) === 0)
      throw new EmulatorLimit([0x0f, 0x01, 0xd8], 'VMRUN of a guest outside 64-bit mode');

    const { tlb } = core.mmu;
    this.hostSpace = tlb.current;
    this.hostGlobals = tlb.globals;
    this.state.saveHost(host, length);
    this.state.loadGuest(w, host, this.vmsaPage === null ? null : this.vmsaPage.words);
    world.load(w);
    this.enterWorld(w, host);
    this.gif = true;
    note(core, TRACE.ENTRY, w[ASID]!, core.lo[RIP]!);
    return this.firstEvent(w);
  }

  /**
   * The save area of an SEV-ES guest; `null` for all others. It may come into being here, before anybody holds on to words.
   */
  private vmsaOf(w: Int32Array): PhysicalPage | null {
    this.isSevEs = (w[NP_CONTROL]! & SEV_ES_ENABLE) !== 0;
    if (!this.isSevEs) return null;
    const vmsa = this.pageOf((w[VMSA_PTR + 1]! & 0xf_ffff) * WORD + ((w[VMSA_PTR]! & ~0xfff) >>> 0));
    if (vmsa === null) throw this.core.unsupported('a VMSA outside RAM');
    return vmsa;
  }

  /** Paging, TSC, interrupts: what the guest's world is, beside its registers. */
  private enterWorld(w: Int32Array, host: Int32Array): void {
    const { core, world, guestTsc } = this;
    const { control, msrs, mmu } = core;
    // Nested tables have as many levels as the host's own.
    world.nested = (w[NP_CONTROL]! & NP_ENABLE) === 0 ? null : this.nested[(host[CR4]! & CR4_LA57) === 0 ? 0 : 1];
    if (world.nested !== null) world.nested.root = (w[N_CR3 + 1]! & 0xf_ffff) * WORD + ((w[N_CR3]! & ~0xfff) >>> 0);
    const spaces = this.spacesOf(w[ASID]!, w[TLB_CONTROL]! & 7);
    this.running = spaces;
    mmu.switchTo(world.nested, spaces.space, spaces.globals);

    guestTsc.offset[0] = w[TSC_OFFSET]!;
    guestTsc.offset[1] = w[TSC_OFFSET + 1]!;
    guestTsc.multiplier[0] = this.hasTscRatio ? msrs.lo[TSC_RATIO_SLOT]! : 0;
    guestTsc.multiplier[1] = this.hasTscRatio ? msrs.hi[TSC_RATIO_SLOT]! : 1;
    world.offsetsTsc =
      guestTsc.offset[0] !== 0 ||
      guestTsc.offset[1] !== 0 ||
      guestTsc.multiplier[0] !== 0 ||
      guestTsc.multiplier[1] !== 1;

    const masking = (w[VINTR]! & VINTR_MASKING) !== 0;
    world.masksInterruptsByHost = masking && (host[RFLAGS]! & IF) !== 0;
    if (masking) control.lo[8] = w[VINTR]! & 0xf;
    core.enterWorld(world, world.offsetsTsc ? guestTsc : null, NOTHING_CLOSED);
  }

  /** The TLB's spaces of an ASID, after TLB_CONTROL has been obeyed. */
  private spacesOf(asid: number, command: number): Spaces {
    const { tlb } = this.core.mmu;
    if (command === TLB_FLUSH_ALL) {
      this.asids.clear();
      this.hostSpace = tlb.fresh();
      this.hostGlobals = tlb.fresh();
    }
    if (asid === this.lastAsid && command === 0) return this.running;
    this.lastAsid = asid;
    let spaces = this.asids.get(asid);
    if (spaces === undefined) {
      spaces = { space: tlb.fresh(), globals: tlb.fresh() };
      this.asids.set(asid, spaces);
    } else if (command === TLB_FLUSH_ASID || command === TLB_FLUSH_ASID_LOCAL) {
      spaces.space = tlb.fresh();
      if (command === TLB_FLUSH_ASID) spaces.globals = tlb.fresh();
    }
    return spaces;
  }

  /** What comes before the first instruction: an injected event, or a virtual interrupt. */
  private firstEvent(w: Int32Array): number {
    const { core } = this;
    const event = w[EVENTINJ]!;
    if ((event & EVENT_VALID) !== 0) {
      const type = (event >> EVENT_TYPE_SHIFT) & 7;
      const vector = event & EVENT_VECTOR;
      const isBreakpoint = type === SVM_EVENT.EXCEPTION && (vector === 3 || vector === 4);
      // With nRIP saving, software events return to where nRIP points.
      const nrip = w[NRIP]!;
      const isSoft = (type === SVM_EVENT.SOFTWARE_INTERRUPT || isBreakpoint) && this.hasNrips && nrip !== 0;
      return inject(
        core,
        vector,
        isBreakpoint ? EVENT_TYPE.SOFTWARE_EXCEPTION : type,
        isSoft ? (nrip - core.lo[RIP]!) | 0 : 0,
        (event & EVENT_HAS_ERROR) !== 0,
        w[EVENTINJ + 1]!,
        w[CR2]!,
        w[CR2 + 1]!,
      );
    }
    return this.virtualInterrupt() === LEFT ? LEFT : JUMP;
  }

  /**
   * Takes a virtual interrupt (V_IRQ), or leaves because there is one, if the guest would take it now (15.21.1, 15.21.4).
   *
   * @returns JUMP or LEFT; NEXT when nothing happened
   */
  virtualInterrupt(): number {
    const { core, world } = this;
    const w = this.page!.words;
    const vintr = w[VINTR]!;
    if ((vintr & VINTR_IRQ) === 0 || core.shadow || (core.f[F.REST]! & IF) === 0) return NEXT;
    if ((vintr & VINTR_GIF_ENABLE) !== 0 && (vintr & VINTR_GIF) === 0) return NEXT;
    const priority = (vintr >> VINTR_PRIO_SHIFT) & 0xf;
    if ((vintr & VINTR_IGN_TPR) === 0 && priority <= (core.control.lo[8]! & 0xf)) return NEXT;
    if (world.isSet(VINTR_CODE)) {
      note(core, TRACE.EXIT, VINTR_CODE, 0);
      this.recordDelivery(0, 0);
      this.leave(VINTR_CODE, 0, 0, 0, 0, 0);
      return LEFT;
    }
    w[VINTR] = vintr & ~VINTR_IRQ;
    return inject(core, w[V_INTR_VECTOR]! & 0xff, EVENT_TYPE.INTERRUPT, 0, false, 0);
  }

  // #VMEXIT: 15.6, 15.7.

  /** The event during whose delivery the guest is being left, as EXITINTINFO has it; 0: none. */
  recordDelivery(lo: number, errorCode: number): void {
    this.eventLo = lo;
    this.eventHi = (lo & EVENT_HAS_ERROR) !== 0 ? errorCode : 0;
  }

  /** Decode assist: the bytes of the instruction at RIP, for faults on data (15.8.4). */
  fetchBytes(): void {
    const { core } = this;
    if (!this.hasDecodeAssists) return;
    const at = this.page!.offset + FETCHED * 4;
    const { fault } = core.mmu.nested ?? NO_NESTED;
    const { address, infoLo, infoHi } = fault;
    const status = core.mmu.translate(core.lo[RIP]!, core.hi[RIP]!, core.fetchAccess);
    const from = status === PAGING_OK ? core.mmu.offset : -1;
    const { bytes } = core.memory;
    const length = from < 0 ? 0 : Math.min(FETCH_LIMIT, 0x1000 - (from & 0xfff));
    bytes.fill(0, at, at + 1 + FETCH_LIMIT);
    bytes[at] = length;
    bytes.copyWithin(at + 1, from, from + length);
    fault.address = address;
    fault.infoLo = infoLo;
    fault.infoHi = infoHi;
  }

  /**
   * Leaves the guest with an exit code and what belongs to it. Also for whoever wants it to end where it is: as INTR.
   *
   * @param length bytes of the instruction that leaves, for nRIP; 0 when it is none
   */
  leave(code: number, info1Lo: number, info1Hi: number, info2Lo: number, info2Hi: number, length: number): void {
    const { core } = this;
    const page = this.page!;
    const w = page.words;
    page.writes();
    const { mmu } = core;
    this.running.space = mmu.tlb.current;
    this.running.globals = mmu.tlb.globals;
    this.state.saveGuest(w, this.vmsaPage === null ? null : this.vmsaPage.words);
    w[EXITCODE] = code;
    w[EXITCODE + 1] = code >> 31;
    w[EXITINFO1] = info1Lo;
    w[EXITINFO1 + 1] = info1Hi;
    w[EXITINFO2] = info2Lo;
    w[EXITINFO2 + 1] = info2Hi;
    w[EXITINTINFO] = this.eventLo;
    w[EXITINTINFO + 1] = this.eventHi;
    w[EVENTINJ] = 0;
    w[EVENTINJ + 1] = 0;
    if (this.hasNrips) {
      const next = (core.lo[RIP]! + length) | 0;
      w[NRIP] = length === 0 ? 0 : next;
      w[NRIP + 1] = length === 0 ? 0 : (core.hi[RIP]! + (next >>> 0 < length ? 1 : 0)) | 0;
    }
    this.state.loadHost(this.hostPage!.words);
    this.gif = false;
    mmu.switchTo(null, this.hostSpace, this.hostGlobals);
    core.leaveWorld();
    core.clock.advance(this.vmexitCycles);
  }

  /** #VMEXIT(INVALID): the guest never ran, and its state is not written. */
  private invalid(w: Int32Array, length: number): void {
    const { core } = this;
    w[EXITCODE] = -1;
    w[EXITCODE + 1] = -1;
    w[EXITINFO1] = 0;
    w[EXITINFO1 + 1] = 0;
    w[EXITINFO2] = 0;
    w[EXITINFO2 + 1] = 0;
    const rip = (core.lo[RIP]! + length) | 0;
    core.hi[RIP] = (core.hi[RIP]! + (rip >>> 0 < length ? 1 : 0)) | 0;
    core.lo[RIP] = rip;
    core.drLo[7] = DR7_DISABLED;
    this.gif = false;
    core.clock.advance(this.vmexitCycles);
  }
}

const NO_NESTED = { fault: { address: 0, infoLo: 0, infoHi: 0 } };

/** The exit code of VMRUN … CLGI, 0 for all others. */
function codeOfOp(op: number): number {
  switch (op) {
    case OP.VMRUN:
      return FIRST_OWN;
    case OP.VMLOAD:
      return FIRST_OWN + 2;
    case OP.VMSAVE:
      return FIRST_OWN + 3;
    case OP.STGI:
      return FIRST_OWN + 4;
    case OP.CLGI:
      return FIRST_OWN + 5;
    default:
      return 0;
  }
}
