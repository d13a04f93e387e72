import type { Process } from '../linux/process.js';
import { PAGE_SIZE } from '../linux/user-memory.js';
import { VCPU_MMAP_SIZE } from './abi.js';

/**
 * `struct kvm_run` of a vCPU: a page that kernel and process share once the process has mapped the descriptor. Mapping it
 * twice gives the same address, since memory of this simulator has one address only.
 */
export class RunPage {
  /** Where the page is, and at which offset there: the kernel's own until it is mapped, then the process's memory. */
  private view: DataView = new DataView(new ArrayBuffer(PAGE_SIZE));
  private at = 0;
  private address: number | null = null;

  /** mmap() of the vCPU. What lies beyond its three pages cannot be touched. */
  mmap(process: Process, length: number): number {
    if (this.address !== null) return this.address;
    const { memory } = process;
    const size = Math.max(length, VCPU_MMAP_SIZE);
    const address = memory.mmap(size);
    if (size > VCPU_MMAP_SIZE) memory.mprotect(address + VCPU_MMAP_SIZE, size - VCPU_MMAP_SIZE, 'none');
    const offset = address - memory.base;
    memory.bytes.set(new Uint8Array(this.view.buffer), offset);
    this.view = memory.view;
    this.at = offset;
    this.address = address;
    return address;
  }

  get8(field: number): number {
    return this.view.getUint8(this.at + field);
  }

  set8(field: number, value: number): void {
    this.view.setUint8(this.at + field, value);
  }

  set16(field: number, value: number): void {
    this.view.setUint16(this.at + field, value, true);
  }

  set32(field: number, value: number): void {
    this.view.setUint32(this.at + field, value, true);
  }

  get64(field: number): bigint {
    return this.view.getBigUint64(this.at + field, true);
  }

  set64(field: number, value: bigint): void {
    this.view.setBigUint64(this.at + field, value, true);
  }
}
