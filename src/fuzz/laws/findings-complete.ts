import { REGISTERS } from '../../cpuid/entry.js';
import type { CpuidEntry2 } from '../../index.js';
import { CPUID2_HEADER_SIZE } from '../../kvm/abi.js';
import { Explainer, type Finding } from '../../kvm/paranoid/findings.js';
import type { TableLaw } from '../law.js';

const HEADER_WORDS = CPUID2_HEADER_SIZE / 4;

export const findingsComplete: TableLaw = {
  name: 'findings-complete',
  says: 'a refused table has findings, the first where verification stops; without their bits it is accepted',
  share: 1,
  judge(place) {
    const { verifier, rules, scratch } = place;
    const options = place.module.allowedOptions(place.overlay, place.process);
    const explainer = new Explainer(rules, options);
    return (at, count) => {
      const first = verifier.firstRefused(rules, (at + HEADER_WORDS) * 4, count);
      const entries = place.entries(at);
      const findings = explainer.findings(entries);
      if ((findings[0]?.entry ?? -1) !== first) return false;
      if (!findings.every(isDetailed)) return false;
      const nearest = explainer.nearest(entries);
      place.put(scratch, nearest);
      if (verifier.firstRefused(rules, (scratch + HEADER_WORDS) * 4, count) >= 0) return false;
      return changed(entries, nearest).every(([entry, register]) =>
        findings.some((finding) => finding.entry === entry && finding.register === register),
      );
    };
  },
};

/** Every offending bit is listed with a reason. */
const isDetailed = ({ offending, bits }: Finding): boolean =>
  offending !== 0 && bits.reduce((mask, { bit }) => mask | (1 << bit), 0) >>> 0 === offending;

const changed = (before: readonly CpuidEntry2[], after: readonly CpuidEntry2[]) =>
  before.flatMap((entry, at) =>
    REGISTERS.filter((register) => entry[register] !== after[at]![register]).map((register) => [at, register] as const),
  );
