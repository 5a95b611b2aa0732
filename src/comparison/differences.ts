/** What differs between the responses and environs of several gateways. */
import type { Gateway } from '../gateways.ts'
import type { TestResponse } from '../testing/client.ts'
import type { Passed } from './all-gateways.ts'

/** One property, with its value for each gateway: undefined where it is absent. */
export interface ComparedRow {
  readonly name: string
  readonly values: readonly (string | undefined)[]
  readonly differs: boolean
}

export interface Comparison {
  readonly gateways: readonly Gateway[]
  readonly responses: readonly ComparedRow[]
  readonly environs: readonly ComparedRow[]
}

/** Headers that a server adds for the connection or for itself. */
const OF_THE_SERVER = new Set(['connection', 'date', 'keep-alive', 'server', 'transfer-encoding'])

export function compareGateways(passed: readonly Passed[]): Comparison {
  const responses = passed.map(({ response, error }) => propertiesOf(response, error))
  return {
    gateways: passed.map(({ gateway }) => gateway),
    responses: rowsOf(responses),
    environs: rowsOf(passed.map(({ environ }) => environ ?? {})),
  }
}

function rowsOf(columns: readonly Readonly<Record<string, string>>[]): ComparedRow[] {
  const names = [...new Set(columns.flatMap((column) => Object.keys(column)))]
  return names.map((name) => {
    const values = columns.map((column) => column[name])
    return { name, values, differs: values.some((value) => value !== values[0]) }
  })
}

function propertiesOf(response: TestResponse | null, error?: string): Record<string, string> {
  if (response === null) return { status: error ?? 'no response' }
  const properties: Record<string, string> = { status: response.status }
  for (const [name, value] of response.headers) {
    const key = name.toLowerCase()
    if (OF_THE_SERVER.has(key)) continue
    properties[key] = key in properties ? `${properties[key]}, ${value}` : value
  }
  properties['body'] = response.body.toString()
  if (response.broken) properties['aborted'] = 'true'
  return properties
}
