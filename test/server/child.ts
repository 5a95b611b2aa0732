/**
 * Runs a part of the sources in a process of its own, as a user would start a gateway.
 *
 * Node 20 cannot run TypeScript, so the part is bundled first.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { rolldown } from 'rolldown'

const SOURCES = resolve(import.meta.dirname, '../../src')

/** A directory for sockets and scripts, and what removes it. */
export function temporaryDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'portico-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** Bundles `source`, in which `#src/` stands for the sources, to `directory`; resolves to its path. */
export async function bundle(directory: string, name: string, source: string): Promise<string> {
  const input = join(directory, `${name}.ts`)
  writeFileSync(input, source.replaceAll('#src', SOURCES))
  const build = await rolldown({ input, platform: 'node', logLevel: 'silent' })
  const file = join(directory, `${name}.mjs`)
  await build.write({ file, format: 'esm', codeSplitting: false })
  await build.close()
  return file
}

/** Whether a process exists; a zombie does not count. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

export interface Running {
  readonly process: ChildProcess
  /** Resolves to what was printed so far once `text` is part of it. */
  printed(text: string): Promise<string>
  /** Resolves to exit code, signal and everything printed. */
  readonly ended: Promise<{ code: number | null; signal: string | null; output: string }>
}

/** Starts `command` with the given descriptors; standard output and error are read together. */
export function start(
  command: string,
  args: readonly string[],
  options: { stdio?: ('ignore' | 'pipe' | number)[]; env?: NodeJS.ProcessEnv } = {},
): Running {
  const [stdin = 'ignore', ...others] = options.stdio ?? []
  const child = spawn(command, args, {
    stdio: [stdin, 'pipe', 'pipe', ...others],
    env: { ...process.env, ...options.env },
  })
  let output = ''
  const waiting = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text
      for (const look of waiting) look()
    })
  }
  const ended = new Promise<Awaited<Running['ended']>>((resolve_) => {
    child.once('close', (code, signal) => resolve_({ code, signal, output }))
  })
  const printed = (text: string) =>
    new Promise<string>((resolve_, reject) => {
      const look = () => {
        if (output.includes(text)) resolve_(output)
      }
      waiting.add(look)
      look()
      void ended.then(() => reject(new Error(`ended without printing '${text}': ${output}`)))
    })
  return { process: child, printed, ended }
}
