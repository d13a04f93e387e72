import { FRED_SOURCES, fredFutureModule } from './fred-future-module.js';
import { guestHalts } from './guests.js';
import { userExceptionProbe } from './probes.js';
import type { Scenario } from './scenario.js';

export const fredTaskSwitch: Scenario = {
  ...fredFutureModule,
  name: 'fred-task-switch',
  title: 'the same, but another task runs in between: the bug hides',
  story:
    'As fred-future-module, but before the VMM gets back to user mode the scheduler runs another task. Its kernel stack is ' +
    'another one, so Linux writes IA32_FRED_RSP0 for it, and again for the VMM afterwards: the damage is gone before ' +
    'anything has run into it. With fred-a and fred-b the host lives; whether it does depends on who was scheduled when. ' +
    'With fred-c the entry point is lost as well, and no task switch brings that back.',
  limits: 'As fred-future-module. A bug that comes and goes with the scheduler is a poor argument for a deny list.',
  sources: [...FRED_SOURCES, 'arch/x86/include/asm/fred.h: fred_update_rsp0()'],
  play(stage) {
    stage.probe(userExceptionProbe);
    stage.td(['FRED', 'LKGS'], guestHalts).run();
    const vmm = stage.cpu.current;
    const other = stage.machine.newTask('other');
    stage.host('another task runs, and returns to user mode', (cpu) => {
      cpu.switchTo(other);
      cpu.prepareUserMode();
    });
    stage.host('the VMM runs again', (cpu) => {
      cpu.switchTo(vmm);
      cpu.prepareUserMode();
    });
    stage.probe(userExceptionProbe);
  },
};
