/** The access log of development: a short line for each response, in colour on a terminal. */
import { accessLog } from '../middleware/access-log.ts'
import { log } from '../log.ts'
import { escapeControl } from '../text.ts'
import type { Application } from '../types.ts'
import { paint, type Colour } from './terminal.ts'

export interface AccessLine {
  readonly method: string
  readonly target: string
  /** Three digits, or '-' if there was no response. */
  readonly status: string
  readonly milliseconds: number
}

const COLOURS: Readonly<Record<string, Colour>> = {
  '2': 'green',
  '3': 'cyan',
  '4': 'yellow',
  '5': 'red',
}

export function writeLine({ method, target, status, milliseconds }: AccessLine): void {
  const time = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`
  const colour = COLOURS[status[0]!] ?? 'red'
  log(`${paint(colour, status)} ${method} ${escapeControl(target)} ${paint('dim', time)}\n`)
}

/** `accessLog` with these lines. The fields have no tabs: it escapes them. */
export function logged(application: Application): Application {
  return accessLog(application, {
    format: '%m\t%U%q\t%s\t%D',
    write: (line) => {
      const [method = '', target = '', status = '', time = ''] = line.trimEnd().split('\t')
      writeLine({ method, target, status, milliseconds: Number(time) / 1000 })
    },
  })
}
