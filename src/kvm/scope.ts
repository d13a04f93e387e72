import { type Argument, compileExpression, type Dialect, type Evaluate, type Expression } from '../cpuid/expression.js';
import { featureNamed, type Overlay, wordNamed } from '../cpuid/features.js';
import type { HostKernel } from '../linux/host-kernel.js';
import { PARAMETER_ROWS } from '../linux/module-parameters.js';
import { HOST_DIALECT, type HostScope, isFact } from '../linux/scope.js';
import { type LineParameters, lineParameters } from './line.js';

/** What expressions about KVM are evaluated in: the host, and the capabilities of one overlay as far as they are built. */
export interface KvmScope extends HostScope {
  readonly kernel: HostKernel;
  readonly parameters: LineParameters;
  /** The overlay that is built or asked. */
  readonly overlay: Overlay;
  /** `kvm_cpu_caps[]` of the overlay, indexed by word id. */
  caps: Uint32Array;
  /** The register of the host's CPUID that a leaf rule is about. */
  raw: number;
}

/** Components of XCR0 that KVM supports (`KVM_SUPPORTED_XCR0`). */
const KVM_XCR0_COMPONENTS = [0, 1, 2, 3, 4, 5, 6, 7, 9, 17, 18];

const components = (bits: readonly number[]): number => bits.reduce((mask, bit) => mask | (1 << bit), 0) >>> 0;
const KVM_XCR0 = components(KVM_XCR0_COMPONENTS);

/** Starts a scope for building the capabilities of one overlay. */
export function kvmScope(kernel: HostKernel, overlay: Overlay): KvmScope {
  const { state } = kernel;
  return { ...state, kernel, overlay, parameters: lineParameters(state.line), caps: new Uint32Array(0), raw: 0 };
}

/** The value that an `assign` row has computed. */
export function assigned(scope: KvmScope, name: string): number {
  return (scope.variables.get(name) as number | undefined) ?? 0;
}

const moduleParameters = new Map(PARAMETER_ROWS.map((row) => [`${row.module}.param_${row.name}`, row]));

const CALLS: Readonly<Record<string, (name: string) => Evaluate<KvmScope>>> = {
  cap: (name) => {
    const { word, mask } = featureNamed(name);
    return (scope) => ((scope.caps[word.id]! & mask) !== 0 ? 1 : 0);
  },
  bit: (name) => {
    const { mask } = featureNamed(name);
    return () => mask;
  },
  caps: (name) => {
    const { id } = wordNamed(name);
    return (scope) => scope.caps[id]!;
  },
};

/** What boot left and what the kernel line fixes. */
const KERNEL_VALUES: Readonly<Record<string, (scope: KvmScope) => number>> = {
  host_xcr0: (scope) => scope.kernel.state.xcr0,
  host_xss: (scope) => scope.kernel.state.xss,
  host_phys_bits: (scope) => scope.kernel.state.physBits,
  // What KVM itself writes into XFRM of the guest's CPUID.(EAX=12H,ECX=1): x87 and SSE.
  sgx_xfrm_forced: (scope) => (scope.parameters.rewritesSgxXfrm ? 3 : 0),
  max_basic_leaf: (scope) => scope.parameters.maxBasicLeaf,
  max_extended_leaf: (scope) => scope.parameters.maxExtendedLeaf,
  max_centaur_leaf: (scope) => scope.parameters.maxCentaurLeaf,
};

/**
 * The language of rows about KVM: that of the host, and capabilities, module parameters (`param_NAME` of the module
 * that loads), assigned variables, `raw`, `xfeatures(n, …)`.
 *
 * @param module the vendor module whose parameters `param_NAME` means
 * @param assignedNames names that `assign` rows compute
 */
export function kvmDialect(module: string, assignedNames: ReadonlySet<string>): Dialect<KvmScope> {
  return {
    variable(name) {
      if (name === 'raw') return (scope) => scope.raw;
      if (name === 'KVM_XCR0') return () => KVM_XCR0;
      const kernelValue = KERNEL_VALUES[name];
      if (kernelValue) return kernelValue;
      if (name.startsWith('param_')) {
        const row = moduleParameters.get(`${module}.${name}`) ?? moduleParameters.get(`kvm.${name}`);
        if (!row) throw new Error(`${module} has no parameter ${name.slice(6)}`);
        return (scope) => scope.kernel.parameter(`${row.module}.${row.name}`);
      }
      if (assignedNames.has(name)) {
        const inherited = isFact(name) ? HOST_DIALECT.variable(name) : null;
        return (scope) => scope.variables.get(name) ?? inherited?.(scope) ?? 0;
      }
      return HOST_DIALECT.variable(name);
    },
    call(name, args) {
      if (name === 'xfeatures') {
        const mask = components(args.map((arg) => Number(arg.text)));
        return () => mask;
      }
      if (name === 'max') {
        const [a, b] = args.map((arg) => arg.value());
        return (scope) => Math.max(a!(scope) as number, b!(scope) as number);
      }
      const own = CALLS[name];
      // The arguments are compiled in this dialect and get a KvmScope, which is a HostScope.
      return own ? own(args[0]!.text) : HOST_DIALECT.call(name, args as readonly Argument<HostScope>[]);
    },
  };
}

/** Compiles a row's expression; the error names the row's text. */
export function compileFor(dialect: Dialect<KvmScope>, text: string): Expression<KvmScope> {
  return compileExpression(text, dialect);
}
