/**
 * Fields that x86-cpuid-db v3.1 does not name, in the notation of `architecture-rows.ts`:
 * `leaf sub-leaves register bits name description`.
 *
 * Sources: Intel SDM volume 2A, CPUID; AMD APM volume 3 (24594), appendix E; AMD PPR of family 17h model 31h and of
 * family 1Ah model 44h.
 */
export const ARCHITECTURE_ADDITIONS = `
7 1 eax 30 invd_disable INVD can be locked out once firmware is done (INVD_DISABLE_POST_BIOS_DONE)
7 1 edx 17 uiret_uif UIRET takes UIF from the popped RFLAGS
d 63:2 ecx 2 xfd_faulting The component can be disabled through IA32_XFD
24 0 ebx 7:0 avx10_version AVX10 converged vector ISA version
80000008 0 ebx 10 lbr_extn LBR extensions (documented up to family 19h model 0Fh)
8000000a 0 edx 8 pmc_virt Performance counter virtualisation
8000000a 0 edx 29 bus_lock_threshold Bus lock threshold intercept
8000000a 0 edx 30 idle_hlt_intercept Idle HLT intercept
8000000a 0 edx 31 enhanced_shutdown_intercept Enhanced shutdown intercept
8000001a 0 eax 3 fp_512 Internal FP/SIMD exec data path is 512-bits wide
8000001b 0 eax 12 ibs_load_latency_filter IBS load latency filtering
8000001b 0 eax 19 ibs_updated_dtlb_stats IBS simplified DTLB page size reporting
8000001f 0 eax 20 pmc_virt_guest_ctl PMC virtualisation for SEV-ES guests
8000001f 0 eax 21 rmpread RMPREAD instruction
8000001f 0 eax 22 guest_intercept_control Guest intercept control
8000001f 0 eax 23 segmented_rmp Segmented RMP
8000001f 0 eax 26 secure_avic Secure AVIC
8000001f 0 eax 27 allowed_sev_features ALLOWED_SEV_FEATURES field of the VMCB
8000001f 0 eax 30 hv_in_use_wr_allowed Writes to hypervisor-owned pages that share a large page with guest pages
8000001f 0 eax 31 ibpb_on_entry IBPB on entry to an SEV-SNP guest
80000020 5 eax 7:0 abmc_counter_width Width of the assignable counters, as an offset to 24
80000020 5 ebx 15:0 abmc_counter_max Highest assignable counter
80000020 5 ecx 0 abmc_select_cos Counters can be assigned to a class of service
80000021 0 eax 12 pmc2_precise_retire PerfEvtSel2[PreciseRetire]
80000021 0 eax 14 l2_tlb_size_x32 L2 TLB sizes are given in units of 32
80000021 0 eax 15 amd_ermsb Enhanced REP MOVSB/STOSB, AMD's own
80000021 0 eax 19 fast_rep_scasb Fast short REP SCASB
80000021 0 eax 21 fp512_downgrade FP512 is downgraded to FP256
80000025 0 eax 5:0 rmp_segment_min_bits Smallest RMP segment, log2 of the bytes covered
80000025 0 eax 11:6 rmp_segment_max_bits Largest RMP segment, log2 of the bytes covered
80000025 0 ebx 9:0 rmp_cached_segments RMP segment definitions that the CPU can cache
80000025 0 ebx 10 rmp_cached_segments_limit The number above is a hard limit
`;
