/** The first line of a script, and what keeps the kernel from running the file (execve(2)). */
import { type Buffer } from 'node:buffer'
import { statSync } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'

/** Bytes of a file that `readShebang` needs: Linux reads 256 of them. */
export const SHEBANG_BYTES = 256

/** What a file begins with. */
export type Shebang =
  /** A byte order mark is before #!. */
  | { readonly kind: 'byte order mark' }
  /** Text without #!. A shell would run it as its own script, whatever the language is. */
  | { readonly kind: 'none' }
  /** The name of the interpreter goes beyond the bytes that the kernel reads. */
  | { readonly kind: 'long' }
  /** The line ends in CRLF, so that the carriage return is part of the interpreter's name. */
  | { readonly kind: 'carriage return' }
  /** The interpreter is not an absolute path. */
  | { readonly kind: 'relative'; readonly interpreter: string }
  | { readonly kind: 'script'; readonly interpreter: string; readonly words: readonly string[] }
  /** A compiled program, or a format that the kernel may know. */
  | { readonly kind: 'binary' }

/** @param head the beginning of the file. */
export function readShebang(head: Buffer): Shebang {
  if (head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf) return { kind: 'byte order mark' }
  if (head[0] !== 0x23 || head[1] !== 0x21) return { kind: head.includes(0) ? 'binary' : 'none' }
  const text = head.toString('latin1', 2)
  const [line = ''] = text.split('\n', 1)
  if (line.endsWith('\r')) return { kind: 'carriage return' }
  const [interpreter = '', ...words] = line.trim().split(/[ \t]+/)
  // Node calls execvp(3), which runs a file in a shell if the kernel refuses it.
  if (interpreter === '') return { kind: 'none' }
  if (head.length === SHEBANG_BYTES && !/\S\s/.test(text)) return { kind: 'long' }
  if (!isAbsolute(interpreter)) return { kind: 'relative', interpreter }
  return { kind: 'script', interpreter, words }
}

/** The program that a shebang names: that of `env -S NAME=VALUE program` is looked up in `searchPath`. */
export function interpreterOf(
  { interpreter, words }: Extract<Shebang, { kind: 'script' }>,
  searchPath: string,
): { readonly name: string; readonly path: string | undefined } {
  const program = words.find((word) => !/^-|=/.test(word))
  if (!interpreter.endsWith('/env') || program === undefined) {
    return { name: interpreter, path: isFile(interpreter) ? interpreter : undefined }
  }
  return { name: program, path: findInPath(program, searchPath) }
}

/** The first file of this name in the directories of `searchPath`. */
export function findInPath(name: string, searchPath: string): string | undefined {
  if (name.includes('/')) return isFile(name) ? name : undefined
  return searchPath
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find(isFile)
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
}
