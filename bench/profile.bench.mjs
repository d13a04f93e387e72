// Where the time goes: V8's sampling profiler over the set-CPUID path and over the way from a dump to allowed values.
import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { fileURLToPath } from 'node:url';
import { bootKvm, builtInHost, describeBuiltIn, VM_TYPES, Vmm } from '../dist/index.js';
import * as abi from '../dist/kvm/abi.js';
import { consume, quick } from './lib/measure.mjs';
import { figure, finish, say, table } from './lib/report.mjs';
import { reportedTables, rulesOf } from './lib/tables.mjs';

/** What of the time is below this is not shown. */
const LEAST = 0.02;
const WARM = quick ? 200 : 1000;
const SAMPLED = quick ? 500 : 3000;

function setCpuid() {
  const rules = rulesOf('sapphire-rapids');
  const vmm = new Vmm(rules.module, { guestPermissions: [18] });
  const vcpu = vmm.createVcpu(vmm.prepareVm(VM_TYPES.default));
  const { process } = vmm;
  const [words] = reportedTables(rules, rules.reported.length, 1);
  const address = process.memory.mmap(words.byteLength + 8);
  const place = new Uint32Array(process.memory.bytes.buffer, address - process.memory.base, words.length + 2);
  place[0] = rules.reported.length;
  place.set(words, 2);
  const file = process.file(vcpu);
  return () => {
    let sum = 0;
    for (let n = 0; n < 500; n++) {
      sum += process.ioctl(vcpu, abi.KVM_SET_CPUID2, address);
      sum += file.guestCaps.maxPhysicalAddressBits;
    }
    return sum;
  };
}

function bootHosts() {
  const host = describeBuiltIn(builtInHost('sapphire-rapids'));
  return () => {
    const vmm = new Vmm(bootKvm(host, { policy: 'paranoid' }));
    return vmm.module.allowed(vmm.module.defaultOverlay, vmm.process).screen.length;
  };
}

const busy = (work, milliseconds) => {
  const start = performance.now();
  while (performance.now() - start < milliseconds) consume(work());
};

const bundles = new Map();

/** The source that a line of a bundle comes from: a comment before its code tells. */
function sourceAt(path, line) {
  const lines = bundles.get(path) ?? readFileSync(path, 'utf8').split('\n');
  bundles.set(path, lines);
  const title = /^\/\/ src\/(.*)\.ts$/;
  return (
    lines
      .slice(0, line + 1)
      .findLast((text) => title.test(text))
      ?.match(title)[1] ?? ''
  );
}

const SUBJECTS = { 'KVM_SET_CPUID2 and capabilities': setCpuid(), 'boot and allowed values': bootHosts() };
const session = new Session();
session.connect();
await session.post('Profiler.enable');
await session.post('Profiler.setSamplingInterval', { interval: 200 });
for (const [name, work] of Object.entries(SUBJECTS)) {
  busy(work, WARM);
  await session.post('Profiler.start');
  busy(work, SAMPLED);
  const { profile } = await session.post('Profiler.stop');
  const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
  const shares = new Map();
  for (const id of profile.samples) {
    const { functionName, url, lineNumber } = nodes.get(id);
    const file = url.includes('/dist/bundle/') ? sourceAt(fileURLToPath(url), lineNumber) : '';
    const key = file === '' ? functionName : `${functionName || 'a closure'}, ${file}`;
    shares.set(key, (shares.get(key) ?? 0) + 1 / profile.samples.length);
  }
  const shown = [...shares].filter(([, share]) => share >= LEAST).sort(([, a], [, b]) => b - a);
  table(
    [`${name}: self time`, '%'],
    shown.map(([key, share]) => [key, (share * 100).toFixed(1)]),
  );
  say();
  for (const [key, share] of shown) figure(`${name}: ${key}`, share * 100, '%');
}
session.disconnect();
finish('profile');
