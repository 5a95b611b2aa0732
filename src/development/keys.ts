/** Commands that a developer types into the terminal: a letter and Enter, as in Vite. */
import { spawn } from 'node:child_process'
import { isatty } from 'node:tty'
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
  // `process.stdin` would load the streams of files before the application starts.
  return isatty(0) && isInForeground()
}

/**
 * Reads lines until the returned function is called. The terminal stays in its usual mode.
 * `node:readline` would cost the production server memory, because both are in one file.
 */
export function readKeys(actions: KeyActions): () => void {
  const { stdin } = process
  const take = (line: string): void => {
    const name = line.trim()
    if (Object.hasOwn(KEYS, name)) KEYS[name]!.run(actions)
    else actions.pass(line)
  }
  let rest = ''
  stdin.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + String(text)).split(/\r?\n/)
    rest = lines.pop()!
    for (const line of lines) take(line)
  })
  stdin.on('end', () => rest !== '' && take(rest))
  stdin.on('error', () => {}) // The terminal is gone.
  return () => stdin.destroy()
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
