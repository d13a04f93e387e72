/** How much of the random runs is done for each mutant. */
export const RUNS = '0.01';

const of = (folder, names) => names.map((name) => `test/${folder}/${name}.test.ts`);
const cpuid = (...names) => of('cpuid', names);
const kvm = (...names) => of('kvm', names);
const paranoid = (...names) => of('kvm/paranoid', names);

/**
 * What is mutated together, and the tests that are to notice. They run in this order: first what is quick. `without` are
 * tests that take too long; `runs` is another KVM_CPUID_RUNS than {@link RUNS}.
 */
export const SLICES = {
  expression: { mutate: ['src/cpuid/expression.ts'], tests: cpuid('expression') },
  layout: {
    mutate: ['src/cpuid/entry.ts', 'src/cpuid/features.ts', 'src/cpuid/indexed.ts'],
    tests: [...cpuid('entry', 'indexed', 'features'), ...kvm('supported')],
  },
  table: { mutate: ['src/kvm/cpuid-table.ts'], tests: kvm('cpuid-table', 'guest-cpuid', 'set-cpuid', 'frozen') },
  runtime: {
    mutate: ['src/kvm/check-cpuid.ts', 'src/kvm/runtime.ts'],
    tests: kvm('check-cpuid', 'runtime'),
  },
  'guest-caps': { mutate: ['src/kvm/guest-caps.ts'], tests: kvm('guest-caps', 'set-cpuid', 'frozen', 'vcpu-state') },
  caps: { mutate: ['src/kvm/caps.ts'], tests: kvm('guest-caps', 'supported', 'rows') },
  supported: { mutate: ['src/kvm/supported.ts'], tests: kvm('set-cpuid', 'supported') },
  rules: {
    mutate: ['src/kvm/paranoid/rule-rows.ts'],
    tests: paranoid('rule-rows'),
    // One place for each overlay is enough.
    without: /(?:zhaoxin|turin|ice-lake|granite-rapids, default)|6\.18$/,
  },
  allowed: {
    mutate: ['src/kvm/paranoid/allowed-table.ts', 'src/kvm/paranoid/rule-arrays.ts'],
    tests: paranoid('findings', 'rule-rows'),
  },
  kernels: {
    mutate: ['rule-lines', 'screen', 'portable'].map((name) => `src/kvm/paranoid/${name}.ts`),
    tests: paranoid('rule-lines', 'kernels', 'screen'),
    // They boot every host there is, or look at every rule of one.
    without: /^a screen (?:of one host|lets nothing|lets at once|is small)|with the rules of a host|behind postMessage/,
    runs: '0.02',
  },
  verify: {
    mutate: ['src/kvm/paranoid/verify.ts'],
    tests: paranoid('verify'),
    // It boots every host there is.
    without: /tables of all hosts/,
  },
  findings: { mutate: ['src/kvm/paranoid/findings.ts'], tests: paranoid('findings') },
};
