import type { FlagName, TdFlags } from './module-flags.js';
import { ACCESS_ROWS, type AccessRow, type AccessText } from './rows/msr-rows.js';

/**
 * What happens when the guest touches an MSR: it reaches the MSR (which then does what silicon does), it gets an
 * exception, or the module plays the MSR.
 */
export type MsrAccess = 'native' | '#GP' | '#VE' | 'module';

const EXCEPTIONS: Readonly<Record<string, MsrAccess>> = { gp: '#GP', ve: '#VE', native: 'native', module: 'module' };

/** RDMSR or WRMSR in a TD with these flags, by the module's MSR table. */
export function msrAccess(index: number, write: boolean, flags: TdFlags): MsrAccess {
  const row = rowOf(index);
  return row === undefined ? '#VE' : accessOf(row[write ? 3 : 2], flags);
}

/** Whether the module's MSR table has the MSR. */
export function isTabled(index: number): boolean {
  return rowOf(index) !== undefined;
}

function rowOf(index: number): AccessRow | undefined {
  return ACCESS_ROWS.find(([first, last]) => first <= index && index <= last);
}

function accessOf(text: AccessText, flags: TdFlags): MsrAccess {
  const known = EXCEPTIONS[text];
  if (known) return known;
  if (text.startsWith('ve-')) return flags[text.slice(3) as FlagName] ? '#VE' : '#GP';
  const [needed = '', otherwise = 'gp'] = text.split('/');
  const isOpen = needed.split('+').every((flag) => flags[flag as FlagName]);
  return isOpen ? 'native' : EXCEPTIONS[otherwise]!;
}
