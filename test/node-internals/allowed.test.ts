/** When undocumented parts of Node may be used. */
import { expect, it } from 'vitest'
import { isAllowed } from '../../src/node-internals/allowed.ts'

const node = { node: '24.0.0', v8: '13' } as unknown as NodeJS.ProcessVersions

it.each<[where: string, versions: NodeJS.ProcessVersions, value: string | undefined, is: boolean]>([
  ['Node', node, undefined, true],
  ['Node with an empty PORTICO_NO_INTERNALS', node, '', true],
  ['Node with PORTICO_NO_INTERNALS=0', node, '0', true],
  ['Node with PORTICO_NO_INTERNALS=1', node, '1', false],
  ['Bun', { ...node, bun: '1.3.0' }, undefined, false],
  ['Deno', { ...node, deno: '2.5.0' }, undefined, false],
])('Internals are used or not in %s', (_, versions, value, is) => {
  expect(isAllowed({ versions, env: { PORTICO_NO_INTERNALS: value } })).toBe(is)
})
