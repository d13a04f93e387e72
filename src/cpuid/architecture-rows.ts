/**
 * The names of the architectural CPUID fields: `leaf sub-leaves register bits name description`.
 *
 * From x86-cpuid-db v3.1 (https://x86-cpuid.org), CC0-1.0. Bits KVM or Linux work with have their kernel name in
 * `feature-rows.ts` as well; this table names everything else.
 */
export const ARCHITECTURE_ROWS = `
0 0 eax 31:0 max_std_leaf Highest standard CPUID leaf
0 0 ebx 31:0 cpu_vendorid_0 CPU vendor ID string bytes 0 - 3
0 0 ecx 31:0 cpu_vendorid_2 CPU vendor ID string bytes 8 - 11
0 0 edx 31:0 cpu_vendorid_1 CPU vendor ID string bytes 4 - 7
1 0 eax 3:0 stepping Stepping ID
1 0 eax 7:4 base_model Base CPU model ID
1 0 eax 11:8 base_family_id Base CPU family ID
1 0 eax 13:12 cpu_type CPU type
1 0 eax 19:16 ext_model Extended CPU model ID
1 0 eax 27:20 ext_family Extended CPU family ID
1 0 ebx 7:0 brand_id Brand index
1 0 ebx 15:8 clflush_size CLFLUSH instruction cache line size
1 0 ebx 23:16 n_logical_cpu Logical CPU count
1 0 ebx 31:24 local_apic_id Initial local APIC physical ID
1 0 ecx 0 pni Streaming SIMD Extensions 3 (SSE3)
1 0 ecx 1 pclmulqdq PCLMULQDQ instruction support
1 0 ecx 2 dtes64 64-bit DS save area
1 0 ecx 3 monitor MONITOR/MWAIT support
1 0 ecx 4 ds_cpl CPL Qualified Debug Store
1 0 ecx 5 vmx Virtual Machine Extensions
1 0 ecx 6 smx Safer Mode Extensions
1 0 ecx 7 est Enhanced Intel SpeedStep
1 0 ecx 8 tm2 Thermal Monitor 2
1 0 ecx 9 ssse3 Supplemental SSE3
1 0 ecx 10 cid L1 Context ID
1 0 ecx 11 sdbg Silicon Debug
1 0 ecx 12 fma FMA extensions using YMM state
1 0 ecx 13 cx16 CMPXCHG16B instruction support
1 0 ecx 14 xtpr xTPR Update Control
1 0 ecx 15 pdcm Perfmon and Debug Capability
1 0 ecx 17 pcid Process-context identifiers
1 0 ecx 18 dca Direct Cache Access
1 0 ecx 19 sse4_1 SSE4.1
1 0 ecx 20 sse4_2 SSE4.2
1 0 ecx 21 x2apic X2APIC support
1 0 ecx 22 movbe MOVBE instruction support
1 0 ecx 23 popcnt POPCNT instruction support
1 0 ecx 24 tsc_deadline_timer APIC timer one-shot operation
1 0 ecx 25 aes AES instructions
1 0 ecx 26 xsave XSAVE (and related instructions) support
1 0 ecx 27 osxsave XSAVE (and related instructions) are enabled by OS
1 0 ecx 28 avx AVX instructions support
1 0 ecx 29 f16c Half-precision floating-point conversion support
1 0 ecx 30 rdrand RDRAND instruction support
1 0 ecx 31 guest_status System is running as guest; (para-)virtualized system
1 0 edx 0 fpu Floating-Point Unit on-chip (x87)
1 0 edx 1 vme Virtual-8086 Mode Extensions
1 0 edx 2 de Debugging Extensions
1 0 edx 3 pse Page Size Extension
1 0 edx 4 tsc Time Stamp Counter
1 0 edx 5 msr Model-Specific Registers (RDMSR and WRMSR support)
1 0 edx 6 pae Physical Address Extensions
1 0 edx 7 mce Machine Check Exception
1 0 edx 8 cx8 CMPXCHG8B instruction
1 0 edx 9 apic APIC on-chip
1 0 edx 11 sep SYSENTER, SYSEXIT, and associated MSRs
1 0 edx 12 mtrr Memory Type Range Registers
1 0 edx 13 pge Page Global Extensions
1 0 edx 14 mca Machine Check Architecture
1 0 edx 15 cmov Conditional Move Instruction
1 0 edx 16 pat Page Attribute Table
1 0 edx 17 pse36 Page Size Extension (36-bit)
1 0 edx 18 pn Processor Serial Number
1 0 edx 19 clflush CLFLUSH instruction
1 0 edx 21 dts Debug Store
1 0 edx 22 acpi Thermal monitor and clock control
1 0 edx 23 mmx MMX instructions
1 0 edx 24 fxsr FXSAVE and FXRSTOR instructions
1 0 edx 25 sse SSE instructions
1 0 edx 26 sse2 SSE2 instructions
1 0 edx 27 ss Self Snoop
1 0 edx 28 ht Hyper-threading
1 0 edx 29 tm Thermal Monitor
1 0 edx 30 ia64 Legacy IA-64 (Itanium) support bit, now reserved
1 0 edx 31 pbe Pending Break Enable
2 0 eax 7:0 iteration_count Number of times this leaf must be queried
2 0 eax 15:8 desc1 Descriptor #1
2 0 eax 23:16 desc2 Descriptor #2
2 0 eax 30:24 desc3 Descriptor #3
2 0 eax 31 eax_invalid Descriptors 1-3 are invalid if set
2 0 ebx 7:0 desc4 Descriptor #4
2 0 ebx 15:8 desc5 Descriptor #5
2 0 ebx 23:16 desc6 Descriptor #6
2 0 ebx 30:24 desc7 Descriptor #7
2 0 ebx 31 ebx_invalid Descriptors 4-7 are invalid if set
2 0 ecx 7:0 desc8 Descriptor #8
2 0 ecx 15:8 desc9 Descriptor #9
2 0 ecx 23:16 desc10 Descriptor #10
2 0 ecx 30:24 desc11 Descriptor #11
2 0 ecx 31 ecx_invalid Descriptors 8-11 are invalid if set
2 0 edx 7:0 desc12 Descriptor #12
2 0 edx 15:8 desc13 Descriptor #13
2 0 edx 23:16 desc14 Descriptor #14
2 0 edx 30:24 desc15 Descriptor #15
2 0 edx 31 edx_invalid Descriptors 12-15 are invalid if set
4 31:0 eax 4:0 cache_type Cache type field
4 31:0 eax 7:5 cache_level Cache level (1-based)
4 31:0 eax 8 cache_self_init Self-initializing cache level
4 31:0 eax 9 fully_associative Fully-associative cache
4 31:0 eax 25:14 num_threads_sharing Number logical CPUs sharing this cache
4 31:0 eax 31:26 num_cores_on_die Number of cores in the physical package
4 31:0 ebx 11:0 cache_linesize System coherency line size (0-based)
4 31:0 ebx 21:12 cache_npartitions Physical line partitions (0-based)
4 31:0 ebx 31:22 cache_nways Ways of associativity (0-based)
4 31:0 ecx 30:0 cache_nsets Cache number of sets (0-based)
4 31:0 edx 0 wbinvd_rll_no_guarantee WBINVD/INVD not guaranteed for Remote Lower-Level caches
4 31:0 edx 1 ll_inclusive Cache is inclusive of Lower-Level caches
4 31:0 edx 2 complex_indexing Not a direct-mapped cache (complex function)
5 0 eax 15:0 min_mon_size Smallest monitor-line size, in bytes
5 0 ebx 15:0 max_mon_size Largest monitor-line size, in bytes
5 0 ecx 0 mwait_ext MONITOR/MWAIT extensions
5 0 ecx 1 mwait_irq_break Interrupts as a break event for MWAIT
5 0 edx 3:0 n_c0_substates Number of C0 sub C-states
5 0 edx 7:4 n_c1_substates Number of C1 sub C-states
5 0 edx 11:8 n_c2_substates Number of C2 sub C-states
5 0 edx 15:12 n_c3_substates Number of C3 sub C-states
5 0 edx 19:16 n_c4_substates Number of C4 sub C-states
5 0 edx 23:20 n_c5_substates Number of C5 sub C-states
5 0 edx 27:24 n_c6_substates Number of C6 sub C-states
5 0 edx 31:28 n_c7_substates Number of C7 sub C-states
6 0 eax 0 dtherm Digital temperature sensor
6 0 eax 1 turbo_boost Intel Turbo Boost
6 0 eax 2 arat Always-Running APIC Timer (not affected by p-state)
6 0 eax 4 pln Power Limit Notification (PLN) event
6 0 eax 5 ecmd Clock modulation duty cycle extension
6 0 eax 6 pts Package thermal management
6 0 eax 7 hwp HWP (Hardware P-states) base registers
6 0 eax 8 hwp_notify HWP notification (IA32_HWP_INTERRUPT MSR)
6 0 eax 9 hwp_act_window HWP activity window (IA32_HWP_REQUEST[bits 41:32])
6 0 eax 10 hwp_epp HWP Energy Performance Preference
6 0 eax 11 hwp_pkg_req HWP Package Level Request
6 0 eax 13 hdc_base_regs HDC base registers
6 0 eax 14 turbo_boost_3_0 Intel Turbo Boost Max 3.0
6 0 eax 15 hwp_capabilities HWP Highest Performance change
6 0 eax 16 hwp_peci_override HWP PECI override
6 0 eax 17 hwp_flexible Flexible HWP
6 0 eax 18 hwp_fast IA32_HWP_REQUEST MSR fast access mode
6 0 eax 19 hfi HW_FEEDBACK MSRs
6 0 eax 20 hwp_ignore_idle Ignoring idle logical CPU HWP request is supported
6 0 eax 22 hwp_ctl IA32_HWP_CTL MSR
6 0 eax 23 thread_director Intel thread director
6 0 eax 24 therm_interrupt_bit25 IA32_THERM_INTERRUPT MSR bit 25
6 0 ebx 3:0 n_therm_thresholds Digital thermometer thresholds
6 0 ecx 0 aperfmperf MPERF/APERF MSRs (effective frequency interface)
6 0 ecx 3 epb IA32_ENERGY_PERF_BIAS MSR
6 0 ecx 15:8 hw_feedback_nclasses Number of Intel Thread Director classes
6 0 edx 0 perfcap_reporting Performance capability reporting
6 0 edx 1 encap_reporting Energy efficiency capability reporting
6 0 edx 11:8 feedback_sz Feedback interface structure size, in 4K pages
6 0 edx 31:16 this_lcpu_hwfdbk_idx This logical CPU hardware feedback interface index
7 0 eax 31:0 leaf7_n_subleaves Number of leaf 0x7 subleaves
7 0 ebx 0 fsgsbase FSBASE/GSBASE read/write
7 0 ebx 1 tsc_adjust IA32_TSC_ADJUST MSR
7 0 ebx 2 sgx Intel SGX (Software Guard Extensions)
7 0 ebx 3 bmi1 Bit manipulation extensions group 1
7 0 ebx 4 hle Hardware Lock Elision
7 0 ebx 5 avx2 AVX2 instruction set
7 0 ebx 6 fdp_excptn_only FPU Data Pointer updated only on x87 exceptions
7 0 ebx 7 smep Supervisor Mode Execution Protection
7 0 ebx 8 bmi2 Bit manipulation extensions group 2
7 0 ebx 9 erms Enhanced REP MOVSB/STOSB
7 0 ebx 10 invpcid INVPCID instruction (Invalidate Processor Context ID)
7 0 ebx 11 rtm Intel restricted transactional memory
7 0 ebx 12 cqm Intel RDT-CMT / AMD Platform-QoS cache monitoring
7 0 ebx 13 zero_fcs_fds Deprecated FPU CS/DS (stored as zero)
7 0 ebx 14 mpx Intel memory protection extensions
7 0 ebx 15 rdt_a Intel RDT / AMD Platform-QoS Enforcement
7 0 ebx 16 avx512f AVX-512 foundation instructions
7 0 ebx 17 avx512dq AVX-512 double/quadword instructions
7 0 ebx 18 rdseed RDSEED instruction
7 0 ebx 19 adx ADCX/ADOX instructions
7 0 ebx 20 smap Supervisor mode access prevention
7 0 ebx 21 avx512ifma AVX-512 integer fused multiply add
7 0 ebx 23 clflushopt CLFLUSHOPT instruction
7 0 ebx 24 clwb CLWB instruction
7 0 ebx 25 intel_pt Intel processor trace
7 0 ebx 26 avx512pf AVX-512 prefetch instructions
7 0 ebx 27 avx512er AVX-512 exponent/reciprocal instructions
7 0 ebx 28 avx512cd AVX-512 conflict detection instructions
7 0 ebx 29 sha_ni SHA/SHA256 instructions
7 0 ebx 30 avx512bw AVX-512 byte/word instructions
7 0 ebx 31 avx512vl AVX-512 VL (128/256 vector length) extensions
7 0 ecx 0 prefetchwt1 PREFETCHWT1 (Intel Xeon Phi only)
7 0 ecx 1 avx512vbmi AVX-512 Vector byte manipulation instructions
7 0 ecx 2 umip User mode instruction protection
7 0 ecx 3 pku Protection keys for user-space
7 0 ecx 4 ospke OS protection keys enable
7 0 ecx 5 waitpkg WAITPKG instructions
7 0 ecx 6 avx512_vbmi2 AVX-512 vector byte manipulation instructions group 2
7 0 ecx 7 cet_ss CET shadow stack features
7 0 ecx 8 gfni Galois field new instructions
7 0 ecx 9 vaes Vector AES instructions
7 0 ecx 10 vpclmulqdq VPCLMULQDQ 256-bit instruction
7 0 ecx 11 avx512_vnni Vector neural network instructions
7 0 ecx 12 avx512_bitalg AVX-512 bitwise algorithms
7 0 ecx 13 tme Intel total memory encryption
7 0 ecx 14 avx512_vpopcntdq AVX-512: POPCNT for vectors of DWORD/QWORD
7 0 ecx 16 la57 57-bit linear addresses (five-level paging)
7 0 ecx 21:17 mawau_val_lm BNDLDX/BNDSTX MAWAU value in 64-bit mode
7 0 ecx 22 rdpid RDPID instruction
7 0 ecx 23 key_locker Intel key locker
7 0 ecx 24 bus_lock_detect OS bus-lock detection
7 0 ecx 25 cldemote CLDEMOTE instruction
7 0 ecx 27 movdiri MOVDIRI instruction
7 0 ecx 28 movdir64b MOVDIR64B instruction
7 0 ecx 29 enqcmd Enqueue stores (ENQCMD{,S})
7 0 ecx 30 sgx_lc Intel SGX launch configuration
7 0 ecx 31 pks Protection keys for supervisor-mode pages
7 0 edx 1 sgx_keys Intel SGX attestation services
7 0 edx 2 avx512_4vnniw AVX-512 neural network instructions
7 0 edx 3 avx512_4fmaps AVX-512 multiply accumulation single precision
7 0 edx 4 fsrm Fast short REP MOVSB
7 0 edx 5 uintr User interrupts
7 0 edx 8 avx512_vp2intersect VP2INTERSECT{D,Q} instructions
7 0 edx 9 srbds_ctrl SRBDS mitigation MSR
7 0 edx 10 md_clear VERW MD_CLEAR microcode
7 0 edx 11 rtm_always_abort XBEGIN (RTM transaction) always aborts
7 0 edx 13 tsx_force_abort MSR TSX_FORCE_ABORT, RTM_ABORT bit
7 0 edx 14 serialize SERIALIZE instruction
7 0 edx 15 hybrid_cpu The CPU is identified as a 'hybrid part'
7 0 edx 16 tsxldtrk TSX suspend/resume load address tracking
7 0 edx 18 pconfig PCONFIG instruction
7 0 edx 19 arch_lbr Intel architectural LBRs
7 0 edx 20 ibt CET indirect branch tracking
7 0 edx 22 amx_bf16 AMX-BF16: tile bfloat16
7 0 edx 23 avx512_fp16 AVX-512 FP16 instructions
7 0 edx 24 amx_tile AMX-TILE: tile architecture
7 0 edx 25 amx_int8 AMX-INT8: tile 8-bit integer
7 0 edx 26 spec_ctrl Speculation Control (IBRS/IBPB: indirect branch restrictions)
7 0 edx 27 intel_stibp Single thread indirect branch predictors
7 0 edx 28 flush_l1d FLUSH L1D cache: IA32_FLUSH_CMD MSR
7 0 edx 29 arch_capabilities Intel IA32_ARCH_CAPABILITIES MSR
7 0 edx 30 core_capabilities IA32_CORE_CAPABILITIES MSR
7 0 edx 31 spec_ctrl_ssbd Speculative store bypass disable
7 1 eax 4 avx_vnni AVX-VNNI instructions
7 1 eax 5 avx512_bf16 AVX-512 bfloat16 instructions
7 1 eax 6 lass Linear address space separation
7 1 eax 7 cmpccxadd CMPccXADD instructions
7 1 eax 8 arch_perfmon_ext ArchPerfmonExt: leaf 0x23
7 1 eax 10 fzrm Fast zero-length REP MOVSB
7 1 eax 11 fsrs Fast short REP STOSB
7 1 eax 12 fsrc Fast Short REP CMPSB/SCASB
7 1 eax 17 fred FRED: Flexible return and event delivery transitions
7 1 eax 18 lkgs LKGS: Load 'kernel' (userspace) GS
7 1 eax 19 wrmsrns WRMSRNS instruction (WRMSR-non-serializing)
7 1 eax 20 nmi_src NMI-source reporting with FRED event data
7 1 eax 21 amx_fp16 AMX-FP16: FP16 tile operations
7 1 eax 22 hreset HRESET (Thread director history reset)
7 1 eax 23 avx_ifma Integer fused multiply add
7 1 eax 26 lam Linear address masking
7 1 eax 27 rd_wr_msrlist RDMSRLIST/WRMSRLIST instructions
7 1 ebx 0 intel_ppin Protected processor inventory number (PPIN{,_CTL} MSRs)
7 1 edx 4 avx_vnni_int8 AVX-VNNI-INT8 instructions
7 1 edx 5 avx_ne_convert AVX-NE-CONVERT instructions
7 1 edx 8 amx_complex AMX-COMPLEX instructions (starting from Granite Rapids)
7 1 edx 14 prefetchit_0_1 PREFETCHIT0/1 instructions
7 1 edx 18 cet_sss CET supervisor shadow stacks safe to use
7 2 edx 0 intel_psfd Intel predictive store forward disable
7 2 edx 1 ipred_ctrl MSR bits IA32_SPEC_CTRL.IPRED_DIS_{U,S}
7 2 edx 2 rrsba_ctrl MSR bits IA32_SPEC_CTRL.RRSBA_DIS_{U,S}
7 2 edx 3 ddp_ctrl MSR bit IA32_SPEC_CTRL.DDPD_U
7 2 edx 4 bhi_ctrl MSR bit IA32_SPEC_CTRL.BHI_DIS_S
7 2 edx 5 mcdt_no MCDT mitigation not needed
7 2 edx 6 uclock_disable UC-lock disable
9 0 eax 0 dca_enabled_in_bios DCA is enabled in BIOS
a 0 eax 7:0 pmu_version Performance monitoring unit version ID
a 0 eax 15:8 num_counters_gp Number of general-purpose PMU counters per logical CPU
a 0 eax 23:16 bit_width_gp Bitwidth of PMU general-purpose counters
a 0 eax 31:24 events_mask_len Length of CPUID(0xa).EBX bit vector
a 0 ebx 0 no_core_cycle Core cycle event not available
a 0 ebx 1 no_instruction_retired Instruction retired event not available
a 0 ebx 2 no_reference_cycles Reference cycles event not available
a 0 ebx 3 no_llc_reference LLC-reference event not available
a 0 ebx 4 no_llc_misses LLC-misses event not available
a 0 ebx 5 no_br_insn_retired Branch instruction retired event not available
a 0 ebx 6 no_br_misses_retired Branch mispredict retired event not available
a 0 ebx 7 no_topdown_slots Topdown slots event not available
a 0 ebx 8 no_backend_bound Topdown backend bound not available
a 0 ebx 9 no_bad_speculation Topdown bad speculation not available
a 0 ebx 10 no_frontend_bound Topdown frontend bound not available
a 0 ebx 11 no_retiring Topdown retiring not available
a 0 ebx 12 no_lbr_inserts LBR inserts not available
a 0 ecx 31:0 pmu_fcounters_bitmap Fixed-function PMU counters support bitmap
a 0 edx 4:0 num_counters_fixed Number of fixed PMU counters
a 0 edx 12:5 bitwidth_fixed Bitwidth of PMU fixed counters
a 0 edx 15 anythread_deprecation AnyThread mode deprecation
b 1:0 eax 4:0 x2apic_id_shift Bit width of this level (previous levels inclusive)
b 1:0 ebx 15:0 domain_lcpus_count Logical CPUs count across all instances of this domain
b 1:0 ecx 7:0 domain_nr This domain level (subleaf ID)
b 1:0 ecx 15:8 domain_type This domain type
b 1:0 edx 31:0 x2apic_id x2APIC ID of current logical CPU
d 0 eax 0 xcr0_x87 XCR0.X87
d 0 eax 1 xcr0_sse XCR0.SSE
d 0 eax 2 xcr0_avx XCR0.AVX
d 0 eax 3 xcr0_mpx_bndregs XCR0.BNDREGS: MPX BND0-BND3 registers
d 0 eax 4 xcr0_mpx_bndcsr XCR0.BNDCSR: MPX BNDCFGU/BNDSTATUS registers
d 0 eax 5 xcr0_avx512_opmask XCR0.OPMASK: AVX-512 k0-k7 registers
d 0 eax 6 xcr0_avx512_zmm_hi256 XCR0.ZMM_Hi256: AVX-512 ZMM0->ZMM7/15 registers
d 0 eax 7 xcr0_avx512_hi16_zmm XCR0.HI16_ZMM: AVX-512 ZMM16->ZMM31 registers
d 0 eax 9 xcr0_pkru XCR0.PKRU: XSAVE PKRU registers
d 0 eax 11 xcr0_cet_u XCR0.CET_U: CET user state
d 0 eax 12 xcr0_cet_s XCR0.CET_S: CET supervisor state
d 0 eax 17 xcr0_tileconfig XCR0.TILECONFIG: AMX can manage TILECONFIG
d 0 eax 18 xcr0_tiledata XCR0.TILEDATA: AMX can manage TILEDATA
d 0 ebx 31:0 xsave_sz_xcr0 XSAVE/XRSTOR area byte size, for XCR0 enabled features
d 0 ecx 31:0 xsave_sz_max XSAVE/XRSTOR area max byte size, all CPU features
d 0 edx 30 xcr0_lwp AMD XCR0.LWP: Light-weight Profiling
d 1 eax 0 xsaveopt XSAVEOPT instruction
d 1 eax 1 xsavec XSAVEC instruction
d 1 eax 2 xgetbv1 XGETBV instruction with ECX = 1
d 1 eax 3 xsaves XSAVES/XRSTORS instructions (and XSS MSR)
d 1 eax 4 xfd Extended feature disable
d 1 ebx 31:0 xsave_sz_xcr0_xss XSAVES/XSAVEC area byte size, for XCR0|XSS enabled features
d 1 ecx 8 xss_pt PT state
d 1 ecx 10 xss_pasid PASID state
d 1 ecx 11 xss_cet_u CET user state
d 1 ecx 12 xss_cet_s CET supervisor state
d 1 ecx 13 xss_hdc HDC state
d 1 ecx 14 xss_uintr UINTR state
d 1 ecx 15 xss_lbr LBR state
d 1 ecx 16 xss_hwp HWP state
d 63:2 eax 31:0 xsave_sz Subleaf-N feature save area size, in bytes
d 63:2 ebx 31:0 xsave_offset Subleaf-N feature save area offset, in bytes
d 63:2 ecx 0 is_xss_bit Subleaf N describes an XSS bit (otherwise XCR0)
d 63:2 ecx 1 compacted_xsave_64byte_aligned When compacted, subleaf-N XSAVE area is 64-byte aligned
f 0 ebx 31:0 core_rmid_max RMID max within this core (0-based)
f 0 edx 1 cqm_llc LLC QoS-monitoring
f 1 eax 7:0 l3c_qm_bitwidth L3 QoS-monitoring counter bitwidth (24-based)
f 1 eax 8 l3c_qm_overflow_bit QM_CTR MSR bit 61 is an overflow bit
f 1 eax 9 io_rdt_cmt non-CPU agent supporting Intel RDT CMT present
f 1 eax 10 io_rdt_mbm non-CPU agent supporting Intel RDT MBM present
f 1 ebx 31:0 l3c_qm_conver_factor QM_CTR MSR conversion factor to bytes
f 1 ecx 31:0 l3c_qm_rmid_max L3 QoS-monitoring max RMID
f 1 edx 0 cqm_occup_llc L3 QoS occupancy monitoring
f 1 edx 1 cqm_mbm_total L3 QoS total bandwidth monitoring
f 1 edx 2 cqm_mbm_local L3 QoS local bandwidth monitoring
10 0 ebx 1 cat_l3 L3 Cache Allocation Technology
10 0 ebx 2 cat_l2 L2 Cache Allocation Technology
10 0 ebx 3 mba Memory Bandwidth Allocation
10 2:1 eax 4:0 cat_cbm_len L3/L2_CAT capacity bitmask length, minus-one notation
10 2:1 ebx 31:0 cat_units_bitmap L3/L2_CAT allocation units bitmap
10 2:1 ecx 1 l3_cat_cos_infreq_updates L3_CAT COS updates should be infrequent
10 2:1 ecx 2 cdp_l3 L3/L2_CAT Code and Data Prioritization
10 2:1 ecx 3 cat_sparse_1s L3/L2_CAT non-contiguous 1s value
10 2:1 edx 15:0 cat_cos_max L3/L2_CAT max Class of Service
10 3 eax 11:0 mba_max_delay Max MBA throttling value; minus-one notation
10 3 ecx 0 per_thread_mba Per-thread MBA controls
10 3 ecx 2 mba_delay_linear Delay values are linear
10 3 edx 15:0 mba_cos_max MBA max Class of Service
12 0 eax 0 sgx1 SGX1 leaf functions
12 0 eax 1 sgx2 SGX2 leaf functions
12 0 eax 5 enclv_leaves ENCLV leaves
12 0 eax 6 encls_leaves ENCLS leaves
12 0 eax 7 enclu_everifyreport2 ENCLU leaf EVERIFYREPORT2
12 0 eax 10 encls_eupdatesvn ENCLS leaf EUPDATESVN
12 0 eax 11 sgx_edeccssa ENCLU leaf EDECCSSA
12 0 ebx 0 miscselect_exinfo SSA.MISC frame: Enclave #PF and #GP reporting
12 0 ebx 1 miscselect_cpinfo SSA.MISC frame: Enclave #CP reporting
12 0 edx 7:0 max_enclave_sz_not64 Maximum enclave size in non-64-bit mode (log2)
12 0 edx 15:8 max_enclave_sz_64 Maximum enclave size in 64-bit mode (log2)
12 1 eax 0 secs_attr_init Enclave initialized by EINIT
12 1 eax 1 secs_attr_debug Enclave permits debugger read/write
12 1 eax 2 secs_attr_mode64bit Enclave runs in 64-bit mode
12 1 eax 4 secs_attr_provisionkey Provisioning key
12 1 eax 5 secs_attr_einittoken_key EINIT token key
12 1 eax 6 secs_attr_cet CET attributes
12 1 eax 7 secs_attr_kss Key Separation and Sharing
12 1 eax 10 secs_attr_aexnotify Enclave threads: AEX notifications
12 1 ecx 0 xfrm_x87 Enclave XFRM.X87
12 1 ecx 1 xfrm_sse Enclave XFRM.SSE
12 1 ecx 2 xfrm_avx Enclave XFRM.AVX
12 1 ecx 3 xfrm_mpx_bndregs Enclave XFRM.BNDREGS (MPX BND0-BND3 registers)
12 1 ecx 4 xfrm_mpx_bndcsr Enclave XFRM.BNDCSR (MPX BNDCFGU/BNDSTATUS registers)
12 1 ecx 5 xfrm_avx512_opmask Enclave XFRM.OPMASK (AVX-512 k0-k7 registers)
12 1 ecx 6 xfrm_avx512_zmm_hi256 Enclave XFRM.ZMM_Hi256 (AVX-512 ZMM0->ZMM7/15 registers)
12 1 ecx 7 xfrm_avx512_hi16_zmm Enclave XFRM.HI16_ZMM (AVX-512 ZMM16->ZMM31 registers)
12 1 ecx 9 xfrm_pkru Enclave XFRM.PKRU (XSAVE PKRU registers)
12 1 ecx 17 xfrm_tileconfig Enclave XFRM.TILECONFIG (AMX can manage TILECONFIG)
12 1 ecx 18 xfrm_tiledata Enclave XFRM.TILEDATA (AMX can manage TILEDATA)
12 31:2 eax 3:0 subleaf_type Subleaf type
12 31:2 eax 31:12 epc_sec_base_addr_0 EPC section base address, bits[12:31]
12 31:2 ebx 19:0 epc_sec_base_addr_1 EPC section base address, bits[32:51]
12 31:2 ecx 3:0 epc_sec_type EPC section type / property encoding
12 31:2 ecx 31:12 epc_sec_size_0 EPC section size, bits[12:31]
12 31:2 edx 19:0 epc_sec_size_1 EPC section size, bits[32:51]
14 0 eax 31:0 pt_max_subleaf Maximum leaf 0x14 subleaf
14 0 ebx 0 cr3_filtering IA32_RTIT_CR3_MATCH is accessible
14 0 ebx 1 psb_cyc Configurable PSB and cycle-accurate mode
14 0 ebx 2 ip_filtering IP/TraceStop filtering; Warm-reset PT MSRs preservation
14 0 ebx 3 mtc_timing MTC timing packet; COFI-based packets suppression
14 0 ebx 4 ptwrite PTWRITE instruction
14 0 ebx 5 power_event_trace Power Event Trace
14 0 ebx 6 psb_pmi_preserve PSB and PMI preservation
14 0 ebx 7 event_trace Event Trace packet generation
14 0 ebx 8 tnt_disable TNT packet generation disable
14 0 ecx 0 topa_output ToPA output scheme
14 0 ecx 1 topa_multiple_entries ToPA tables can hold multiple entries
14 0 ecx 2 single_range_output Single-range output
14 0 ecx 3 trace_transport_output Trace Transport subsystem output
14 0 ecx 31 ip_payloads_lip IP payloads have LIP values (CS base included)
14 1 eax 2:0 num_address_ranges Number of configurable address ranges
14 1 eax 31:16 mtc_periods_bmp MTC period encodings bitmap
14 1 ebx 15:0 cycle_thresholds_bmp Cycle Threshold encodings bitmap
14 1 ebx 31:16 psb_periods_bmp Configurable PSB frequency encodings bitmap
15 0 eax 31:0 tsc_denominator Denominator of the TSC/'core crystal clock' ratio
15 0 ebx 31:0 tsc_numerator Numerator of the TSC/'core crystal clock' ratio
15 0 ecx 31:0 cpu_crystal_hz Core crystal clock nominal frequency, in Hz
16 0 eax 15:0 cpu_base_mhz Processor base frequency, in MHz
16 0 ebx 15:0 cpu_max_mhz Processor max frequency, in MHz
16 0 ecx 15:0 bus_mhz Bus reference frequency, in MHz
17 0 eax 31:0 soc_max_subleaf Maximum leaf 0x17 subleaf
17 0 ebx 15:0 soc_vendor_id SoC vendor ID
17 0 ebx 16 is_vendor_scheme Assigned by industry enumeration scheme (not Intel)
17 0 ecx 31:0 soc_proj_id SoC project ID, assigned by vendor
17 0 edx 31:0 soc_stepping_id SoC project stepping ID, assigned by vendor
17 3:1 eax 31:0 vendor_brand_a Vendor Brand ID string, bytes subleaf_nr * (0 -> 3)
17 3:1 ebx 31:0 vendor_brand_b Vendor Brand ID string, bytes subleaf_nr * (4 -> 7)
17 3:1 ecx 31:0 vendor_brand_c Vendor Brand ID string, bytes subleaf_nr * (8 -> 11)
17 3:1 edx 31:0 vendor_brand_d Vendor Brand ID string, bytes subleaf_nr * (12 -> 15)
18 31:0 eax 31:0 tlb_max_subleaf Maximum leaf 0x18 subleaf
18 31:0 ebx 0 tlb_4k_page TLB supports 4KB-page entries
18 31:0 ebx 1 tlb_2m_page TLB supports 2MB-page entries
18 31:0 ebx 2 tlb_4m_page TLB supports 4MB-page entries
18 31:0 ebx 3 tlb_1g_page TLB supports 1GB-page entries
18 31:0 ebx 10:8 hard_partitioning Partitioning between logical CPUs
18 31:0 ebx 31:16 n_way_associative Ways of associativity
18 31:0 ecx 31:0 n_sets Number of sets
18 31:0 edx 4:0 tlb_type Translation cache type (TLB type)
18 31:0 edx 7:5 tlb_cache_level Translation cache level (1-based)
18 31:0 edx 8 is_fully_associative Fully-associative
18 31:0 edx 25:14 tlb_max_addressable_ids Max number of addressable IDs - 1
19 0 eax 0 kl_cpl0_only CPL0-only key locker restriction
19 0 eax 1 kl_no_encrypt No-encrypt key locker restriction
19 0 eax 2 kl_no_decrypt No-decrypt key locker restriction
19 0 ebx 0 aes_keylocker AES key locker instructions
19 0 ebx 2 aes_keylocker_wide AES wide key locker instructions
19 0 ebx 4 kl_msr_iwkey Key locker MSRs and IWKEY backups
19 0 ecx 0 loadiwkey_no_backup LOADIWKEY NoBackup parameter
19 0 ecx 1 iwkey_rand IWKEY randomization
1a 0 eax 23:0 core_native_model This core's native model ID
1a 0 eax 31:24 core_type This core's type
1b 31:0 eax 11:0 pconfig_subleaf_type CPUID 0x1b subleaf type
1b 31:0 ebx 31:0 pconfig_target_id_x A supported PCONFIG target ID
1b 31:0 ecx 31:0 pconfig_target_id_y A supported PCONFIG target ID
1b 31:0 edx 31:0 pconfig_target_id_z A supported PCONFIG target ID
1c 0 eax 7:0 lbr_depth_mask Max LBR stack depth bitmask
1c 0 eax 30 lbr_deep_c_reset LBRs may be cleared on MWAIT C-state > C1
1c 0 eax 31 lbr_ip_is_lip LBR IP contain Last IP (otherwise effective IP)
1c 0 ebx 0 lbr_cpl CPL filtering
1c 0 ebx 1 lbr_branch_filter Branch filtering
1c 0 ebx 2 lbr_call_stack Call-stack mode
1c 0 ecx 0 lbr_mispredict Branch misprediction bit
1c 0 ecx 1 lbr_timed_lbr Timed LBRs (CPU cycles since last LBR entry)
1c 0 ecx 2 lbr_branch_type Branch type field
1c 0 ecx 19:16 lbr_events_gpc_bmp PMU-events logging support
1d 0 eax 31:0 amx_max_palette Highest palette ID / subleaf ID
1d 1 eax 15:0 amx_palette_size AMX palette total tiles size, in bytes
1d 1 eax 31:16 amx_tile_size AMX single tile's size, in bytes
1d 1 ebx 15:0 amx_tile_row_size AMX tile single row's size, in bytes
1d 1 ebx 31:16 amx_palette_nr_tiles AMX palette number of tiles
1d 1 ecx 15:0 amx_tile_nr_rows AMX tile max number of rows
1e 0 ebx 7:0 tmul_maxk TMUL unit maximum height, K (rows or columns)
1e 0 ebx 23:8 tmul_maxn TMUL unit maximum SIMD dimension, N (column bytes)
1f 5:0 eax 4:0 x2apic_id_shift Bit width of this level (previous levels inclusive)
1f 5:0 ebx 15:0 domain_lcpus_count Logical CPUs count across all instances of this domain
1f 5:0 ecx 7:0 domain_level This domain level (subleaf ID)
1f 5:0 ecx 15:8 domain_type This domain type
1f 5:0 edx 31:0 x2apic_id x2APIC ID of current logical CPU
20 0 eax 31:0 hreset_nr_subleaves CPUID 0x20 max subleaf + 1
20 0 ebx 0 hreset_thread_director Intel thread director HRESET
21 0 ebx 31:0 tdx_vendorid_0 TDX vendor ID string bytes 0 - 3
21 0 ecx 31:0 tdx_vendorid_2 TDX vendor ID string bytes 8 - 11
21 0 edx 31:0 tdx_vendorid_1 TDX vendor ID string bytes 4 - 7
23 0 eax 0 subleaf_0 Subleaf 0, this subleaf
23 0 eax 1 counters_subleaf Subleaf 1, PMU counter bitmaps
23 0 eax 2 acr_subleaf Subleaf 2, Auto Counter Reload bitmaps
23 0 eax 3 events_subleaf Subleaf 3, PMU event bitmaps
23 0 eax 4 pebs_caps_subleaf Subleaf 4, PEBS capabilities
23 0 eax 5 pebs_subleaf Subleaf 5, Arch PEBS bitmaps
23 0 ebx 0 unitmask2 IA32_PERFEVTSELx MSRs UnitMask2 bit
23 0 ebx 1 eq IA32_PERFEVTSELx MSRs EQ bit
23 0 ebx 2 rdpmc_user_disable RDPMC userspace disable
23 1 eax 31:0 gp_counters Bitmap of general-purpose PMU counters
23 1 ebx 31:0 fixed_counters Bitmap of fixed PMU counters
23 2 eax 31:0 acr_gp_reload Bitmap of general-purpose counters that can be reloaded
23 2 ebx 31:0 acr_fixed_reload Bitmap of fixed counters that can be reloaded
23 2 ecx 31:0 acr_gp_trigger Bitmap of general-purpose counters that can trigger reloads
23 2 edx 31:0 acr_fixed_trigger Bitmap of fixed counters that can trigger reloads
23 3 eax 0 core_cycles_evt Core cycles event
23 3 eax 1 insn_retired_evt Instructions retired event
23 3 eax 2 ref_cycles_evt Reference cycles event
23 3 eax 3 llc_refs_evt Last-level cache references event
23 3 eax 4 llc_misses_evt Last-level cache misses event
23 3 eax 5 br_insn_ret_evt Branch instruction retired event
23 3 eax 6 br_mispr_evt Branch mispredict retired event
23 3 eax 7 td_slots_evt Topdown slots event
23 3 eax 8 td_backend_bound_evt Topdown backend bound event
23 3 eax 9 td_bad_spec_evt Topdown bad speculation event
23 3 eax 10 td_frontend_bound_evt Topdown frontend bound event
23 3 eax 11 td_retiring_evt Topdown retiring event
23 4 ebx 3 allow_in_record ALLOW_IN_RECORD bit in MSRs
23 4 ebx 4 counters_gp Counters group sub-group general-purpose counters
23 4 ebx 5 counters_fixed Counters group sub-group fixed-function counters
23 4 ebx 6 counters_metrics Counters group sub-group performance metrics
23 4 ebx 9:8 lbr LBR group
23 4 ebx 23:16 xer XER group
23 4 ebx 29 gpr GPR group
23 4 ebx 30 aux AUX group
23 5 eax 31:0 pebs_gp Architectural PEBS general-purpose counters
23 5 ebx 31:0 pebs_pdist_gp Architectural PEBS PDIST general-purpose counters
23 5 ecx 31:0 pebs_fixed Architectural PEBS fixed counters
23 5 edx 31:0 pebs_pdist_fixed Architectural PEBS PDIST fixed counters
40000000 0 eax 31:0 max_hyp_leaf Maximum hypervisor leaf
40000000 0 ebx 31:0 hypervisor_id_0 Hypervisor ID string bytes 0 - 3
40000000 0 ecx 31:0 hypervisor_id_1 Hypervisor ID string bytes 4 - 7
40000000 0 edx 31:0 hypervisor_id_2 Hypervisor ID string bytes 8 - 11
80000000 0 eax 31:0 max_ext_leaf Maximum extended CPUID leaf
80000000 0 ebx 31:0 cpu_vendorid_0 Vendor ID string bytes 0 - 3
80000000 0 ecx 31:0 cpu_vendorid_2 Vendor ID string bytes 8 - 11
80000000 0 edx 31:0 cpu_vendorid_1 Vendor ID string bytes 4 - 7
80000001 0 eax 3:0 e_stepping_id Stepping ID
80000001 0 eax 7:4 e_base_model Base processor model
80000001 0 eax 11:8 e_base_family Base processor family
80000001 0 eax 13:12 e_base_type Base processor type (Transmeta)
80000001 0 eax 19:16 e_ext_model Extended processor model
80000001 0 eax 27:20 e_ext_family Extended processor family
80000001 0 ebx 15:0 brand_id Brand ID
80000001 0 ebx 31:28 pkg_type Package type
80000001 0 ecx 0 lahf_lm LAHF and SAHF in 64-bit mode
80000001 0 ecx 1 cmp_legacy Multi-processing legacy mode (No HT)
80000001 0 ecx 2 svm Secure Virtual Machine
80000001 0 ecx 3 extapic Extended APIC space
80000001 0 ecx 4 cr8_legacy LOCK MOV CR0 means MOV CR8
80000001 0 ecx 5 abm LZCNT advanced bit manipulation
80000001 0 ecx 6 sse4a SSE4A support
80000001 0 ecx 7 misalignsse Misaligned SSE mode
80000001 0 ecx 8 3dnowprefetch 3DNow PREFETCH/PREFETCHW support
80000001 0 ecx 9 osvw OS visible workaround
80000001 0 ecx 10 ibs Instruction based sampling
80000001 0 ecx 11 xop XOP: extended operation (AVX instructions)
80000001 0 ecx 12 skinit SKINIT/STGI support
80000001 0 ecx 13 wdt Watchdog timer support
80000001 0 ecx 15 lwp Lightweight profiling
80000001 0 ecx 16 fma4 4-operand FMA instruction
80000001 0 ecx 17 tce Translation cache extension
80000001 0 ecx 19 nodeid_msr NodeId MSR (0xc001100c)
80000001 0 ecx 21 tbm Trailing bit manipulations
80000001 0 ecx 22 topoext Topology Extensions (leaf 0x8000001d)
80000001 0 ecx 23 perfctr_core Core performance counter extensions
80000001 0 ecx 24 perfctr_nb NB/DF performance counter extensions
80000001 0 ecx 26 bpext Data access breakpoint extension
80000001 0 ecx 27 ptsc Performance time-stamp counter
80000001 0 ecx 28 perfctr_llc LLC (L3) performance counter extensions
80000001 0 ecx 29 mwaitx MWAITX/MONITORX support
80000001 0 ecx 30 addr_mask_ext Breakpoint address mask extension (to bit 31)
80000001 0 edx 0 e_fpu Floating-Point Unit on-chip (x87)
80000001 0 edx 1 e_vme Virtual-8086 Mode Extensions
80000001 0 edx 2 e_de Debugging Extensions
80000001 0 edx 3 e_pse Page Size Extension
80000001 0 edx 4 e_tsc Time Stamp Counter
80000001 0 edx 5 e_msr Model-Specific Registers (RDMSR and WRMSR support)
80000001 0 edx 6 pae Physical Address Extensions
80000001 0 edx 7 mce Machine Check Exception
80000001 0 edx 8 cx8 CMPXCHG8B instruction
80000001 0 edx 9 apic APIC on-chip
80000001 0 edx 11 syscall SYSCALL and SYSRET instructions
80000001 0 edx 12 mtrr Memory Type Range Registers
80000001 0 edx 13 pge Page Global Extensions
80000001 0 edx 14 mca Machine Check Architecture
80000001 0 edx 15 cmov Conditional Move Instruction
80000001 0 edx 16 pat Page Attribute Table
80000001 0 edx 17 pse36 Page Size Extension (36-bit)
80000001 0 edx 19 mp Out-of-spec AMD Multiprocessing bit
80000001 0 edx 20 nx No-execute page protection
80000001 0 edx 22 mmxext AMD MMX extensions
80000001 0 edx 23 e_mmx MMX instructions
80000001 0 edx 24 e_fxsr FXSAVE and FXRSTOR instructions
80000001 0 edx 25 fxsr_opt FXSAVE and FXRSTOR optimizations
80000001 0 edx 26 pdpe1gb 1-GB large page support
80000001 0 edx 27 rdtscp RDTSCP instruction
80000001 0 edx 29 lm Long mode (x86-64, 64-bit support)
80000001 0 edx 30 3dnowext AMD 3DNow extensions
80000001 0 edx 31 3dnow 3DNow instructions
80000002 0 eax 31:0 cpu_brandid_0 CPU brand ID string, bytes 0 - 3
80000002 0 ebx 31:0 cpu_brandid_1 CPU brand ID string, bytes 4 - 7
80000002 0 ecx 31:0 cpu_brandid_2 CPU brand ID string, bytes 8 - 11
80000002 0 edx 31:0 cpu_brandid_3 CPU brand ID string, bytes 12 - 15
80000003 0 eax 31:0 cpu_brandid_4 CPU brand ID string bytes, 16 - 19
80000003 0 ebx 31:0 cpu_brandid_5 CPU brand ID string bytes, 20 - 23
80000003 0 ecx 31:0 cpu_brandid_6 CPU brand ID string bytes, 24 - 27
80000003 0 edx 31:0 cpu_brandid_7 CPU brand ID string bytes, 28 - 31
80000004 0 eax 31:0 cpu_brandid_8 CPU brand ID string, bytes 32 - 35
80000004 0 ebx 31:0 cpu_brandid_9 CPU brand ID string, bytes 36 - 39
80000004 0 ecx 31:0 cpu_brandid_10 CPU brand ID string, bytes 40 - 43
80000004 0 edx 31:0 cpu_brandid_11 CPU brand ID string, bytes 44 - 47
80000005 0 eax 7:0 l1_itlb_2m_4m_nentries L1 ITLB #entries, 2M and 4M pages
80000005 0 eax 15:8 l1_itlb_2m_4m_assoc L1 ITLB associativity, 2M and 4M pages
80000005 0 eax 23:16 l1_dtlb_2m_4m_nentries L1 DTLB #entries, 2M and 4M pages
80000005 0 eax 31:24 l1_dtlb_2m_4m_assoc L1 DTLB associativity, 2M and 4M pages
80000005 0 ebx 7:0 l1_itlb_4k_nentries L1 ITLB #entries, 4K pages
80000005 0 ebx 15:8 l1_itlb_4k_assoc L1 ITLB associativity, 4K pages
80000005 0 ebx 23:16 l1_dtlb_4k_nentries L1 DTLB #entries, 4K pages
80000005 0 ebx 31:24 l1_dtlb_4k_assoc L1 DTLB associativity, 4K pages
80000005 0 ecx 7:0 l1_dcache_line_size L1 dcache line size, in bytes
80000005 0 ecx 15:8 l1_dcache_nlines L1 dcache lines per tag
80000005 0 ecx 23:16 l1_dcache_assoc L1 dcache associativity
80000005 0 ecx 31:24 l1_dcache_size_kb L1 dcache size, in KB
80000005 0 edx 7:0 l1_icache_line_size L1 icache line size, in bytes
80000005 0 edx 15:8 l1_icache_nlines L1 icache lines per tag
80000005 0 edx 23:16 l1_icache_assoc L1 icache associativity
80000005 0 edx 31:24 l1_icache_size_kb L1 icache size, in KB
80000006 0 eax 11:0 l2_itlb_2m_4m_nentries L2 iTLB #entries, 2M and 4M pages
80000006 0 eax 15:12 l2_itlb_2m_4m_assoc L2 iTLB associativity, 2M and 4M pages
80000006 0 eax 27:16 l2_dtlb_2m_4m_nentries L2 dTLB #entries, 2M and 4M pages
80000006 0 eax 31:28 l2_dtlb_2m_4m_assoc L2 dTLB associativity, 2M and 4M pages
80000006 0 ebx 11:0 l2_itlb_4k_nentries L2 iTLB #entries, 4K pages
80000006 0 ebx 15:12 l2_itlb_4k_assoc L2 iTLB associativity, 4K pages
80000006 0 ebx 27:16 l2_dtlb_4k_nentries L2 dTLB #entries, 4K pages
80000006 0 ebx 31:28 l2_dtlb_4k_assoc L2 dTLB associativity, 4K pages
80000006 0 ecx 7:0 l2_line_size L2 cache line size, in bytes
80000006 0 ecx 11:8 l2_nlines L2 cache number of lines per tag
80000006 0 ecx 15:12 l2_assoc L2 cache associativity
80000006 0 ecx 31:16 l2_size_kb L2 cache size, in KB
80000006 0 edx 7:0 l3_line_size L3 cache line size, in bytes
80000006 0 edx 11:8 l3_nlines L3 cache number of lines per tag
80000006 0 edx 15:12 l3_assoc L3 cache associativity
80000006 0 edx 31:18 l3_size_range L3 cache size range
80000007 0 ebx 0 overflow_recov MCA overflow conditions not fatal
80000007 0 ebx 1 succor Software containment of uncorrectable errors
80000007 0 ebx 2 hw_assert Hardware assert MSRs
80000007 0 ebx 3 smca Scalable MCA (MCAX MSRs)
80000007 0 ecx 31:0 cpu_pwr_sample_ratio CPU power sample time ratio
80000007 0 edx 0 digital_temp Digital temperature sensor
80000007 0 edx 1 powernow_freq_id PowerNOW! frequency scaling
80000007 0 edx 2 powernow_volt_id PowerNOW! voltage scaling
80000007 0 edx 3 thermal_trip THERMTRIP (Thermal Trip)
80000007 0 edx 4 hw_thermal_control Hardware thermal control
80000007 0 edx 5 sw_thermal_control Software thermal control
80000007 0 edx 6 100mhz_steps 100 MHz multiplier control
80000007 0 edx 7 hw_pstate Hardware P-state control
80000007 0 edx 8 constant_tsc TSC ticks at constant rate across all P and C states
80000007 0 edx 9 cpb Core performance boost
80000007 0 edx 10 eff_freq_ro Read-only effective frequency interface
80000007 0 edx 11 proc_feedback Processor feedback interface (deprecated)
80000007 0 edx 12 acc_power Processor power reporting interface
80000007 0 edx 13 connected_standby CPU Connected Standby support
80000007 0 edx 14 rapl Runtime Average Power Limit interface
80000008 0 eax 7:0 phys_addr_bits Max physical address bits
80000008 0 eax 15:8 virt_addr_bits Max virtual address bits
80000008 0 eax 23:16 guest_phys_addr_bits Max nested-paging guest physical address bits
80000008 0 ebx 0 clzero CLZERO instruction
80000008 0 ebx 1 irperf Instruction retired counter MSR
80000008 0 ebx 2 xsaveerptr XSAVE/XRSTOR always saves/restores FPU error pointers
80000008 0 ebx 3 invlpgb INVLPGB broadcasts a TLB invalidate
80000008 0 ebx 4 rdpru RDPRU (Read Processor Register at User level)
80000008 0 ebx 6 mba Memory Bandwidth Allocation (AMD bit)
80000008 0 ebx 8 mcommit MCOMMIT instruction
80000008 0 ebx 9 wbnoinvd WBNOINVD instruction
80000008 0 ebx 12 amd_ibpb Indirect Branch Prediction Barrier
80000008 0 ebx 13 wbinvd_int Interruptible WBINVD/WBNOINVD
80000008 0 ebx 14 amd_ibrs Indirect Branch Restricted Speculation
80000008 0 ebx 15 amd_stibp Single Thread Indirect Branch Prediction mode
80000008 0 ebx 16 ibrs_always_on IBRS always-on preferred
80000008 0 ebx 17 amd_stibp_always_on STIBP always-on preferred
80000008 0 ebx 18 ibrs_fast IBRS is preferred over software solution
80000008 0 ebx 19 ibrs_same_mode IBRS provides same mode protection
80000008 0 ebx 20 no_efer_lmsle Long-Mode Segment Limit Enable unsupported
80000008 0 ebx 21 tlb_flush_nested INVLPGB RAX[5] bit can be set
80000008 0 ebx 23 amd_ppin Protected Processor Inventory Number
80000008 0 ebx 24 amd_ssbd Speculative Store Bypass Disable
80000008 0 ebx 25 virt_ssbd virtualized SSBD (Speculative Store Bypass Disable)
80000008 0 ebx 26 amd_ssb_no SSBD is not needed (fixed in hardware)
80000008 0 ebx 27 cppc Collaborative Processor Performance Control
80000008 0 ebx 28 amd_psfd Predictive Store Forward Disable
80000008 0 ebx 29 btc_no CPU not affected by Branch Type Confusion
80000008 0 ebx 30 ibpb_ret IBPB clears RSB/RAS too
80000008 0 ebx 31 brs Branch Sampling
80000008 0 ecx 7:0 cpu_nthreads Number of physical threads - 1
80000008 0 ecx 15:12 apicid_coreid_len Number of thread core ID bits (shift) in APIC ID
80000008 0 ecx 17:16 perf_tsc_len Performance time-stamp counter size
80000008 0 edx 15:0 invlpgb_max_pages INVLPGB maximum page count
80000008 0 edx 31:16 rdpru_max_reg_id RDPRU max register ID (ECX input)
8000000a 0 eax 7:0 svm_version SVM revision number
8000000a 0 ebx 31:0 svm_nasid Number of address space identifiers (ASID)
8000000a 0 ecx 4 pml Page Modification Logging (PML)
8000000a 0 edx 0 npt Nested paging
8000000a 0 edx 1 lbrv LBR virtualization
8000000a 0 edx 2 svm_lock SVM lock
8000000a 0 edx 3 nrip_save NRIP save support on #VMEXIT
8000000a 0 edx 4 tsc_scale MSR-based TSC rate control
8000000a 0 edx 5 vmcb_clean VMCB clean bits support
8000000a 0 edx 6 flushbyasid Flush by ASID + Extended VMCB TLB_Control
8000000a 0 edx 7 decodeassists Decode Assists support
8000000a 0 edx 10 pausefilter Pause intercept filter
8000000a 0 edx 12 pfthreshold Pause filter threshold
8000000a 0 edx 13 avic Advanced virtual interrupt controller
8000000a 0 edx 15 v_vmsave_vmload Virtual VMSAVE/VMLOAD (nested virtualization)
8000000a 0 edx 16 vgif Virtualize the Global Interrupt Flag
8000000a 0 edx 17 gmet Guest mode execution trap
8000000a 0 edx 18 x2avic Virtual x2APIC
8000000a 0 edx 19 sss_check Supervisor Shadow Stack restrictions
8000000a 0 edx 20 v_spec_ctrl Virtual SPEC_CTRL
8000000a 0 edx 21 ro_gpt Read-Only guest page table support
8000000a 0 edx 23 h_mce_override Host MCE override
8000000a 0 edx 24 tlbsync_int TLBSYNC intercept + INVLPGB/TLBSYNC in VMCB
8000000a 0 edx 25 vnmi NMI virtualization
8000000a 0 edx 26 ibs_virt IBS Virtualization
8000000a 0 edx 27 ext_lvt_off_chg Extended LVT offset fault change
8000000a 0 edx 28 svme_addr_chk Guest SVME address check
80000019 0 eax 11:0 l1_itlb_1g_nentries L1 iTLB #entries, 1G pages
80000019 0 eax 15:12 l1_itlb_1g_assoc L1 iTLB associativity, 1G pages
80000019 0 eax 27:16 l1_dtlb_1g_nentries L1 dTLB #entries, 1G pages
80000019 0 eax 31:28 l1_dtlb_1g_assoc L1 dTLB associativity, 1G pages
80000019 0 ebx 11:0 l2_itlb_1g_nentries L2 iTLB #entries, 1G pages
80000019 0 ebx 15:12 l2_itlb_1g_assoc L2 iTLB associativity, 1G pages
80000019 0 ebx 27:16 l2_dtlb_1g_nentries L2 dTLB #entries, 1G pages
80000019 0 ebx 31:28 l2_dtlb_1g_assoc L2 dTLB associativity, 1G pages
8000001a 0 eax 0 fp_128 Internal FP/SIMD exec data path is 128-bits wide
8000001a 0 eax 1 movu_preferred SSE: MOVU* better than MOVL*/MOVH*
8000001a 0 eax 2 fp_256 Internal FP/SSE exec data path is 256-bits wide
8000001b 0 eax 0 ibs_flags IBS feature flags
8000001b 0 eax 1 ibs_fetch_sampling IBS fetch sampling
8000001b 0 eax 2 ibs_op_sampling IBS execution sampling
8000001b 0 eax 3 ibs_rdwr_op_counter IBS read/write of op counter
8000001b 0 eax 4 ibs_op_count IBS OP counting mode
8000001b 0 eax 5 ibs_branch_target IBS branch target address reporting
8000001b 0 eax 6 ibs_op_counters_ext IBS IbsOpCurCnt/IbsOpMaxCnt extend by 7 bits
8000001b 0 eax 7 ibs_rip_invalid_chk IBS invalid RIP indication
8000001b 0 eax 8 ibs_op_branch_fuse IBS fused branch micro-op indication
8000001b 0 eax 9 ibs_fetch_ctl_ext IBS Fetch Control Extended MSR
8000001b 0 eax 10 ibs_op_data_4 IBS op data 4 MSR
8000001b 0 eax 11 ibs_l3_miss_filter IBS L3-miss filtering (Zen4+)
8000001c 0 eax 0 os_lwp_avail OS: LWP is available to application programs
8000001c 0 eax 1 os_lwpval OS: LWPVAL instruction
8000001c 0 eax 2 os_lwp_ire OS: Instructions Retired Event
8000001c 0 eax 3 os_lwp_bre OS: Branch Retired Event
8000001c 0 eax 4 os_lwp_dme OS: Dcache Miss Event
8000001c 0 eax 5 os_lwp_cnh OS: CPU Clocks Not Halted event
8000001c 0 eax 6 os_lwp_rnh OS: CPU Reference clocks Not Halted event
8000001c 0 eax 29 os_lwp_cont OS: LWP sampling in continuous mode
8000001c 0 eax 30 os_lwp_ptsc OS: Performance Time Stamp Counter in event records
8000001c 0 eax 31 os_lwp_int OS: Interrupt on threshold overflow
8000001c 0 ebx 7:0 lwp_lwpcb_sz Control Block size, in quadwords
8000001c 0 ebx 15:8 lwp_event_sz Event record size, in bytes
8000001c 0 ebx 23:16 lwp_max_events Max EventID supported
8000001c 0 ebx 31:24 lwp_event_offset Control Block events area offset
8000001c 0 ecx 4:0 lwp_latency_max Cache latency counters number of bits
8000001c 0 ecx 5 lwp_data_addr Cache miss events report data cache address
8000001c 0 ecx 8:6 lwp_latency_rnd Cache latency rounding amount
8000001c 0 ecx 15:9 lwp_version LWP version
8000001c 0 ecx 23:16 lwp_buf_min_sz LWP event ring buffer min size, 32 event record units
8000001c 0 ecx 28 lwp_branch_predict Branches Retired events can be filtered
8000001c 0 ecx 29 lwp_ip_filtering IP filtering (IPI, IPF, BaseIP, and LimitIP @ LWPCP)
8000001c 0 ecx 30 lwp_cache_levels Cache-related events: filter by cache level
8000001c 0 ecx 31 lwp_cache_latency Cache-related events: filter by latency
8000001c 0 edx 0 hw_lwp_avail HW: LWP available
8000001c 0 edx 1 hw_lwpval HW: LWPVAL available
8000001c 0 edx 2 hw_lwp_ire HW: Instructions Retired Event
8000001c 0 edx 3 hw_lwp_bre HW: Branch Retired Event
8000001c 0 edx 4 hw_lwp_dme HW: Dcache Miss Event
8000001c 0 edx 5 hw_lwp_cnh HW: Clocks Not Halted event
8000001c 0 edx 6 hw_lwp_rnh HW: Reference clocks Not Halted event
8000001c 0 edx 29 hw_lwp_cont HW: LWP sampling in continuous mode
8000001c 0 edx 30 hw_lwp_ptsc HW: Performance Time Stamp Counter in event records
8000001c 0 edx 31 hw_lwp_int HW: Interrupt on threshold overflow
8000001d 31:0 eax 4:0 cache_type Cache type field
8000001d 31:0 eax 7:5 cache_level Cache level (1-based)
8000001d 31:0 eax 8 cache_self_init Self-initializing cache level
8000001d 31:0 eax 9 fully_associative Fully-associative cache
8000001d 31:0 eax 25:14 num_threads_sharing Number of logical CPUs sharing cache
8000001d 31:0 ebx 11:0 cache_linesize System coherency line size (0-based)
8000001d 31:0 ebx 21:12 cache_npartitions Physical line partitions (0-based)
8000001d 31:0 ebx 31:22 cache_nways Ways of associativity (0-based)
8000001d 31:0 ecx 30:0 cache_nsets Cache number of sets (0-based)
8000001d 31:0 edx 0 wbinvd_rll_no_guarantee WBINVD/INVD not guaranteed for Remote Lower-Level caches
8000001d 31:0 edx 1 ll_inclusive Cache is inclusive of Lower-Level caches
8000001e 0 eax 31:0 ext_apic_id Extended APIC ID
8000001e 0 ebx 7:0 core_id Unique per-socket logical core unit ID
8000001e 0 ebx 15:8 core_nthreads #Threads per core (zero-based)
8000001e 0 ecx 7:0 node_id Node (die) ID of invoking logical CPU
8000001e 0 ecx 10:8 nnodes_per_socket #nodes in invoking logical CPU's package/socket
8000001f 0 eax 0 sme Secure Memory Encryption
8000001f 0 eax 1 sev Secure Encrypted Virtualization
8000001f 0 eax 2 vm_page_flush VM Page Flush MSR
8000001f 0 eax 3 sev_es SEV Encrypted State
8000001f 0 eax 4 sev_nested_paging SEV secure nested paging
8000001f 0 eax 5 vm_permission_levels VMPL
8000001f 0 eax 6 rpmquery RPMQUERY instruction
8000001f 0 eax 7 vmpl_sss VMPL supervisor shadow stack
8000001f 0 eax 8 secure_tsc Secure TSC
8000001f 0 eax 9 v_tsc_aux Hardware virtualizes TSC_AUX
8000001f 0 eax 10 sme_coherent Cache coherency enforcement across encryption domains
8000001f 0 eax 11 req_64bit_hypervisor SEV guest mandates 64-bit hypervisor
8000001f 0 eax 12 restricted_injection Restricted Injection supported
8000001f 0 eax 13 alternate_injection Alternate Injection supported
8000001f 0 eax 14 debug_swap SEV-ES: Full debug state swap
8000001f 0 eax 15 disallow_host_ibs SEV-ES: Disallowing IBS use by the host
8000001f 0 eax 16 virt_transparent_enc Virtual Transparent Encryption
8000001f 0 eax 17 vmgexit_parameter SEV_FEATURES: VmgexitParameter
8000001f 0 eax 18 virt_tom_msr Virtual TOM MSR
8000001f 0 eax 19 virt_ibs SEV-ES guests: IBS state virtualization
8000001f 0 eax 24 vmsa_reg_protection VMSA register protection
8000001f 0 eax 25 smt_protection SMT protection
8000001f 0 eax 28 svsm_page_msr SVSM communication page MSR
8000001f 0 eax 29 nested_virt_snp_msr VIRT_RMPUPDATE/VIRT_PSMASH MSRs
8000001f 0 ebx 5:0 pte_cbit_pos PTE bit number to enable memory encryption
8000001f 0 ebx 11:6 phys_addr_reduction_nbits Reduction of phys address space in bits
8000001f 0 ebx 15:12 vmpl_count Number of VM permission levels (VMPL)
8000001f 0 ecx 31:0 enc_guests_max Max number of simultaneous encrypted guests
8000001f 0 edx 31:0 min_sev_asid_no_sev_es Minimum ASID for SEV-enabled SEV-ES-disabled guest
80000020 0 ebx 1 mba Memory Bandwidth Allocation support
80000020 0 ebx 2 smba Slow Memory Bandwidth Allocation support
80000020 0 ebx 3 bmec Bandwidth Monitoring Event Configuration support
80000020 0 ebx 4 l3rr L3 Range Reservation support
80000020 0 ebx 5 abmc Assignable Bandwidth Monitoring Counters
80000020 0 ebx 6 sdciae Smart Data Cache Injection (SDCI) Allocation Enforcement
80000020 1 eax 31:0 mba_limit_len MBA enforcement limit size
80000020 1 edx 31:0 mba_cos_max MBA max Class of Service number (zero-based)
80000020 2 eax 31:0 smba_limit_len SMBA enforcement limit size
80000020 2 edx 31:0 smba_cos_max SMBA max Class of Service number (zero-based)
80000020 3 ebx 7:0 bmec_num_events BMEC number of bandwidth events available
80000020 3 ecx 0 bmec_local_reads Local NUMA reads can be tracked
80000020 3 ecx 1 bmec_remote_reads Remote NUMA reads can be tracked
80000020 3 ecx 2 bmec_local_nontemp_wr Local NUMA non-temporal writes can be tracked
80000020 3 ecx 3 bmec_remote_nontemp_wr Remote NUMA non-temporal writes can be tracked
80000020 3 ecx 4 bmec_local_slow_mem_rd Local NUMA slow-memory reads can be tracked
80000020 3 ecx 5 bmec_remote_slow_mem_rd Remote NUMA slow-memory reads can be tracked
80000020 3 ecx 6 bmec_all_dirty_victims Dirty QoS victims to all types of memory can be tracked
80000021 0 eax 0 no_nested_data_bp No nested data breakpoints
80000021 0 eax 1 fsgs_non_serializing WRMSR to {FS,GS,KERNEL_GS}_BASE is non-serializing
80000021 0 eax 2 lfence_rdtsc LFENCE always serializing / synchronizes RDTSC
80000021 0 eax 3 smm_page_cfg_lock SMM paging configuration lock
80000021 0 eax 6 null_sel_clr_base Null selector clears base
80000021 0 eax 7 upper_addr_ignore EFER MSR Upper Address Ignore
80000021 0 eax 8 autoibrs EFER MSR Automatic IBRS
80000021 0 eax 9 no_smm_ctl_msr SMM_CTL MSR not available
80000021 0 eax 10 fsrs Fast Short REP STOSB
80000021 0 eax 11 fsrc Fast Short REP CMPSB
80000021 0 eax 13 prefetch_ctl_msr Prefetch control MSR
80000021 0 eax 16 opcode_reclaim Reserves opcode space
80000021 0 eax 17 user_cpuid_disable #GP when executing CPUID at CPL > 0
80000021 0 eax 18 epsf Enhanced Predictive Store Forwarding
80000021 0 eax 22 wl_feedback Workload-based heuristic feedback to OS
80000021 0 eax 24 eraps Enhanced Return Address Predictor Security
80000021 0 eax 27 sbpb Selective Branch Predictor Barrier
80000021 0 eax 28 ibpb_brtype Branch predictions flushed from CPU branch predictor
80000021 0 eax 29 srso_no No SRSO vulnerability
80000021 0 eax 30 srso_uk_no No SRSO at user-kernel boundary
80000021 0 eax 31 srso_msr_fix MSR BP_CFG[BpSpecReduce] SRSO mitigation
80000021 0 ebx 15:0 microcode_patch_size Microcode patch size, in 16-byte units
80000021 0 ebx 23:16 rap_size Return Address Predictor size
80000022 0 eax 0 perfmon_v2 Performance monitoring v2
80000022 0 eax 1 lbr_v2 Last Branch Record v2 extensions (LBR Stack)
80000022 0 eax 2 lbr_pmc_freeze Freezing core performance counters / LBR Stack
80000022 0 ebx 3:0 n_pmc_core Number of core performance counters
80000022 0 ebx 9:4 lbr_v2_stack_size Number of LBR stack entries
80000022 0 ebx 15:10 n_pmc_northbridge Number of northbridge performance counters
80000022 0 ebx 21:16 n_pmc_umc Number of UMC performance counters
80000022 0 ecx 31:0 active_umc_bitmask Active UMCs bitmask
80000023 0 eax 0 mem_hmk_mode MEM-HMK encryption mode
80000023 0 ebx 15:0 mem_hmk_avail_keys Total number of available encryption keys
80000026 3:0 eax 4:0 x2apic_id_shift Bit width of this level (previous levels inclusive)
80000026 3:0 eax 29 core_has_pwreff_ranking This core has a power efficiency ranking
80000026 3:0 eax 30 domain_has_hybrid_cores This domain level has hybrid (E, P) cores
80000026 3:0 eax 31 domain_core_count_asymm The 'Core' domain has asymmetric cores count
80000026 3:0 ebx 15:0 domain_lcpus_count Number of logical CPUs at this domain instance
80000026 3:0 ebx 23:16 core_pwreff_ranking This core's static power efficiency ranking
80000026 3:0 ebx 27:24 core_native_model_id This core's native model ID
80000026 3:0 ebx 31:28 core_type This core's type
80000026 3:0 ecx 7:0 domain_level This domain level (subleaf ID)
80000026 3:0 ecx 15:8 domain_type This domain type
80000026 3:0 edx 31:0 x2apic_id x2APIC ID of current logical CPU
80860000 0 eax 31:0 max_tra_leaf Maximum Transmeta leaf
80860000 0 ebx 31:0 cpu_vendorid_0 Transmeta vendor ID string bytes 0 - 3
80860000 0 ecx 31:0 cpu_vendorid_2 Transmeta vendor ID string bytes 8 - 11
80860000 0 edx 31:0 cpu_vendorid_1 Transmeta vendor ID string bytes 4 - 7
80860001 0 eax 3:0 stepping Stepping ID
80860001 0 eax 7:4 base_model Base CPU model ID
80860001 0 eax 11:8 base_family_id Base CPU family ID
80860001 0 eax 13:12 cpu_type CPU type
80860001 0 ebx 7:0 cpu_rev_mask_minor CPU revision ID, mask minor
80860001 0 ebx 15:8 cpu_rev_mask_major CPU revision ID, mask major
80860001 0 ebx 23:16 cpu_rev_minor CPU revision ID, minor
80860001 0 ebx 31:24 cpu_rev_major CPU revision ID, major
80860001 0 ecx 31:0 cpu_base_mhz CPU nominal frequency, in MHz
80860001 0 edx 0 recovery Recovery CMS is active (after bad flush)
80860001 0 edx 1 longrun LongRun power management capabilities
80860001 0 edx 3 lrti LongRun Table Interface
80860002 0 eax 31:0 cpu_rev_id CPU revision ID
80860002 0 ebx 7:0 cms_rev_mask_2 CMS revision ID, mask component 2
80860002 0 ebx 15:8 cms_rev_mask_1 CMS revision ID, mask component 1
80860002 0 ebx 23:16 cms_rev_minor CMS revision ID, minor
80860002 0 ebx 31:24 cms_rev_major CMS revision ID, major
80860002 0 ecx 31:0 cms_rev_mask_3 CMS revision ID, mask component 3
80860003 0 eax 31:0 cpu_info_0 CPU info string bytes 0 - 3
80860003 0 ebx 31:0 cpu_info_1 CPU info string bytes 4 - 7
80860003 0 ecx 31:0 cpu_info_2 CPU info string bytes 8 - 11
80860003 0 edx 31:0 cpu_info_3 CPU info string bytes 12 - 15
80860004 0 eax 31:0 cpu_info_4 CPU info string bytes 16 - 19
80860004 0 ebx 31:0 cpu_info_5 CPU info string bytes 20 - 23
80860004 0 ecx 31:0 cpu_info_6 CPU info string bytes 24 - 27
80860004 0 edx 31:0 cpu_info_7 CPU info string bytes 28 - 31
80860005 0 eax 31:0 cpu_info_8 CPU info string bytes 32 - 35
80860005 0 ebx 31:0 cpu_info_9 CPU info string bytes 36 - 39
80860005 0 ecx 31:0 cpu_info_10 CPU info string bytes 40 - 43
80860005 0 edx 31:0 cpu_info_11 CPU info string bytes 44 - 47
80860006 0 eax 31:0 cpu_info_12 CPU info string bytes 48 - 51
80860006 0 ebx 31:0 cpu_info_13 CPU info string bytes 52 - 55
80860006 0 ecx 31:0 cpu_info_14 CPU info string bytes 56 - 59
80860006 0 edx 31:0 cpu_info_15 CPU info string bytes 60 - 63
80860007 0 eax 31:0 cpu_cur_mhz Current CPU frequency, in MHz
80860007 0 ebx 31:0 cpu_cur_voltage Current CPU voltage, in millivolts
80860007 0 ecx 31:0 cpu_cur_perf_pctg Current CPU performance percentage, 0 - 100
80860007 0 edx 31:0 cpu_cur_gate_delay Current CPU gate delay, in femtoseconds
c0000000 0 eax 31:0 max_cntr_leaf Maximum Centaur/Zhaoxin leaf
c0000001 0 edx 0 ccs_sm2 CCS SM2 instructions
c0000001 0 edx 1 ccs_sm2_en CCS SM2 enabled
c0000001 0 edx 2 xstore Random Number Generator
c0000001 0 edx 3 xstore_en RNG enabled
c0000001 0 edx 4 ccs_sm3_sm4 CCS SM3 and SM4 instructions
c0000001 0 edx 5 ccs_sm3_sm4_en CCS SM3/SM4 enabled
c0000001 0 edx 6 ace Advanced Cryptography Engine
c0000001 0 edx 7 ace_en ACE enabled
c0000001 0 edx 8 ace2 Advanced Cryptography Engine v2
c0000001 0 edx 9 ace2_en ACE v2 enabled
c0000001 0 edx 10 phe PadLock Hash Engine
c0000001 0 edx 11 phe_en PHE enabled
c0000001 0 edx 12 pmm PadLock Montgomery Multiplier
c0000001 0 edx 13 pmm_en PMM enabled
c0000001 0 edx 16 parallax Parallax auto adjust processor voltage
c0000001 0 edx 17 parallax_en Parallax enabled
c0000001 0 edx 20 tm3 Thermal Monitor v3
c0000001 0 edx 21 tm3_en TM v3 enabled
c0000001 0 edx 25 phe2 PadLock Hash Engine v2 (SHA384/SHA512)
c0000001 0 edx 26 phe2_en PHE v2 enabled
c0000001 0 edx 27 rsa RSA instructions (XMODEXP/MONTMUL2)
c0000001 0 edx 28 rsa_en RSA instructions enabled
`;
