/** Values of flags, variables and portico.config.js, as a row of a table describes them. */
import { suggestion } from '../options/names.ts'
import { MAX_SIZE, type Kind } from '../options/row.ts'
import { quote } from '../text.ts'

/** The part of an option's row that describes its value. */
export interface ValueRow {
  readonly kind: Kind
  readonly range?: readonly [min: number, max: number]
  /** Whether 'none' lifts a limit. */
  readonly unlimited?: boolean
  readonly choices?: readonly string[]
  /** A word that is accepted in place of a number, such as 'auto'. */
  readonly word?: string
}

export type Parsed = { readonly value: unknown } | { readonly refused: string }

const TIME: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const SIZE: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }

/** Reads the text of a flag or a variable. */
export function parseValue(row: ValueRow, text: string): Parsed {
  const { kind, word, choices = [] } = row
  if (word !== undefined && text === word) return { value: word }
  const refused = (expected: string): Parsed => ({
    refused: `${quote(text)} is not accepted; it is ${expected}`,
  })
  switch (kind) {
    case 'time': {
      const [, digits = '', unit = 'ms'] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text) ?? []
      return inRange(row, text, digits === '' ? NaN : Number(digits) * TIME[unit]!, refused)
    }
    case 'bytes': {
      const [, digits = '', unit = ''] = /^(\d+)([kmg]?)(?:i?b)?$/i.exec(text) ?? []
      return inRange(row, text, digits === '' ? NaN : +digits * SIZE[unit.toLowerCase()]!, refused)
    }
    case 'count':
      return inRange(row, text, /^\d+$/.test(text) ? Number(text) : NaN, refused)
    case 'switch':
      if (text === 'true' || text === '1') return { value: true }
      if (text === 'false' || text === '0') return { value: false }
      return refused('true or false')
    case 'choice':
      if (choices.includes(text)) return { value: text }
      return refused(`one of ${choices.join(', ')}. ${suggestion(text, choices)}`)
    default:
      return text === '' && kind !== 'text' ? refused('not empty') : { value: text }
  }
}

function inRange(
  row: ValueRow,
  text: string,
  number: number,
  refused: (expected: string) => Parsed,
): Parsed {
  const { kind, range: [min, max] = [0, MAX_SIZE], unlimited, word } = row
  if (unlimited && /^(?:infinity|none)$/i.test(text)) return { value: Infinity }
  const value = kind === 'time' ? Math.round(number) : number
  if (value >= min && value <= max) return { value }
  const format = {
    time: 'a time such as 500ms, 30s, 10m or 1h',
    bytes: 'a size such as 4096, 64k or 1m',
    count: 'a whole number',
  }[kind as 'time' | 'bytes' | 'count']
  const bounds = Number.isNaN(number) ? '' : ` from ${min} to ${max}${kind === 'time' ? ' ms' : ''}`
  return refused(
    `${format}${bounds}${unlimited ? ", or 'none' for no limit" : ''}${word ? `, or '${word}'` : ''}`,
  )
}
