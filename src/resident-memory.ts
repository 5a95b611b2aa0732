/** The resident memory of this process. */

let last = 0

/** In bytes. libuv opens a file of /proc, which fails when no descriptor is free: then as before. */
export function residentMemory(): number {
  try {
    last = process.memoryUsage.rss()
  } catch {
    // EMFILE or ENFILE.
  }
  return last
}
