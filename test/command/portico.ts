/** Starts the command as a user does: the built package's `bin`, in a directory of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { afterEach } from 'vitest'
import { temporaryDirectory } from '../server/child.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const { bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  bin: { portico: string }
}
export const BIN = join(ROOT, bin.portico)

/** Runs a program on a terminal of its own. */
export const PTY = ['python3', '-c', 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)']

/** Packages that the applications of the tests import. */
const PACKAGES = ['express', 'fastify', 'hono', '@hono/node-server', 'koa']

/** A directory with files, in which these packages and portico are installed. */
export function project(files: Readonly<Record<string, string>>): {
  readonly path: string
  readonly write: (name: string, text: string) => void
  readonly remove: () => void
} {
  const { path, remove } = temporaryDirectory()
  const write = (name: string, text: string): void => {
    mkdirSync(dirname(join(path, name)), { recursive: true })
    writeFileSync(join(path, name), text)
  }
  mkdirSync(join(path, 'node_modules/@hono'), { recursive: true })
  for (const name of PACKAGES) {
    symlinkSync(join(ROOT, 'node_modules', name), join(path, 'node_modules', name))
  }
  symlinkSync(ROOT, join(path, 'node_modules/portico'))
  for (const [name, text] of Object.entries(files)) write(name, text)
  return { path, write, remove }
}

/** Milliseconds until a test that waits for a line fails with what was printed instead. */
const PATIENCE = 25_000

export interface Portico {
  readonly child: ChildProcess
  /** Everything that was printed so far, stdout and stderr together. */
  readonly output: string
  /** Waits until the output matches, and returns the match. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  /** The URL of the first line. */
  url(): Promise<string>
  /** Resolves to the exit code, or the signal, when the output is complete. */
  readonly ended: Promise<number | NodeJS.Signals>
  /** Sends a signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<number | NodeJS.Signals>
}

/** Runs `portico ...args`; `program` runs it through another program, such as one with a terminal. */
export function portico(
  args: readonly string[],
  {
    cwd,
    env = {},
    program = [],
  }: {
    readonly cwd: string
    readonly env?: NodeJS.ProcessEnv
    readonly program?: readonly string[]
  },
): Portico {
  const [command = '', ...rest] = [...program, process.execPath, BIN, ...args]
  const child = spawn(command, rest, {
    cwd,
    env: { ...process.env, PWD: cwd, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let output = ''
  const waiting = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      for (const look of waiting) look()
    })
  }
  const ended = new Promise<number | NodeJS.Signals>((settle) =>
    child.once('close', (code, signal) => settle(code ?? signal!)),
  )
  const printed = (pattern: RegExp): Promise<RegExpExecArray> =>
    new Promise((settle, reject) => {
      const fail = (): void =>
        reject(new Error(`Nothing that was printed matches ${String(pattern)}:\n${output}`))
      const timer = setTimeout(fail, PATIENCE)
      const look = (): void => {
        const found = pattern.exec(output)
        if (found === null) return
        clearTimeout(timer)
        waiting.delete(look)
        settle(found)
      }
      waiting.add(look)
      look()
      void ended.then(fail)
    })
  return {
    child,
    get output() {
      return output
    },
    printed,
    url: async () => (await printed(/(http:\/\/\S+\/)/))[1]!,
    ended,
    stop: (signal = 'SIGINT') => {
      child.kill(signal)
      return ended
    },
  }
}

/**
 * For files whose tests make directories and start commands. After each test the signal `stop` ends
 * its commands, and its directories are removed.
 *
 * @param args the first arguments of the commands
 */
export function eachTest({
  args: first,
  stop,
}: {
  readonly args: readonly string[]
  readonly stop: NodeJS.Signals
}) {
  /** Run after the test, the last first. */
  const cleanups: (() => unknown)[] = []
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
  })
  return {
    cleanups,
    setUp(this: void, files: Readonly<Record<string, string>>): ReturnType<typeof project> {
      const directory = project(files)
      cleanups.push(() => directory.remove())
      return directory
    },
    start(this: void, ...[args, options]: Parameters<typeof portico>): Portico {
      const running = portico([...first, ...args], options)
      cleanups.push(() => running.stop(stop))
      return running
    },
  }
}

/** A page, over a connection of its own. */
export async function textOf(url: string): Promise<string> {
  const response = await fetch(url, { headers: { Connection: 'close' } })
  return response.text()
}
