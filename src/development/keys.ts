/** Commands that a developer types into the terminal: a letter and Enter, as in Vite. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { log, logEntry } from '../log.ts'
import { isInForeground } from '../master/terminal.ts'
import { paint } from './terminal.ts'

export interface KeyActions {
  restart(): void
  quit(): void
  /** The URL of the application; undefined if none is HTTP. */
  readonly url: string | undefined
  /** Takes lines that are not a command: the application may read them. */
  pass(line: string): void
}

interface Key {
  readonly help: string
  readonly run: (actions: KeyActions) => void
}

const KEYS: Readonly<Record<string, Key>> = {
  r: { help: 'restart the application', run: (actions) => actions.restart() },
  o: { help: 'open the application in a browser', run: ({ url }) => openBrowser(url) },
  q: { help: 'quit', run: (actions) => actions.quit() },
  h: { help: 'show this help', run: ({ url }) => showHelp(url) },
}

/** The end of the first line. */
export const KEYS_HINT = 'h + Enter shows the keys'

/** Whether commands can be typed: stdin is a terminal, and this process is in its foreground. */
export function canReadKeys(): boolean {
  return process.stdin.isTTY && isInForeground()
}

/** Reads lines until the returned function is called. The terminal stays in its usual mode. */
export function readKeys(actions: KeyActions): () => void {
  const lines = createInterface({ input: process.stdin, terminal: false })
  lines.on('line', (line) => {
    const name = line.trim()
    if (Object.hasOwn(KEYS, name)) KEYS[name]!.run(actions)
    else actions.pass(line)
  })
  process.stdin.on('error', () => lines.close()) // The terminal is gone.
  return () => {
    lines.close()
    process.stdin.destroy()
  }
}

function showHelp(url: string | undefined): void {
  if (url !== undefined) log(`${paint('bold', url)}\n`)
  for (const [name, { help }] of Object.entries(KEYS)) {
    log(`  ${paint('bold', name)} + Enter  ${help}\n`)
  }
}

/** What opens a URL in the browser of this system. */
const OPENERS: Partial<Record<NodeJS.Platform, string>> = { darwin: 'open', win32: 'explorer' }

function openBrowser(url: string | undefined): void {
  if (url === undefined) {
    logEntry('There is nothing to open: no --listen address is HTTP')
    return
  }
  const program = OPENERS[process.platform] ?? 'xdg-open'
  const child = spawn(program, [url], { stdio: 'ignore', detached: true })
  child.once('error', () => logEntry(`${program} cannot be started. Open ${url} yourself`))
  child.unref()
}
