import { describe, expect, test } from 'vitest';
import { parseCpuinfo } from '../../src/live/host.js';

const INTEL = `processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 143
model name	: Intel(R) Xeon(R) Platinum 8480+ : a colon
stepping	: 8
microcode	: 0x2b000590
cpu MHz		: 2000.000
flags		: fpu vme avx512_fp16 amx_tile
vmx flags	: vnmi preemption_timer ept_5level
bugs		: spectre_v1 spectre_v2
address sizes	: 46 bits physical, 57 bits virtual
power management:

processor	: 1
vendor_id	: GenuineIntel
stepping	: 9
`;

describe('parseCpuinfo', () => {
  const rows: readonly (readonly [what: string, text: string, fields: Record<string, string>])[] = [
    [
      'the first of several CPUs',
      INTEL,
      {
        vendor_id: 'GenuineIntel',
        family: '6',
        model: '143',
        model_name: 'Intel(R) Xeon(R) Platinum 8480+ : a colon',
        stepping: '8',
        microcode: '0x2b000590',
        flags: 'fpu vme avx512_fp16 amx_tile',
        vmx_flags: 'vnmi preemption_timer ept_5level',
        bugs: 'spectre_v1 spectre_v2',
        address_sizes: '46 bits physical, 57 bits virtual',
      },
    ],
    ['no bugs', 'vendor_id\t: CentaurHauls\nbugs\t\t:\n\n', { vendor_id: 'CentaurHauls', bugs: '' }],
    ['a vendor with spaces', 'vendor_id\t:   Shanghai  \n', { vendor_id: '  Shanghai' }],
    ['"model name" is not "model"', 'model name\t: x\n', { model_name: 'x' }],
    ['other architectures', 'Processor\t: ARMv8\nFeatures\t: fp\n', {}],
    ['nothing', '', {}],
  ];

  test.each(rows)('%s', (_, text, fields) => {
    expect(parseCpuinfo(text)).toEqual(fields);
  });
});
