/** `keepFreedMemory`: makes request bodies cheaper, by a setting of the C library. */
import { Buffer } from 'node:buffer'

/** The library keeps up to twice as much. Bodies between two garbage collections fit in that. */
const BLOCK = 15 * 1024 * 1024

let done = false

/**
 * Lets the process keep memory that is freed at the top of its heap.
 *
 * glibc returns more than 128 KiB of it to the system at once. A garbage collection frees the
 * Buffers of hundreds of bodies, and the next bodies need new pages: up to 15 page faults for each
 * 64 KiB, which cost more than everything else about such a request. When glibc frees a block that
 * it got by mmap, it keeps twice the size of that block from then on (mallopt(3), M_MMAP_THRESHOLD).
 * The block is never touched, so it is not resident. Other C libraries ignore this.
 */
export function keepFreedMemory(): void {
  if (done) return
  done = true
  Buffer.allocUnsafeSlow(BLOCK) // The next collection frees it.
}
