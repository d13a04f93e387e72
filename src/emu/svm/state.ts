import { CR0_PE, EFER_SLOT } from '../control.js';
import { type Core, RAX, RSP } from '../core/core.js';
import { F, STATUS_FLAGS, setStatusFlags } from '../core/flags.js';
import { ACTIVITY } from '../core/status.js';
import type { MsrMoves } from '../msr-moves.js';
import { DEBUG_SWAP, SWITCHED_LISTS, SWITCHES, VMLOAD_LIST, vmsaWord } from './state-rows.js';
import {
  ATTRIB_CODE64,
  ATTRIB_DATA,
  ATTRIB_DPL_SHIFT,
  HOST_VMSA,
  INTERRUPT_SHADOW,
  LBR_VIRTUALIZATION,
  NP_ENABLE,
  SEV_DEBUG_SWAP,
  VINTR_MASKING,
  VINTR_TPR,
  wordOf,
} from './vmcb-rows.js';

const RIP = 16;
const VINTR = wordOf('VINTR');
const INTERRUPT_STATE = wordOf('INTERRUPT_STATE');
const NP_CONTROL = wordOf('NP_CONTROL');
const VIRT_EXT = wordOf('VIRT_EXT');
const ES = wordOf('ES_SELECTOR');
const CS = wordOf('CS_SELECTOR');
const SS = wordOf('SS_SELECTOR');
const DS = wordOf('DS_SELECTOR');
const FS = wordOf('FS_SELECTOR');
const GS = wordOf('GS_SELECTOR');
const TR = wordOf('TR_SELECTOR');
const LDTR = wordOf('LDTR_SELECTOR');
const GDTR = wordOf('GDTR_SELECTOR');
const IDTR = wordOf('IDTR_SELECTOR');
/** CPL is the upper byte of its word. */
const CPL = wordOf('CPL');
const EFER = wordOf('EFER');
const CR0 = wordOf('CR0');
const CR2 = wordOf('CR2');
const CR3 = wordOf('CR3');
const CR4 = wordOf('CR4');
const DR6 = wordOf('DR6');
const DR7 = wordOf('DR7');
const RFLAGS = wordOf('RFLAGS');
const RIP_FIELD = wordOf('RIP');
const RSP_FIELD = wordOf('RSP');
const RAX_FIELD = wordOf('RAX');
const SSP = wordOf('SSP');
const VMSA_DR0 = vmsaWord('DR0');
const SEV_FEATURES = vmsaWord('SEV_FEATURES');
/** DR7 after #VMEXIT: no breakpoint is on. */
const DR7_DISABLED = 0x400;
const SWITCH_NESTED = 1 << SWITCHES.indexOf('nested-paging');
const SWITCH_LBR = 1 << SWITCHES.indexOf('lbr');
const SWITCH_CET = 1 << SWITCHES.indexOf('cet');
const SWITCH_SPEC_CTRL = 1 << SWITCHES.indexOf('spec-ctrl');

/**
 * What world switches move between a core and memory: the host's state to the save area and back, the guest's from the VMCB
 * and back (APM volume 2, 15.5.1, 15.5.2, 15.6). Pages come as words.
 *
 * Host and guest repeat each other in part. In functions of its own, V8 would check what they touch once more: that took a
 * tenth of an exit.
 */
export class SvmState {
  private readonly core: Core;
  private readonly hasSpecCtrl: boolean;
  private readonly hasLbr: boolean;
  private readonly hasCet: boolean;
  private readonly hasDebugSwap: boolean;
  /** What the processor keeps of the host besides the save area. */
  private hostTpr = 0;
  private hostNmiBlocked = false;
  private debugSwap = false;
  /** MSRs that are switched for the guest that runs. */
  private switched: MsrMoves = SWITCHED_LISTS[0]!;
  /** Attributes and limits of FS, GS, LDTR, TR, and LDTR's base: nothing here uses them, VMSAVE gives them back. */
  private readonly hidden = new Int32Array(9);

  constructor(core: Core) {
    const { silicon } = core;
    this.core = core;
    this.hasLbr = silicon.has('LBRV');
    this.hasSpecCtrl = silicon.field(0x8000_000a, 0, 'edx', 20, 20) === 1;
    this.hasCet = silicon.has('SHSTK');
    this.hasDebugSwap = silicon.field(0x8000_001f, 0, 'eax', 14, 14) === 1;
  }

  /** VMLOAD from a page. */
  vmload(w: Int32Array): void {
    const { core, hidden } = this;
    const { segments, tss } = core;
    core.msrs.load(VMLOAD_LIST, w, w);
    segments.fs = w[FS]! & 0xffff;
    segments.gs = w[GS]! & 0xffff;
    segments.ldtr = w[LDTR]! & 0xffff;
    segments.tr = w[TR]! & 0xffff;
    tss.limit = w[TR + 1]!;
    tss.baseLo = w[TR + 2]!;
    tss.baseHi = w[TR + 3]!;
    hidden[0] = w[FS]!;
    hidden[1] = w[FS + 1]!;
    hidden[2] = w[GS]!;
    hidden[3] = w[GS + 1]!;
    hidden[4] = w[LDTR]!;
    hidden[5] = w[LDTR + 1]!;
    hidden[6] = w[LDTR + 2]!;
    hidden[7] = w[LDTR + 3]!;
    hidden[8] = w[TR]!;
  }

  /** VMSAVE to it. */
  vmsave(w: Int32Array): void {
    const { core, hidden } = this;
    const { segments, tss } = core;
    core.msrs.store(VMLOAD_LIST, w, w);
    w[FS] = (hidden[0]! & ~0xffff) | segments.fs;
    w[FS + 1] = hidden[1]!;
    w[GS] = (hidden[2]! & ~0xffff) | segments.gs;
    w[GS + 1] = hidden[3]!;
    w[LDTR] = (hidden[4]! & ~0xffff) | segments.ldtr;
    w[LDTR + 1] = hidden[5]!;
    w[LDTR + 2] = hidden[6]!;
    w[LDTR + 3] = hidden[7]!;
    w[TR] = (hidden[8]! & ~0xffff) | segments.tr;
    w[TR + 1] = tss.limit;
    w[TR + 2] = tss.baseLo;
    w[TR + 3] = tss.baseHi;
  }

  /** To the save area. @param length bytes of VMRUN: the host goes on behind it */
  saveHost(w: Int32Array, length: number): void {
    const { core } = this;
    const { segments, gdtr, idtr, control, msrs } = core;
    w[ES] = segments.es;
    w[CS] = segments.cs;
    w[SS] = segments.ss;
    w[DS] = segments.ds;
    w[GDTR + 1] = gdtr.limit;
    w[GDTR + 2] = gdtr.baseLo;
    w[GDTR + 3] = gdtr.baseHi;
    w[IDTR + 1] = idtr.limit;
    w[IDTR + 2] = idtr.baseLo;
    w[IDTR + 3] = idtr.baseHi;
    w[EFER] = msrs.lo[EFER_SLOT]!;
    w[CR0] = control.lo[0]!;
    w[CR3] = control.lo[3]!;
    w[CR3 + 1] = control.hi[3]!;
    w[CR4] = control.lo[4]!;
    w[CR4 + 1] = control.hi[4]!;
    w[RFLAGS] = core.rflags;
    const rip = (core.lo[RIP]! + length) | 0;
    w[RIP_FIELD] = rip;
    w[RIP_FIELD + 1] = (core.hi[RIP]! + (rip >>> 0 < length ? 1 : 0)) | 0;
    w[RSP_FIELD] = core.lo[RSP]!;
    w[RSP_FIELD + 1] = core.hi[RSP]!;
    w[RAX_FIELD] = core.lo[RAX]!;
    w[RAX_FIELD + 1] = core.hi[RAX]!;
    this.hostTpr = control.lo[8]!;
    this.hostNmiBlocked = core.nmiBlocked;
  }

  /** Bits of {@link SWITCHES} that hold for a VMCB. */
  private switches(w: Int32Array): number {
    return (
      ((w[NP_CONTROL]! & NP_ENABLE) !== 0 ? SWITCH_NESTED : 0) |
      (this.hasLbr && (w[VIRT_EXT]! & LBR_VIRTUALIZATION) !== 0 ? SWITCH_LBR : 0) |
      (this.hasCet ? SWITCH_CET : 0) |
      (this.hasSpecCtrl ? SWITCH_SPEC_CTRL : 0)
    );
  }

  /** From a VMCB. @param host the host's save area; `vmsa`: the save area of an SEV-ES guest, else `null` */
  loadGuest(w: Int32Array, host: Int32Array, vmsa: Int32Array | null): void {
    const { core } = this;
    const { segments, gdtr, idtr, control } = core;
    this.switched = SWITCHED_LISTS[this.switches(w)]!;
    core.msrs.store(this.switched, host, host);
    core.msrs.load(this.switched, w, w);
    if (this.hasCet) {
      host[SSP] = core.ssp[0]!;
      host[SSP + 1] = core.ssp[1]!;
      core.ssp[0] = w[SSP]!;
      core.ssp[1] = w[SSP + 1]!;
    }
    this.debugSwap = this.hasDebugSwap && vmsa !== null && (vmsa[SEV_FEATURES]! & SEV_DEBUG_SWAP) !== 0;
    if (this.debugSwap) this.loadDebug(vmsa!, 0);

    segments.es = w[ES]! & 0xffff;
    segments.cs = w[CS]! & 0xffff;
    segments.ss = w[SS]! & 0xffff;
    segments.ds = w[DS]! & 0xffff;
    gdtr.limit = w[GDTR + 1]!;
    gdtr.baseLo = w[GDTR + 2]!;
    gdtr.baseHi = w[GDTR + 3]!;
    idtr.limit = w[IDTR + 1]!;
    idtr.baseLo = w[IDTR + 2]!;
    idtr.baseHi = w[IDTR + 3]!;
    control.switchTo(w[CR0]!, w[CR3]!, w[CR3 + 1]!, w[CR4]!, w[CR4 + 1]!, w[EFER]!);
    control.lo[2] = w[CR2]!;
    control.hi[2] = w[CR2 + 1]!;
    core.drLo[6] = w[DR6]!;
    core.drLo[7] = w[DR7]!;
    setRflags(core.f, w[RFLAGS]!);
    core.lo[RIP] = w[RIP_FIELD]!;
    core.hi[RIP] = w[RIP_FIELD + 1]!;
    core.lo[RSP] = w[RSP_FIELD]!;
    core.hi[RSP] = w[RSP_FIELD + 1]!;
    core.lo[RAX] = w[RAX_FIELD]!;
    core.hi[RAX] = w[RAX_FIELD + 1]!;
    core.cpl = w[CPL]! >>> 24;
    core.shadow = (w[INTERRUPT_STATE]! & INTERRUPT_SHADOW) !== 0;
    core.nmiBlocked = false;
    core.activity = ACTIVITY.ACTIVE;
  }

  /** To a VMCB. */
  saveGuest(w: Int32Array, vmsa: Int32Array | null): void {
    const { core } = this;
    const { segments, gdtr, idtr, control, msrs, cpl } = core;
    const dpl = cpl << ATTRIB_DPL_SHIFT;
    saveSegment(w, ES, segments.es, ATTRIB_DATA | dpl);
    saveSegment(w, CS, segments.cs, ATTRIB_CODE64 | dpl);
    saveSegment(w, SS, segments.ss, ATTRIB_DATA | dpl);
    saveSegment(w, DS, segments.ds, ATTRIB_DATA | dpl);
    w[GDTR + 1] = gdtr.limit;
    w[GDTR + 2] = gdtr.baseLo;
    w[GDTR + 3] = gdtr.baseHi;
    w[IDTR + 1] = idtr.limit;
    w[IDTR + 2] = idtr.baseLo;
    w[IDTR + 3] = idtr.baseHi;
    w[EFER] = msrs.lo[EFER_SLOT]!;
    w[CR0] = control.lo[0]!;
    w[CR2] = control.lo[2]!;
    w[CR2 + 1] = control.hi[2]!;
    w[CR3] = control.lo[3]!;
    w[CR3 + 1] = control.hi[3]!;
    w[CR4] = control.lo[4]!;
    w[CR4 + 1] = control.hi[4]!;
    w[DR6] = core.drLo[6]!;
    w[DR7] = core.drLo[7]!;
    w[RFLAGS] = core.rflags;
    w[RIP_FIELD] = core.lo[RIP]!;
    w[RIP_FIELD + 1] = core.hi[RIP]!;
    w[RSP_FIELD] = core.lo[RSP]!;
    w[RSP_FIELD + 1] = core.hi[RSP]!;
    w[RAX_FIELD] = core.lo[RAX]!;
    w[RAX_FIELD + 1] = core.hi[RAX]!;
    w[CPL] = (w[CPL]! & 0xff_ffff) | (cpl << 24);
    w[INTERRUPT_STATE] = core.shadow ? INTERRUPT_SHADOW : 0;
    if ((w[VINTR]! & VINTR_MASKING) !== 0) w[VINTR] = (w[VINTR]! & ~VINTR_TPR) | (control.lo[8]! & 0xf);
    core.msrs.store(this.switched, w, w);
    if (this.hasCet) {
      w[SSP] = core.ssp[0]!;
      w[SSP + 1] = core.ssp[1]!;
    }
    if (this.debugSwap) this.saveDebug(vmsa!);
  }

  /** From the save area that {@link saveHost} has filled. */
  loadHost(w: Int32Array): void {
    const { core } = this;
    const { segments, gdtr, idtr, control } = core;
    core.msrs.load(this.switched, w, w);
    if (this.hasCet) {
      core.ssp[0] = w[SSP]!;
      core.ssp[1] = w[SSP + 1]!;
    }
    // Swap type B: loaded from the host save area, although VMRUN did not save them there (B.3).
    if (this.debugSwap) this.loadDebug(w, HOST_VMSA >> 2);

    segments.es = w[ES]! & 0xffff;
    segments.cs = w[CS]! & 0xffff;
    segments.ss = w[SS]! & 0xffff;
    segments.ds = w[DS]! & 0xffff;
    gdtr.limit = w[GDTR + 1]!;
    gdtr.baseLo = w[GDTR + 2]!;
    gdtr.baseHi = w[GDTR + 3]!;
    idtr.limit = w[IDTR + 1]!;
    idtr.baseLo = w[IDTR + 2]!;
    idtr.baseHi = w[IDTR + 3]!;
    control.switchTo(w[CR0]! | CR0_PE, w[CR3]!, w[CR3 + 1]!, w[CR4]!, w[CR4 + 1]!, w[EFER]!);
    control.lo[8] = this.hostTpr;
    // CR2 and DR6 stay the guest's.
    core.drLo[7] = DR7_DISABLED;
    setRflags(core.f, w[RFLAGS]!);
    core.lo[RIP] = w[RIP_FIELD]!;
    core.hi[RIP] = w[RIP_FIELD + 1]!;
    core.lo[RSP] = w[RSP_FIELD]!;
    core.hi[RSP] = w[RSP_FIELD + 1]!;
    core.lo[RAX] = w[RAX_FIELD]!;
    core.hi[RAX] = w[RAX_FIELD + 1]!;
    core.cpl = 0;
    core.shadow = false;
    core.nmiBlocked = this.hostNmiBlocked;
    core.activity = ACTIVITY.ACTIVE;
  }

  // DebugSwap: DR0–DR3 and their address masks belong to the SEV-ES guest that asks for them.

  private loadDebug(w: Int32Array, from: number): void {
    const { core } = this;
    for (let n = 0; n < 4; n++) {
      core.drLo[n] = w[from + VMSA_DR0 + 2 * n]!;
      core.drHi[n] = w[from + VMSA_DR0 + 2 * n + 1]!;
    }
    core.msrs.load(DEBUG_SWAP, w, w, from);
  }

  private saveDebug(w: Int32Array): void {
    const { core } = this;
    for (let n = 0; n < 4; n++) {
      w[VMSA_DR0 + 2 * n] = core.drLo[n]!;
      w[VMSA_DR0 + 2 * n + 1] = core.drHi[n]!;
    }
    core.msrs.store(DEBUG_SWAP, w, w);
  }
}

/** RFLAGS; what depends on AC is worked out when CPL is set. */
function setRflags(f: Int32Array, value: number): void {
  setStatusFlags(f, value);
  f[F.REST] = (value & ~STATUS_FLAGS) | 2;
}

/** The selector; attributes only change with it. */
function saveSegment(w: Int32Array, at: number, selector: number, attributes: number): void {
  if ((w[at]! & 0xffff) !== selector) w[at] = selector | (attributes << 16);
}
