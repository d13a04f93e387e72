import type { CpuidRow } from '../cpuid/entry.js';
import { fieldRow, registerRow } from './fields.js';
import type { HostModel } from './model.js';
import { logicalCpus } from './topology.js';

/**
 * Who the CPU is: leaves 0, 1.EAX, 1.EBX, the first leaf of each range, the brand string.
 * Intel SDM volume 2A, CPUID, "Input EAX = 01H" and "The Processor Brand String Method"; AMD APM volume 3, E.3 and E.4.
 */

const VENDOR_STRINGS = { intel: 'GenuineIntel', amd: 'AuthenticAMD', centaur: 'CentaurHauls' } as const;

const CLFLUSH_UNIT = 8;
const LINE_SIZE = 64;

/** Four characters as the u32 that they are in memory. */
function word(text: string, at: number): number {
  let value = 0;
  for (let i = 0; i < 4; i++) value |= (text.charCodeAt(at + i) || 0) << (8 * i);
  return value >>> 0;
}

/** The vendor string in the order that leaf 0 has it: EBX, EDX, ECX. */
function vendorRegisters(model: HostModel) {
  const text = VENDOR_STRINGS[model.vendor];
  return { ebx: word(text, 0), edx: word(text, 4), ecx: word(text, 8) };
}

/** 1.EAX: families from 0xF on count in the extended family; the extended model is part of every model number. */
export function signature(model: Pick<HostModel, 'family' | 'model' | 'stepping'>): number {
  const family = Math.min(model.family, 0xf);
  return fieldRow(1, 0, {
    stepping: model.stepping,
    base_model: model.model & 0xf,
    base_family_id: family,
    ext_model: model.model >>> 4,
    ext_family: model.family - family,
  }).eax;
}

/** 1.EBX[23:16]: AMD counts the CPUs of the package, the others the APIC IDs that it takes up. */
function logicalCount({ vendor, topology }: HostModel): number {
  return vendor === 'amd' ? logicalCpus(topology) : 1 << topology.packageBits;
}

function brandRows(brand: string): readonly CpuidRow[] {
  return [0, 1, 2].map((part) =>
    registerRow(0x8000_0002 + part, 0, {
      eax: word(brand, part * 16),
      ebx: word(brand, part * 16 + 4),
      ecx: word(brand, part * 16 + 8),
      edx: word(brand, part * 16 + 12),
    }),
  );
}

export function identityRows(model: HostModel): readonly CpuidRow[] {
  const { maxima, vendor } = model;
  const eax = signature(model);
  const rows = [
    registerRow(0, 0, { eax: maxima.basic, ...vendorRegisters(model) }),
    registerRow(1, 0, { eax }),
    fieldRow(1, 0, { clflush_size: LINE_SIZE / CLFLUSH_UNIT, n_logical_cpu: logicalCount(model) }),
    // AMD repeats vendor and signature in the extended range; the others leave them zero.
    registerRow(0x8000_0000, 0, { eax: maxima.extended, ...(vendor === 'amd' ? vendorRegisters(model) : {}) }),
    registerRow(0x8000_0001, 0, vendor === 'amd' ? { eax } : {}),
    ...brandRows(model.brand),
    fieldRow(0x8000_0008, 0, {
      phys_addr_bits: model.addressBits.physical,
      virt_addr_bits: model.addressBits.linear,
    }),
  ];
  if (maxima.centaur !== undefined) {
    rows.push(registerRow(0xc000_0000, 0, { eax: maxima.centaur }), registerRow(0xc000_0001, 0, { eax }));
  }
  return rows;
}
