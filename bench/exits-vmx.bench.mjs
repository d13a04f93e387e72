// VM exits of VMX: see lib/exits.mjs.
import { measureExits } from './lib/exits.mjs';

await measureExits('vmx', 'exits-vmx');
