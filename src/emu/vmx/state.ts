import { CR4_VMXE, EFER_LMA, EFER_LME, EFER_SLOT } from '../control.js';
import { type Core, RSP } from '../core/core.js';
import { SLOT } from '../core/registers.js';
import { ACTIVITY } from '../core/status.js';
import {
  ACTIVITY_HLT,
  BLOCKED_BY_MOV_SS,
  BLOCKED_BY_NMI,
  BLOCKED_BY_STI,
  ENTRY_CONTROL,
  EXIT_CONTROL,
} from './controls.js';
import { FIELD } from './field-rows.js';
import type { SwitchPlan } from './state-rows.js';
import type { Vmcs } from './vmcs.js';

/** What VM entries and exits move between the areas of a VMCS and the core. MSRs go by a plan (`state-rows.ts`). */

// Fields as constants of this module: V8 compiles them into its code.
const GUEST_CR0 = FIELD.GUEST_CR0;
const GUEST_CR3 = FIELD.GUEST_CR3;
const GUEST_CR4 = FIELD.GUEST_CR4;
const GUEST_EFER = FIELD.GUEST_EFER;
const GUEST_DR7 = FIELD.GUEST_DR7;
const GUEST_RSP = FIELD.GUEST_RSP;
const GUEST_RIP = FIELD.GUEST_RIP;
const GUEST_RFLAGS = FIELD.GUEST_RFLAGS;
const GUEST_SSP = FIELD.GUEST_SSP;
const ES_SELECTOR = FIELD.GUEST_ES_SELECTOR;
const CS_SELECTOR = FIELD.GUEST_CS_SELECTOR;
const SS_SELECTOR = FIELD.GUEST_SS_SELECTOR;
const DS_SELECTOR = FIELD.GUEST_DS_SELECTOR;
const FS_SELECTOR = FIELD.GUEST_FS_SELECTOR;
const GS_SELECTOR = FIELD.GUEST_GS_SELECTOR;
const LDTR_SELECTOR = FIELD.GUEST_LDTR_SELECTOR;
const TR_SELECTOR = FIELD.GUEST_TR_SELECTOR;
const CS_RIGHTS = FIELD.GUEST_CS_RIGHTS;
const SS_RIGHTS = FIELD.GUEST_SS_RIGHTS;
const TR_LIMIT = FIELD.GUEST_TR_LIMIT;
const TR_BASE = FIELD.GUEST_TR_BASE;
const GDTR_LIMIT = FIELD.GUEST_GDTR_LIMIT;
const GDTR_BASE = FIELD.GUEST_GDTR_BASE;
const IDTR_LIMIT = FIELD.GUEST_IDTR_LIMIT;
const IDTR_BASE = FIELD.GUEST_IDTR_BASE;
const INTERRUPTIBILITY = FIELD.GUEST_INTERRUPTIBILITY;
const GUEST_ACTIVITY = FIELD.GUEST_ACTIVITY;
const HOST_CR0 = FIELD.HOST_CR0;
const HOST_CR3 = FIELD.HOST_CR3;
const HOST_CR4 = FIELD.HOST_CR4;
const HOST_EFER = FIELD.HOST_EFER;
const HOST_ES = FIELD.HOST_ES_SELECTOR;
const HOST_CS = FIELD.HOST_CS_SELECTOR;
const HOST_SS = FIELD.HOST_SS_SELECTOR;
const HOST_DS = FIELD.HOST_DS_SELECTOR;
const HOST_FS = FIELD.HOST_FS_SELECTOR;
const HOST_GS = FIELD.HOST_GS_SELECTOR;
const HOST_TR = FIELD.HOST_TR_SELECTOR;
const HOST_TR_BASE = FIELD.HOST_TR_BASE;
const HOST_GDTR_BASE = FIELD.HOST_GDTR_BASE;
const HOST_IDTR_BASE = FIELD.HOST_IDTR_BASE;
const HOST_RSP = FIELD.HOST_RSP;
const HOST_RIP = FIELD.HOST_RIP;
const HOST_SSP = FIELD.HOST_SSP;
const EXIT_CONTROLS = FIELD.EXIT_CONTROLS;
const ENTRY_CONTROLS = FIELD.ENTRY_CONTROLS;
const RIP = SLOT.RIP;

/** Access rights: DPL in bits 6:5. */
const DPL_SHIFT = 5;
const DPL = 3 << DPL_SHIFT;

const DR7_AFTER_EXIT = 0x400;
const HOST_TABLE_LIMIT = 0xffff;
const HOST_TSS_LIMIT = 0x67;

/** The guest's state into the core: 28.3.2. */
export function loadGuest(core: Core, { lo, hi }: Vmcs, plan: SwitchPlan): void {
  const { segments, gdtr, idtr, tss, control, msrs } = core;
  const entry = lo[ENTRY_CONTROLS]!;
  msrs.load(plan.load, lo, hi);
  let efer = (msrs.lo[EFER_SLOT]! & ~(EFER_LMA | EFER_LME)) | EFER_LMA | EFER_LME;
  if ((entry & ENTRY_CONTROL.LOAD_EFER) !== 0) efer = lo[GUEST_EFER]!;
  if ((entry & ENTRY_CONTROL.LOAD_CET) !== 0) {
    core.ssp[0] = lo[GUEST_SSP]!;
    core.ssp[1] = hi[GUEST_SSP]!;
  }
  control.switchTo(lo[GUEST_CR0]!, lo[GUEST_CR3]!, hi[GUEST_CR3]!, lo[GUEST_CR4]!, hi[GUEST_CR4]!, efer);
  if ((entry & ENTRY_CONTROL.LOAD_DEBUG) !== 0) core.drLo[7] = lo[GUEST_DR7]!;
  segments.es = lo[ES_SELECTOR]!;
  segments.cs = lo[CS_SELECTOR]!;
  segments.ss = lo[SS_SELECTOR]!;
  segments.ds = lo[DS_SELECTOR]!;
  segments.fs = lo[FS_SELECTOR]!;
  segments.gs = lo[GS_SELECTOR]!;
  segments.ldtr = lo[LDTR_SELECTOR]!;
  segments.tr = lo[TR_SELECTOR]!;
  tss.limit = lo[TR_LIMIT]!;
  tss.baseLo = lo[TR_BASE]!;
  tss.baseHi = hi[TR_BASE]!;
  gdtr.limit = lo[GDTR_LIMIT]!;
  gdtr.baseLo = lo[GDTR_BASE]!;
  gdtr.baseHi = hi[GDTR_BASE]!;
  idtr.limit = lo[IDTR_LIMIT]!;
  idtr.baseLo = lo[IDTR_BASE]!;
  idtr.baseHi = hi[IDTR_BASE]!;
  core.lo[RSP] = lo[GUEST_RSP]!;
  core.hi[RSP] = hi[GUEST_RSP]!;
  core.lo[RIP] = lo[GUEST_RIP]!;
  core.hi[RIP] = hi[GUEST_RIP]!;
  core.rflags = lo[GUEST_RFLAGS]!;
  core.cpl = (lo[SS_RIGHTS]! & DPL) >> DPL_SHIFT;
  const blocked = lo[INTERRUPTIBILITY]!;
  core.shadow = (blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)) !== 0;
  core.nmiBlocked = (blocked & BLOCKED_BY_NMI) !== 0;
  core.activity = lo[GUEST_ACTIVITY] === ACTIVITY_HLT ? ACTIVITY.HALTED : ACTIVITY.ACTIVE;
}

/** The core's state into the guest's area: 29.3. */
export function saveGuest(core: Core, { lo, hi }: Vmcs, plan: SwitchPlan): void {
  const { segments, gdtr, idtr, tss, control, msrs } = core;
  msrs.store(plan.save, lo, hi);
  const exit = lo[EXIT_CONTROLS]!;
  if ((exit & EXIT_CONTROL.SAVE_EFER) !== 0) lo[GUEST_EFER] = msrs.lo[EFER_SLOT]!;
  if ((exit & EXIT_CONTROL.SAVE_DEBUG) !== 0) lo[GUEST_DR7] = core.drLo[7]!;
  if ((lo[ENTRY_CONTROLS]! & ENTRY_CONTROL.LOAD_CET) !== 0) {
    lo[GUEST_SSP] = core.ssp[0]!;
    hi[GUEST_SSP] = core.ssp[1]!;
  }
  lo[GUEST_CR0] = control.lo[0]!;
  lo[GUEST_CR3] = control.lo[3]!;
  hi[GUEST_CR3] = control.hi[3]!;
  lo[GUEST_CR4] = control.lo[4]!;
  hi[GUEST_CR4] = control.hi[4]!;
  lo[ES_SELECTOR] = segments.es;
  lo[CS_SELECTOR] = segments.cs;
  lo[SS_SELECTOR] = segments.ss;
  lo[DS_SELECTOR] = segments.ds;
  lo[FS_SELECTOR] = segments.fs;
  lo[GS_SELECTOR] = segments.gs;
  lo[TR_SELECTOR] = segments.tr;
  lo[TR_LIMIT] = tss.limit;
  lo[TR_BASE] = tss.baseLo;
  hi[TR_BASE] = tss.baseHi;
  lo[GDTR_LIMIT] = gdtr.limit;
  lo[GDTR_BASE] = gdtr.baseLo;
  hi[GDTR_BASE] = gdtr.baseHi;
  lo[IDTR_LIMIT] = idtr.limit;
  lo[IDTR_BASE] = idtr.baseLo;
  hi[IDTR_BASE] = idtr.baseHi;
  const dpl = core.cpl << DPL_SHIFT;
  lo[CS_RIGHTS] = (lo[CS_RIGHTS]! & ~DPL) | dpl;
  lo[SS_RIGHTS] = (lo[SS_RIGHTS]! & ~DPL) | dpl;
  lo[GUEST_RSP] = core.lo[RSP]!;
  hi[GUEST_RSP] = core.hi[RSP]!;
  lo[GUEST_RIP] = core.lo[RIP]!;
  hi[GUEST_RIP] = core.hi[RIP]!;
  lo[GUEST_RFLAGS] = core.rflags;
  lo[INTERRUPTIBILITY] = (core.shadow ? BLOCKED_BY_STI : 0) | (core.nmiBlocked ? BLOCKED_BY_NMI : 0);
  lo[GUEST_ACTIVITY] = core.activity === ACTIVITY.HALTED ? ACTIVITY_HLT : 0;
}

/** The host's area into the core: 29.5. */
export function loadHost(core: Core, { lo, hi }: Vmcs, plan: SwitchPlan): void {
  const { segments, gdtr, idtr, tss, control, msrs } = core;
  const { back, clear } = plan;
  msrs.load(back, lo, hi);
  for (let n = 0; n < clear.length; n++) msrs.put(clear[n]!, 0, 0);
  const exit = lo[EXIT_CONTROLS]!;
  let efer = msrs.lo[EFER_SLOT]! | EFER_LMA | EFER_LME;
  if ((exit & EXIT_CONTROL.LOAD_EFER) !== 0) efer = lo[HOST_EFER]!;
  if ((exit & EXIT_CONTROL.LOAD_CET) !== 0) {
    core.ssp[0] = lo[HOST_SSP]!;
    core.ssp[1] = hi[HOST_SSP]!;
  }
  control.switchTo(lo[HOST_CR0]!, lo[HOST_CR3]!, hi[HOST_CR3]!, lo[HOST_CR4]! | CR4_VMXE, hi[HOST_CR4]!, efer);
  core.drLo[7] = DR7_AFTER_EXIT;
  segments.es = lo[HOST_ES]!;
  segments.cs = lo[HOST_CS]!;
  segments.ss = lo[HOST_SS]!;
  segments.ds = lo[HOST_DS]!;
  segments.fs = lo[HOST_FS]!;
  segments.gs = lo[HOST_GS]!;
  segments.tr = lo[HOST_TR]!;
  segments.ldtr = 0;
  tss.limit = HOST_TSS_LIMIT;
  tss.baseLo = lo[HOST_TR_BASE]!;
  tss.baseHi = hi[HOST_TR_BASE]!;
  gdtr.limit = HOST_TABLE_LIMIT;
  gdtr.baseLo = lo[HOST_GDTR_BASE]!;
  gdtr.baseHi = hi[HOST_GDTR_BASE]!;
  idtr.limit = HOST_TABLE_LIMIT;
  idtr.baseLo = lo[HOST_IDTR_BASE]!;
  idtr.baseHi = hi[HOST_IDTR_BASE]!;
  core.lo[RSP] = lo[HOST_RSP]!;
  core.hi[RSP] = hi[HOST_RSP]!;
  core.lo[RIP] = lo[HOST_RIP]!;
  core.hi[RIP] = hi[HOST_RIP]!;
  core.rflags = 2;
  core.cpl = 0;
  core.shadow = false;
  core.activity = ACTIVITY.ACTIVE;
}
