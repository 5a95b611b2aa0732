/** The environment of this process → CGI variables in the environ. */
import { Buffer } from 'node:buffer'
import { nodeFs, RUNTIME } from '../runtime.ts'
import type { Environ } from '../types.ts'
import { setVariable } from './environ.ts'

/** What `process.env` has in place of bytes that are not UTF-8. */
const REPLACEMENT = '\ufffd'

/**
 * Adds the variables of the process's environment as byte strings.
 *
 * `process.env` decodes them as UTF-8. If that has replaced bytes, the value comes from the kernel's
 * copy in /proc (Linux); on other systems those bytes are lost. Deno (2.9) leaves out a variable whose
 * value is not UTF-8.
 */
export function addProcessVariables(environ: Environ): void {
  let kernel: Map<string, string> | undefined
  for (const name in process.env) {
    const value = process.env[name]!
    if (Buffer.byteLength(value) === value.length) {
      setVariable(environ, name, value) // ASCII.
      continue
    }
    const original = value.includes(REPLACEMENT)
      ? (kernel ??= readKernelEnviron()).get(name)
      : undefined
    setVariable(environ, name, original ?? Buffer.from(value).toString('latin1'))
  }
  if (RUNTIME === 'deno') addOmitted(environ)
}

function addOmitted(environ: Environ): void {
  for (const [name, value] of readKernelEnviron()) {
    const bytes = Buffer.from(value, 'latin1')
    if (bytes.toString().includes(REPLACEMENT) && !(name in environ)) {
      setVariable(environ, name, value)
    }
  }
}

function readKernelEnviron(): Map<string, string> {
  const environ = new Map<string, string>()
  try {
    for (const entry of nodeFs().readFileSync('/proc/self/environ', 'latin1').split('\0')) {
      const equals = entry.indexOf('=')
      if (equals > 0) environ.set(entry.slice(0, equals), entry.slice(equals + 1))
    }
  } catch {
    // This system has no /proc.
  }
  return environ
}
