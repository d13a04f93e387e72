/**
 * How the TDX module virtualises CPUID, one row per leaf: what the module's own lookup table, its table of configurable
 * bits and its XFAM masks say together. Read in the module's public source (MIT): tag TDX_1.5.01, and the CPUID tables
 * of 1.5.28 and 2.0.8.
 *
 * A row is `[leaf, registers]`. Leaves are hexadecimal, sub-leaves behind the dot decimal (`d.2-18` is seventeen rows);
 * without a dot ECX does not matter. A register that is not named is native: what the CPU says. Otherwise it has
 * clauses:
 *
 * - `is V` a constant; `zero`, `one` bits that are constant;
 * - `live` bits that are computed when CPUID is executed, and zero until then;
 * - `config` bits that the VMM gives (TD_PARAMS.CPUID_CONFIG), whatever the CPU has;
 * - `allow` bits that are there when the VMM and the CPU have them;
 * - `need`, `lack` native bits that must be 1 or 0, or TDH.SYS.INIT fails; `verify 15:8=8` the same of a number;
 * - `xfam 5,6,7` bits that are cleared unless all those bits of TD_PARAMS.XFAM are set; `attributes 30` likewise.
 *
 * Bits are names (the kernel's, else those of x86-cpuid-db), numbers or ranges. `only` is an `xfam` or `attributes`
 * condition, or a flag, for the leaf as a whole; `n` is the sub-leaf. `faults`: CPUID raises #VE.
 *
 * `live` and what is calculated from other parameters (marked in comments) is code: `cpuid-configure.ts`, `cpuid-run.ts`.
 */
export interface LeafText {
  readonly eax?: string;
  readonly ebx?: string;
  readonly ecx?: string;
  readonly edx?: string;
  readonly only?: string;
  readonly faults?: boolean;
}

export type LeafRow = readonly [leaf: string, registers: LeafText];

const NOTHING: LeafText = { eax: 'is 0', ebx: 'is 0', ecx: 'is 0', edx: 'is 0' };
const CACHE: LeafText = {
  eax: 'zero 13:10; config 31:14 9:0',
  ebx: 'config 31:12; verify 11:0=3f',
  ecx: 'config 31:0',
  edx: 'zero complex_indexing; config 31:3 1:0',
};

/** Module 1.5.01. */
export const CPUID_ROWS: readonly LeafRow[] = [
  // "GenuineIntel"
  ['0', { eax: 'is 23', ebx: 'verify 31:0=756e6547', ecx: 'verify 31:0=6c65746e', edx: 'verify 31:0=49656e69' }],
  [
    '1',
    {
      // 0 stands for the native model; see `configureModel()`.
      eax: 'zero 31:28 15:14; config 27:16 13:0',
      ebx: 'live 31:24; zero 7:0; config 23:16; verify 15:8=8',
      ecx: `
        zero VMX smx 16; one HYPERVISOR; live OSXSAVE;
        allow MWAIT est tm2 cid sdbg xtpr dca TSC_DEADLINE_TIMER AVX F16C;
        need XMM3 PCLMULQDQ DTES64 DSCPL SSSE3 CX16 PDCM PCID XMM4_1 XMM4_2 X2APIC MOVBE POPCNT;
        need TSC_DEADLINE_TIMER AES XSAVE RDRAND;
        xfam 2 FMA AVX F16C`,
      edx: `
        zero 10 PSE36 20 ia64; one APIC;
        allow pn acpi SELFSNOOP HTT tm pbe;
        need FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT CLFLUSH DS MMX FXSR XMM XMM2;
        need SELFSNOOP HTT`,
    },
  ],
  ['3', NOTHING],
  ['4.0-2', CACHE],
  ['4.3', { ...CACHE, eax: `${CACHE.eax}; verify 7:5=3`, edx: 'zero 31:3; config 2:0; lack 0' }],
  ['4.4', { ...NOTHING, eax: 'is 0; lack 4:0' }],
  ['5', { eax: 'zero 31:16', ebx: 'zero 31:16', ecx: 'zero 31:2', only: 'MWAIT' }],
  ['6', { eax: 'lack thread_director', faults: true }],
  [
    '7.0',
    {
      eax: 'verify 31:0=2',
      // HLE and RTM must be equal.
      ebx: `
        zero TSC_ADJUST SGX MPX 22;
        allow BMI1 HLE BMI2 ERMS RTM cqm rdt_a ADX;
        allow AVX512F AVX512DQ AVX512IFMA AVX512PF AVX512ER AVX512CD AVX512BW AVX512VL;
        need FSGSBASE TSC_ADJUST FDP_EXCPTN_ONLY SMEP INVPCID ZERO_FCS_FDS RDSEED SMAP CLFLUSHOPT CLWB SHA_NI;
        xfam 2 AVX2;
        xfam 5,6,7 AVX512F AVX512DQ AVX512IFMA AVX512PF AVX512ER AVX512CD AVX512BW AVX512VL;
        xfam 8 INTEL_PT`,
      // Key locker: no module lets ATTRIBUTES.KL be set.
      ecx: `
        zero 15 21:17 26 ENQCMD SGX_LC; live OSPKE;
        allow prefetchwt1 UMIP WAITPKG GFNI tme LA57 RDPID CLDEMOTE VAES VPCLMULQDQ;
        allow AVX512_VBMI2 AVX512_VNNI AVX512_BITALG AVX512_VPOPCNTDQ;
        need BUS_LOCK_DETECT MOVDIRI MOVDIR64B pks;
        xfam 2 VAES VPCLMULQDQ;
        xfam 5,6,7 AVX512VBMI AVX512_VBMI2 AVX512_VNNI AVX512_BITALG AVX512_VPOPCNTDQ;
        xfam 9 PKU; xfam 11,12 SHSTK;
        attributes 30 pks; attributes 31 23`,
      edx: `
        zero 0 sgx_keys 7:6 rtm_always_abort 12 hybrid_cpu 17 21;
        allow AVX512_4VNNIW AVX512_4FMAPS FSRM AVX512_VP2INTERSECT SERIALIZE TSXLDTRK pconfig;
        need MD_CLEAR arch_lbr SPEC_CTRL INTEL_STIBP FLUSH_L1D ARCH_CAPABILITIES CORE_CAPABILITIES SPEC_CTRL_SSBD;
        lack srbds_ctrl tsx_force_abort;
        xfam 5,6,7 AVX512_4VNNIW AVX512_4FMAPS AVX512_VP2INTERSECT AVX512_FP16;
        xfam 11,12 IBT; xfam 14 uintr; xfam 15 arch_lbr; xfam 17,18 AMX_BF16 AMX_TILE AMX_INT8`,
    },
  ],
  [
    '7.1',
    {
      eax: `
        zero SHA512 SM3 SM4 3 LASS CMPCCXADD 9 16:13 FRED LKGS WRMSRNS nmi_src AMX_FP16 hreset AVX_IFMA;
        zero 25:24 LAM rd_wr_msrlist 29:28 invd_disable MOVRS;
        allow AVX_VNNI AVX512_BF16 arch_perfmon_ext FZRM FSRS FSRC;
        xfam 5,6,7 AVX_VNNI AVX512_BF16`,
      ebx: 'is 0',
      ecx: 'is 0',
      edx: 'is 0',
    },
  ],
  [
    '7.2',
    {
      eax: 'is 0',
      ebx: 'is 0',
      ecx: 'is 0',
      edx: 'zero 31:6; allow DDPD_U MCDT_NO; need INTEL_PSFD IPRED_CTRL RRSBA_CTRL BHI_CTRL',
    },
  ],
  ['8', NOTHING],
  [
    'a',
    {
      eax: 'verify 15:8=8',
      ecx: 'lack 31:7',
      edx: 'zero 31:16 14:13; need anythread_deprecation',
      only: 'attributes 63',
    },
  ],
  // ECX is calculated from XFAM, EBX from XCR0.
  [
    'd.0',
    {
      eax: 'zero 4:3 8 16:10 31:19; need 1:0; xfam 2 2; xfam 5,6,7 7:5; xfam 9 9; xfam 17,18 18:17',
      ebx: 'live 31:0',
      edx: 'is 0',
    },
  ],
  // XFD depends on XFAM, EBX on XCR0 and IA32_XSS.
  [
    'd.1',
    {
      eax: 'zero 31:5; need XSAVEOPT XSAVEC XGETBV1 XSAVES',
      ebx: 'live 31:0',
      ecx: 'zero 7:0 10:9 13 31:16; need 12:11; xfam 8 8; xfam 11,12 12:11; xfam 14 14; xfam 15 15',
      edx: 'is 0',
    },
  ],
  ['d.2-18', { edx: 'is 0', only: 'xfam n' }],
  ['e', NOTHING],
  ['11', NOTHING],
  ['12', NOTHING],
  ['13', NOTHING],
  ['14.0', { eax: 'verify 31:0=1', ebx: 'zero 31:9', ecx: 'zero 30:4', edx: 'is 0', only: 'xfam 8' }],
  ['14.1', { eax: 'zero 15:3', ecx: 'is 0', edx: 'is 0', only: 'xfam 8' }],
  // EBX is TD_PARAMS.TSC_FREQUENCY; the crystal runs at 25 MHz.
  ['15', { eax: 'is 1', ecx: 'is 17d7840', edx: 'is 0' }],
  // Key locker: cleared as a whole by TDH.MNG.INIT.
  ['19', { eax: 'zero 31:3', ebx: 'zero 31:5 3 1:0', ecx: 'zero 31:2 0', edx: 'is 0' }],
  ['1c', { eax: 'allow 7:0', only: 'xfam 15' }],
  ['1d.0-1', { only: 'xfam 17,18' }],
  ['1e', {}],
  ['1f.0-4', { faults: true }],
  ['1f.5', { ecx: 'lack 15:8', faults: true }],
  ['20', NOTHING],
  // "IntelTDX    "
  ['21.0', { eax: 'is 0', ebx: 'is 65746e49', ecx: 'is 20202020', edx: 'is 5844546c' }],
  ['22', NOTHING],
  ['23.0', { eax: 'zero 31:4; allow 3:0', ecx: 'is 0', edx: 'is 0', only: 'attributes 63' }],
  ['23.1', { eax: 'lack 31:8', ebx: 'lack 31:4', ecx: 'is 0', edx: 'is 0', only: 'attributes 63' }],
  ['23.2', NOTHING],
  ['23.3', { ebx: 'is 0', ecx: 'is 0', edx: 'is 0', only: 'attributes 63' }],
  ['80000000', { ...NOTHING, eax: 'is 80000008' }],
  [
    '80000001',
    {
      eax: 'is 0',
      ebx: 'is 0',
      ecx: 'zero 4:1 7:6 31:9; need LAHF_LM ABM 3DNOWPREFETCH',
      edx: 'zero 10:0 19:12 25:21 28 31:30; live SYSCALL; need SYSCALL NX GBPAGES RDTSCP LM',
    },
  ],
  ['80000006', { ecx: 'verify 7:0=40', faults: true }],
  ['80000007', { eax: 'is 0', ebx: 'is 0', ecx: 'is 0', edx: 'zero 7:0 31:9; need CONSTANT_TSC' }],
  // EAX[15:8] is calculated from LA57.
  [
    '80000008',
    {
      eax: 'zero 31:16; verify 7:0=34',
      ebx: 'zero 8:0 31:10; allow WBNOINVD; need WBNOINVD',
      ecx: 'is 0',
      edx: 'is 0',
    },
  ],
];

/**
 * What a later version changes, from version to version. A register with signed clauses (`+allow`, `-zero`) keeps its
 * other clauses; one without is written anew. A leaf that was not there is added in front of the next higher one.
 */
export interface VersionRows {
  readonly rows: readonly LeafRow[];
  /** Leaves that get a configuration slot, behind those that have one. */
  readonly config: readonly string[];
}

/** Leaves with a configuration slot in 1.5.01, in the order of their index: that of CPUID_CONFIG_LEAVES. */
export const CPUID_CONFIG: readonly string[] = ['1', '4.0-3', '7.0-1', 'a', '1c', '80000008', '7.2', '23.0'];

export const CPUID_ROWS_1_5_28: VersionRows = {
  config: ['1f.0-5', '19', '18.0-8'],
  rows: [
    // No longer certain: the guest may turn these into paravirtual features (TD_CTLS.REDUCE_VE).
    ['1', { edx: '+allow MCE MTRR MCA' }],
    ['7.0', { edx: '+allow CORE_CAPABILITIES' }],
    ['2', { ...NOTHING, eax: 'is feff01' }],
    ['4.0-2', { edx: 'zero 31:3; config 2:0' }],
    ['6', { ...NOTHING, eax: 'is 4; lack thread_director', faults: false }],
    [
      '7.1',
      {
        eax: `
          -zero LASS CMPCCXADD WRMSRNS AVX_IFMA LAM; +allow CMPCCXADD WRMSRNS AVX_IFMA LAM;
          -xfam 5,6,7 AVX_VNNI; +xfam 2 AVX_VNNI AVX_IFMA; +attributes 27 LASS`,
        edx: `
          -zero AVX_VNNI_INT8 AVX_NE_CONVERT AVX_VNNI_INT16 PREFETCHITI uiret_uif;
          +allow AVX_VNNI_INT8 AVX_NE_CONVERT AVX_VNNI_INT16 PREFETCHITI uiret_uif;
          +xfam 2 AVX_VNNI_INT8 AVX_NE_CONVERT AVX_VNNI_INT16`,
      },
    ],
    ['b.0-1', { eax: 'zero 31:5', ebx: 'zero 31:16', ecx: 'zero 31:16', edx: 'is 0' }],
    ['b.2', { eax: 'is 0', ebx: 'is 0', ecx: 'zero 31:8', edx: 'is 0' }],
    ['18.0-8', { edx: 'config 25:14' }],
    ['19', NOTHING],
    ['1a', { ebx: 'is 0', ecx: 'is 0', edx: 'is 0' }],
    [
      '1f.0-5',
      {
        eax: 'zero 31:5; config 4:0',
        ebx: 'zero 31:16; config 15:0',
        ecx: 'zero 31:16; config 15:0',
        edx: 'is 0',
        faults: false,
      },
    ],
    ['23.1', { ebx: 'lack 31:7' }],
    // "Intel TDX   "
    ['80000002', { eax: 'is 65746e49', ebx: 'is 4454206c', ecx: 'is 20202058', edx: 'is 0' }],
    [
      '80000006',
      { eax: 'is 0', ebx: 'is 0', ecx: 'zero 5:0 11:7 15; one 6 14:12; verify 7:0=40', edx: 'is 0', faults: false },
    ],
    ['80000008', { eax: 'config 7:0' }],
  ],
};

export const CPUID_ROWS_2_0_8: VersionRows = {
  config: [],
  rows: [
    [
      '7.1',
      {
        eax: `
          -zero SHA512 SM3 SM4 3 AMX_FP16; +allow SHA512 SM3 SM4 3 AMX_FP16;
          +xfam 5,6,7 SHA512; +xfam 17,18 AMX_FP16`,
      },
    ],
    // "Inte" "TD X" "   l": no longer in reading order.
    ['80000002', { ebx: 'is 58204454', ecx: 'is 6c202020' }],
  ],
};
