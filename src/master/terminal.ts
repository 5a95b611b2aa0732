/** This process and its controlling terminal. */
import { readFileSync } from 'node:fs'

/**
 * A terminal that is closed sends SIGHUP to its processes, which should then end. Without a terminal,
 * SIGHUP comes from an administrator. On a system without /proc, a descriptor decides.
 */
export function hasTerminal(): boolean {
  const { tty } = readStat()
  return tty === undefined ? process.stdin.isTTY || process.stderr.isTTY : tty !== '0'
}

/**
 * Whether this process is in the foreground of its terminal. The system stops a process in the
 * background that reads from it. Without /proc it is assumed to be.
 */
export function isInForeground(): boolean {
  const { group, foreground } = readStat()
  return group === foreground
}

/** Fields of proc(5)'s `stat`: process groups, and '0' for no terminal; none without /proc. */
function readStat(): { group?: string; tty?: string; foreground?: string } {
  try {
    // After the name in parentheses come state, ppid, pgrp, session, tty_nr, tpgid.
    const [, , group, , tty, foreground] = readFileSync('/proc/self/stat', 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')
    return { group: group!, tty: tty!, foreground: foreground! }
  } catch {
    return {}
  }
}
