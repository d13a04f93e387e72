import type { Law } from '../law.js';
import { acceptWhatYouAdvertise } from './accept-what-you-advertise.js';
import { errnoOnly } from './errno-only.js';
import { findingsComplete } from './findings-complete.js';
import { hostState } from './host-state.js';
import { idempotence } from './idempotence.js';
import { live } from './live.js';
import { monotoneRefusal } from './monotone-refusal.js';
import { orderIndependence } from './order-independence.js';
import { overlayContainment } from './overlay-containment.js';
import { readbackAcceptance } from './readback-acceptance.js';
import { refusalChangesNothing } from './refusal-changes-nothing.js';
import { setAfterRun } from './set-after-run.js';
import { tdFeatures } from './td-features.js';
import { verdictKernels } from './verdict-kernels.js';
import { verdictNaive } from './verdict-naive.js';

/** The catalogue, in the order in which it is listed. To add a law, write its file and name it here. */
export const LAWS: readonly Law[] = [
  acceptWhatYouAdvertise,
  monotoneRefusal,
  refusalChangesNothing,
  orderIndependence,
  idempotence,
  readbackAcceptance,
  setAfterRun,
  verdictKernels,
  verdictNaive,
  findingsComplete,
  overlayContainment,
  tdFeatures,
  hostState,
  errnoOnly,
  live,
];

export const lawNamed = (name: string): Law | undefined => LAWS.find((law) => law.name === name);
