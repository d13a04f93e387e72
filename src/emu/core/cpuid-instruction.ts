import { featureNamed } from '../../cpuid/features.js';
import { CR4_OSXSAVE, CR4_PKE, XSS_SLOT } from '../control.js';
import { slotNamed } from '../msrs.js';
import type { RawCpuid } from '../raw-cpuid.js';
import type { Core } from './core.js';

/** The CPUID instruction of a core: the silicon's table, and what follows control registers and MSRs. */

const TSX_CTRL = slotNamed('IA32_TSX_CTRL');
const CPUID_CLEAR = 2;

const OSXSAVE = featureNamed('OSXSAVE');
const OSPKE = featureNamed('OSPKE');
const HLE_RTM = featureNamed('HLE').mask | featureNamed('RTM').mask;
const XSAVES = featureNamed('XSAVES').mask;
const XSAVEC = featureNamed('XSAVEC').mask;

/** XSAVE area: legacy region and header. */
const XSAVE_BASE = 576;
/** CPUID.(EAX=0DH,ECX=n):ECX[1]: the component begins at a multiple of 64 in the compacted format. */
const ALIGNED = 2;

const EAX = 0;
const EBX = 1;
const ECX = 2;
const EDX = 3;

/** Executes CPUID with EAX = `fn`, ECX = `index`; EAX to EDX go to `out[0…3]`. */
export function executeCpuid(core: Core, fn: number, index: number, out: Uint32Array): void {
  const { cpuid, control, msrs } = core;
  cpuid.execute(fn, index, out);
  switch (fn) {
    case 1:
      setBit(out, ECX, OSXSAVE.mask, (control.lo[4]! & CR4_OSXSAVE) !== 0);
      if (core.apicId >= 0) out[EBX] = ((out[EBX]! & 0xff_ffff) | ((core.apicId & 0xff) << 24)) >>> 0;
      break;
    case 7:
      if (index !== 0) break;
      setBit(out, ECX, OSPKE.mask, (control.lo[4]! & CR4_PKE) !== 0);
      if (msrs.exists[TSX_CTRL] === 1 && (msrs.lo[TSX_CTRL]! & CPUID_CLEAR) !== 0) out[EBX] = out[EBX]! & ~HLE_RTM;
      break;
    case 0xb:
    case 0x1f:
      if (core.apicId >= 0 && out[EAX]! + out[EBX]! !== 0) out[EDX] = core.apicId;
      break;
    case 0xd:
      if (index === 0) out[EBX] = standardSize(cpuid, control.xcr0[0]!, control.xcr0[1]!);
      else if (index === 1 && (out[EAX]! & (XSAVES | XSAVEC)) !== 0)
        out[EBX] = compactedSize(cpuid, control.xcr0[0]! | msrs.lo[XSS_SLOT]!, control.xcr0[1]! | msrs.hi[XSS_SLOT]!);
      break;
  }
}

function setBit(out: Uint32Array, register: number, mask: number, on: boolean): void {
  out[register] = (on ? out[register]! | mask : out[register]! & ~mask) >>> 0;
}

const isEnabled = (component: number, lo: number, hi: number): boolean =>
  (((component < 32 ? lo : hi) >>> (component & 31)) & 1) === 1;

/** Bytes of the standard format for these components (SDM volume 1, 13.4.2). */
function standardSize(cpuid: RawCpuid, lo: number, hi: number): number {
  let size = XSAVE_BASE;
  for (let component = 2; component < 63; component++) {
    const row = isEnabled(component, lo, hi) ? cpuid.row(0xd, component) : undefined;
    if (row) size = Math.max(size, row.ebx + row.eax);
  }
  return size;
}

/** Bytes of the compacted format (13.4.3). */
function compactedSize(cpuid: RawCpuid, lo: number, hi: number): number {
  let size = XSAVE_BASE;
  for (let component = 2; component < 63; component++) {
    const row = isEnabled(component, lo, hi) ? cpuid.row(0xd, component) : undefined;
    if (!row) continue;
    if ((row.ecx & ALIGNED) !== 0) size = (size + 63) & ~63;
    size += row.eax;
  }
  return size;
}
