import type { CpuidRow } from '../cpuid/entry.js';
import { fieldRow, registerRow } from './fields.js';
import type { Component, HostModel } from './model.js';

/**
 * The XSAVE state components: leaf 0xD.
 * Intel SDM volume 1, chapter 13, "Managing State Using the XSAVE Feature Set", sections "Enumeration of CPU Support"
 * and "XSAVE Area"; AMD APM volume 3, appendix E, function 0000_000D.
 */

interface ComponentRow {
  readonly id: number;
  readonly size: number;
  /** Where the standard format has it; supervisor components exist in the compacted format only. */
  readonly offset?: { readonly intel: number; readonly amd: number };
  readonly aligned?: true;
  readonly xfd?: true;
}

/** AMD never had the MPX components, and its later ones follow without the gap that Intel keeps for them. */
// biome-ignore format: one row per component
const COMPONENTS: Readonly<Record<Component, ComponentRow>> = {
  YMM:        { id: 2,  size: 256,  offset: { intel: 0x240, amd: 0x240 } },
  BNDREGS:    { id: 3,  size: 64,   offset: { intel: 0x3c0, amd: 0x3c0 } },
  BNDCSR:     { id: 4,  size: 64,   offset: { intel: 0x400, amd: 0x400 } },
  OPMASK:     { id: 5,  size: 64,   offset: { intel: 0x440, amd: 0x340 } },
  ZMM_HI256:  { id: 6,  size: 512,  offset: { intel: 0x480, amd: 0x380 } },
  HI16_ZMM:   { id: 7,  size: 1024, offset: { intel: 0x680, amd: 0x580 } },
  PT:         { id: 8,  size: 128 },
  PKRU:       { id: 9,  size: 8,    offset: { intel: 0xa80, amd: 0x980 } },
  PASID:      { id: 10, size: 8 },
  CET_U:      { id: 11, size: 16 },
  CET_S:      { id: 12, size: 24 },
  UINTR:      { id: 14, size: 48 },
  LBR:        { id: 15, size: 808 },
  HWP:        { id: 16, size: 8 },
  XTILE_CFG:  { id: 17, size: 64,   offset: { intel: 0xac0, amd: 0xac0 }, aligned: true },
  XTILE_DATA: { id: 18, size: 8192, offset: { intel: 0xb00, amd: 0xb00 }, aligned: true, xfd: true },
};

/** The legacy region and the XSAVE header, in front of every component. */
const LEGACY_AND_HEADER = 576;
const X87_AND_SSE = 0b11;
const ALIGNMENT = 64;

/** A component of one host. */
interface PlacedComponent {
  readonly name: Component;
  readonly id: number;
  readonly size: number;
  /** `null`: a supervisor component. */
  readonly offset: number | null;
  readonly aligned: boolean;
  readonly xfd: boolean;
}

/** The components of a host in ascending order, where its vendor (or the host itself) puts them. */
function placedComponents({ vendor, xsave }: HostModel): readonly PlacedComponent[] {
  const layout = vendor === 'amd' ? 'amd' : 'intel';
  const place = (name: Component): PlacedComponent => {
    const { id, size, offset, aligned = false, xfd = false } = COMPONENTS[name];
    return { name, id, size, offset: offset?.[layout] ?? null, aligned, xfd, ...xsave.exceptions?.[name] };
  };
  return xsave.components.map(place).sort((a, b) => a.id - b.id);
}

const isUser = ({ offset }: PlacedComponent) => offset !== null;

function maskOf(components: readonly PlacedComponent[]): number {
  return components.reduce((bits, { id }) => bits | (1 << id), 0);
}

/** XCR0's low half with everything enabled. */
export function userComponentMask(model: HostModel): number {
  return X87_AND_SSE | maskOf(placedComponents(model).filter(isUser));
}

/** Size of an area in standard format that ends with the last of these components. */
function standardSize(components: readonly PlacedComponent[]): number {
  return Math.max(LEGACY_AND_HEADER, ...components.map(({ offset, size }) => (offset ?? 0) + size));
}

/** Size of an area in compacted format: one component behind the other, some of them aligned. */
function compactedSize(components: readonly PlacedComponent[]): number {
  const align = (end: number) => Math.ceil(end / ALIGNMENT) * ALIGNMENT;
  return components.reduce((end, { size, aligned }) => (aligned ? align(end) : end) + size, LEGACY_AND_HEADER);
}

/**
 * What a running Linux has enabled in XCR0 and IA32_XSS, which 0xD.0:EBX and 0xD.1:EBX show through: all user
 * components whose feature exists, and of the supervisor components PASID and user CET.
 */
function enabledByLinux(model: HostModel, component: PlacedComponent): boolean {
  if (component.name === 'PKRU') return model.features.includes('PKU');
  return isUser(component) || component.name === 'PASID' || component.name === 'CET_U';
}

/** The bits outside leaf 0xD that a running Linux has set by turning on CR4.OSXSAVE and CR4.PKE. */
export function linuxControlledBits({ features }: HostModel): readonly string[] {
  const bits = [
    ['XSAVE', 'OSXSAVE'],
    ['PKU', 'OSPKE'],
  ] as const;
  return bits.filter(([feature]) => features.includes(feature)).map(([, bit]) => bit);
}

function componentRow({ id, size, offset, aligned, xfd }: PlacedComponent): CpuidRow {
  return fieldRow(0xd, id, {
    xsave_sz: size,
    xsave_offset: offset ?? 0,
    is_xss_bit: offset === null ? 1 : 0,
    compacted_xsave_64byte_aligned: aligned ? 1 : 0,
    xfd_faulting: xfd ? 1 : 0,
  });
}

export function xsaveRows(model: HostModel): readonly CpuidRow[] {
  const components = placedComponents(model);
  const user = components.filter(isUser);
  const supervisor = components.filter((component) => !isUser(component));
  const enabled = components.filter((component) => enabledByLinux(model, component));
  return [
    registerRow(0xd, 0, {
      eax: userComponentMask(model),
      ebx: standardSize(enabled.filter(isUser)),
      ecx: standardSize(user),
    }),
    registerRow(0xd, 1, {
      ebx: model.features.includes('XSAVEC') ? compactedSize(enabled) : 0,
      ecx: maskOf(supervisor),
    }),
    ...components.map(componentRow),
  ];
}
