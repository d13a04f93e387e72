import type { CpuidRow } from '../cpuid/entry.js';
import { bitRows, fieldRow, registerRow } from './fields.js';
import type { HostModel } from './model.js';
import { userComponentMask } from './xsave.js';

/** Enclaves are at most 2 GiB in 32-bit mode and 64 PiB in 64-bit mode. */
const ENCLAVE_SIZE_LOG2 = { legacy: 31, long: 56 };
const EPC_SECTION = 1;
/** The section is encrypted but has no integrity protection, as everywhere where TME is the engine behind it. */
const CONFIDENTIAL_ONLY = 2;

const highHalf = (value: bigint) => Number(value >> 32n);
/** Bits 31:12, as the fields hold them. */
const lowPages = (value: bigint) => Number((value >> 12n) & 0xf_ffffn);

/**
 * Leaf 0x12: what enclaves can do, and the one section of memory for them. They may use every user component.
 * Intel SDM volume 2A, CPUID, "Input EAX = 12H".
 */
export function sgxRows(model: HostModel): readonly CpuidRow[] {
  const { sgx } = model;
  if (!sgx) return [];
  const { base, bytes } = sgx.epc;
  return [
    ...bitRows(sgx.bits),
    fieldRow(0x12, 0, { max_enclave_sz_not64: ENCLAVE_SIZE_LOG2.legacy, max_enclave_sz_64: ENCLAVE_SIZE_LOG2.long }),
    registerRow(0x12, 1, { ecx: userComponentMask(model) }),
    fieldRow(0x12, 2, {
      subleaf_type: EPC_SECTION,
      epc_sec_base_addr_0: lowPages(base),
      epc_sec_base_addr_1: highHalf(base),
      epc_sec_type: CONFIDENTIAL_ONLY,
      epc_sec_size_0: lowPages(bytes),
      epc_sec_size_1: highHalf(bytes),
    }),
  ];
}
