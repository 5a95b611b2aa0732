/** The resident memory of this process. */

let last = 0

/** In bytes. libuv opens a file of /proc. If no descriptor is free, this is the last known value. */
export function residentMemory(): number {
  try {
    last = process.memoryUsage.rss()
  } catch {
    // EMFILE or ENFILE.
  }
  return last
}
