/**
 * Large JSON files of packages. Most are tables that few requests need: two thirds of an Express
 * application are encodings. A bundle has them compressed, beside the text of the program, and parses
 * one when the program requires it. So Node reads less at each start, and V8 compiles none of them.
 */
import { deflateRawSync } from 'node:zlib'
import { packageOf } from './sources.ts'

/** Bytes. Smaller files stay in the program, because decompressing them would cost more. */
const MIN_SIZE = 8 * 1024

export class DataFiles {
  /** Each file compressed, in base64, by its path. */
  readonly #files = new Map<string, string>()

  /** A module in place of a JSON file; undefined for a file that stays in the program. */
  replace(path: string, text: string): string | undefined {
    if (text.length < MIN_SIZE || packageOf(path) === undefined) return undefined
    let compact: string
    try {
      compact = JSON.stringify(JSON.parse(text))
    } catch {
      return undefined // Invalid JSON: the bundler reports it.
    }
    this.#files.set(path, deflateRawSync(compact, { level: 9 }).toString('base64'))
    const index = [...this.#files.keys()].indexOf(path)
    return `module.exports = __portico_data(${index})`
  }

  get texts(): readonly string[] {
    return [...this.#files.values()]
  }

  get sizes(): readonly (readonly [path: string, bytes: number])[] {
    return [...this.#files].map(([path, text]) => [path, text.length])
  }
}
