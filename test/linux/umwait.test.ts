import { describe, expect, test } from 'vitest';
import { ERRNO } from '../../src/linux/errno.js';
import { executing } from '../support/executing.js';

function boot() {
  const machine = executing('sapphire-rapids', {}, { cpus: 2 });
  const values = () => machine.cpus.map(({ core }) => Number(core.msrs.get(0xe1)));
  return { machine, umwait: machine.umwait!, values };
}

describe('/sys/devices/system/cpu/umwait_control', () => {
  test('a new value reaches every CPU', () => {
    const { umwait, values } = boot();
    expect(values()).toEqual([100_000, 100_000]);
    expect([umwait.setMaxTime(200), umwait.setC02(false)]).toEqual([0, 0]);
    expect([umwait.value, values()]).toEqual([201, [201, 201]]);
    expect([umwait.setMaxTime(0xffff_fffc), values()]).toEqual([0, [0xffff_fffd, 0xffff_fffd]]);
  });

  test('a time with its low bits set is refused', () => {
    const { umwait, values } = boot();
    expect([umwait.setMaxTime(102), values()]).toEqual([-ERRNO.EINVAL, [100_000, 100_000]]);
  });

  test('what somebody else has written stays, even when the same value is written again', () => {
    const { machine, umwait, values } = boot();
    machine.cpus[1]!.core.msrs.set(0xe1, 0n);
    umwait.setMaxTime(100_000);
    umwait.setC02(true);
    expect(values()).toEqual([100_000, 0]);
    umwait.online(machine.cpus[1]!);
    expect(values()).toEqual([100_000, 100_000]);
  });

  test('CPUs without WAITPKG have none', () => {
    expect(executing('genoa').umwait).toBe(null);
  });
});
