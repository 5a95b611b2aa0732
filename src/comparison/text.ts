/** A comparison for a terminal. */
import { styleText } from 'node:util'
import { escapeControl } from '../text.ts'
import type { Passed } from './all-gateways.ts'
import { compareGateways, type ComparedRow } from './differences.ts'

/** Characters of a body or another long value. */
const SHOWN = 200

/**
 * @param isVerbose whether to show the keys of the environ that are the same, too.
 * @returns the text, and whether the responses are the same.
 */
export function comparisonText(
  passed: readonly Passed[],
  { isTerminal, isVerbose }: { readonly isTerminal: boolean; readonly isVerbose: boolean },
): { text: string; same: boolean } {
  const { gateways, responses, environs } = compareGateways(passed)
  const coloured = isTerminal && !process.env['NO_COLOR']
  const mark = (line: string) => (coloured ? styleText('yellow', line) : line)
  const width = Math.max(...gateways.map((name) => name.length))
  const row = ({ name, values, differs }: ComparedRow): string[] => {
    if (!differs) return [`  ${name}: ${shown(values[0])}`]
    return [
      mark(`* ${name}`),
      ...values.map((value, at) => mark(`    ${gateways[at]!.padEnd(width)}  ${shown(value)}`)),
    ]
  }
  const same = responses.every(({ differs }) => !differs)
  const different = environs.filter(({ differs }) => differs)
  const times = passed.map((one) => `${one.gateway} ${one.milliseconds.toFixed(1)} ms`)
  const lines = [
    same
      ? 'Response: the same through all gateways'
      : `Response: ${isSameButName(gateways, responses) ? 'the same, except for the name of the gateway in it' : 'not the same'}`,
    ...responses.flatMap(row),
    '',
    `Environ: ${different.length} of ${environs.length} keys differ (*)${isVerbose ? '' : '; -v shows all'}`,
    ...(isVerbose ? environs : different).flatMap(row),
    '',
    times.join(', '),
  ]
  return { text: `${lines.join('\n')}\n`, same }
}

/** Whether the application shows where it runs, as `environ['portico.gateway']`, and nothing else differs. */
function isSameButName(gateways: readonly string[], responses: readonly ComparedRow[]): boolean {
  return responses.every(({ name, values }) => {
    if (name === 'content-length') return true
    const neutral = values.map((value, at) => value?.replaceAll(gateways[at]!, ''))
    return neutral.every((value) => value === neutral[0])
  })
}

function shown(value: string | undefined): string {
  if (value === undefined) return '-'
  const text = escapeControl(value).replaceAll('\n', '\\n')
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}… (${text.length} characters)` : text || "''"
}
