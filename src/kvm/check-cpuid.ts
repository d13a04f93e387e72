import { ERRNO } from '../linux/errno.js';
import { EAX } from './abi.js';
import { ANY_INDEX, type CpuidTable } from './cpuid-table.js';

const XTILE_DATA = 1 << 18;

/** Linear address widths that KVM's canonical checks can handle; 0 when the leaf does not say. */
export const LINEAR_ADDRESS_WIDTHS: readonly number[] = [0, 48, 57];

/**
 * The checks of `kvm_check_cpuid()` in mainline: nothing else of a table is ever refused.
 *
 * @returns 0; -EINVAL when the first entry 0x80000008 has another linear address width than 0, 48 or 57; -EPERM when
 *   CPUID.(EAX=0DH,ECX=0) offers XTILEDATA and the process may not give it to guests
 */
export function checkCpuid(table: CpuidTable, guestPermissions: number): number {
  const sizes = table.find(0x8000_0008, ANY_INDEX);
  if (sizes >= 0 && !LINEAR_ADDRESS_WIDTHS.includes((table.words[sizes + EAX]! >>> 8) & 0xff)) return -ERRNO.EINVAL;
  return (dynamicXfeatures(table) & ~guestPermissions) === 0 ? 0 : -ERRNO.EPERM;
}

/** The XSAVE components of a table that need a permission and a larger FPU buffer: XTILEDATA, if it is offered. */
export function dynamicXfeatures(table: CpuidTable): number {
  const at = table.find(0xd, 0);
  return at < 0 ? 0 : table.words[at + EAX]! & XTILE_DATA;
}
