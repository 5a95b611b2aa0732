/** Colours, where a terminal shows them. */
import { styleText } from 'node:util'

export type Colour = 'bold' | 'cyan' | 'dim' | 'green' | 'red' | 'yellow'

/** https://no-color.org: a variable that is not empty. Node 20's styleText checks nothing itself. */
function coloured(): boolean {
  const { NO_COLOR, FORCE_COLOR } = process.env
  if (NO_COLOR) return false
  if (FORCE_COLOR !== undefined) return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false'
  return process.stderr.isTTY && process.env['TERM'] !== 'dumb'
}

/** Whether there are colours: looked up at the first text, because that creates the stream. */
let on: boolean | undefined

/** Since Node 22.13 it checks stdout unless it is stopped; the types are those of Node 20. */
const style = styleText as (colour: Colour, text: string, options: object) => string

/** `text` in a colour if stderr is a terminal that shows colours. */
export function paint(colour: Colour, text: string): string {
  on ??= coloured()
  return on ? style(colour, text, { validateStream: false }) : text
}
