import { expect, test } from 'vitest';
import { formatEntry } from '../../src/cpuid/entry.js';
import { buildCaps } from '../../src/kvm/caps.js';
import { kvmScope } from '../../src/kvm/scope.js';
import { emulatedCpuid, supportedCpuid } from '../../src/kvm/supported.js';
import { kvmAmd } from '../../src/svm/svm.js';
import { kvmIntel } from '../../src/vmx/vmx.js';
import { bootCapture } from '../support/capture-host.js';
import { captureNames, loadCapture } from '../support/captures.js';

test.each(captureNames)('%s', (name) => {
  const capture = loadCapture(name);
  if (!capture.supported) return;
  const kernel = bootCapture(capture);
  const vendor = kvmAmd.matches(kernel) ? kvmAmd : kvmIntel;
  const caps = buildCaps(kvmScope(kernel), vendor, vendor.overlays[0]);
  const perm = Number.parseInt(capture.host.arch_prctl.XCOMP_GUEST_PERM, 16);
  expect(supportedCpuid(caps, vendor, kernel.machine.bootCpu, perm).map(formatEntry)).toEqual(capture.supported.entries);
  expect(emulatedCpuid(caps, false).map(formatEntry)).toEqual(capture.emulated.entries);
});
