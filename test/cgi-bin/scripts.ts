/** A directory of scripts for the tests of cgiBin. */
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll } from 'vitest'

/** A directory that is removed after the tests of the file. */
export function makeScripts(scripts: Readonly<Record<string, string | Buffer>>): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'portico-cgi-bin-')))
  chmodSync(directory, 0o755)
  for (const [name, text] of Object.entries(scripts)) addScript(directory, name, text)
  afterAll(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export function addScript(
  directory: string,
  name: string,
  text: string | Buffer,
  mode = 0o755,
): string {
  const path = join(directory, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

/** A shell script that sends a text/plain response, and then runs `commands`. */
export function sh(commands: string): string {
  return `#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n${commands}\n`
}
