/** CGI variables → the environment of another process: the counterpart of from-process.ts. */
import { Buffer } from 'node:buffer'

/** A program with its arguments, and the variables that it gets. */
export interface CommandWithVariables {
  readonly command: [program: string, ...args: string[]]
  readonly env: Record<string, string>
}

/**
 * A command and an environment that pass these byte strings unchanged. Node encodes an environment
 * as UTF-8, so values that are not UTF-8 are set by the printf of a shell, which then becomes the
 * program. They are written in octal: the shell interprets no byte of them.
 */
export function withBytes(
  command: readonly [program: string, ...args: string[]],
  variables: Iterable<readonly [name: string, value: string]>,
): CommandWithVariables {
  const env: Record<string, string> = {}
  const binary: string[] = []
  for (const [name, value] of variables) {
    if (isASCII(value)) {
      env[name] = value
      continue
    }
    const bytes = Buffer.from(value, 'latin1')
    const text = bytes.toString()
    if (Buffer.from(text).equals(bytes)) env[name] = text
    // With an x at the end, because command substitution removes trailing newlines.
    else binary.push(`${name}=$(printf '${octal(bytes)}x'); ${name}=\${${name}%x}; export ${name}`)
  }
  if (binary.length === 0) return { command: [...command], env }
  const script = `${binary.join('\n')}\nunset PWD OLDPWD SHLVL _\nexec "$@"`
  return { command: ['/bin/sh', '-c', script, 'sh', ...command], env }
}

/** Most values are. */
function isASCII(value: string): boolean {
  // oxlint-disable-next-line no-control-regex
  return !/[^\x00-\x7f]/.test(value)
}

function octal(bytes: Buffer): string {
  return Array.from(bytes, (byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')
}
