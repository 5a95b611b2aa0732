/**
 * Milliseconds since this process started, on a clock that is never set. `performance.now()` would
 * load half a megabyte of Node's modules into the master.
 */
export function now(): number {
  return process.uptime() * 1000
}
