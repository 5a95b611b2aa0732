/** Whether this process has a controlling terminal. */
import { readFileSync } from 'node:fs'

/**
 * A terminal that is closed sends SIGHUP to its processes, which should then end. Without a terminal,
 * SIGHUP comes from an administrator. On a system without /proc, a descriptor decides.
 */
export function hasTerminal(): boolean {
  try {
    // proc(5): the fields after the name in parentheses are state, ppid, pgrp, session, tty_nr.
    const fields = readFileSync('/proc/self/stat', 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')
    return fields[4] !== '0'
  } catch {
    return process.stdin.isTTY || process.stderr.isTTY
  }
}
