// VM exits of SVM: see lib/exits.mjs.
import { measureExits } from './lib/exits.mjs';

await measureExits('svm', 'exits-svm');
