/** SPEC.md is generated from the comments of the validator. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

test('SPEC.md is what scripts/spec.mjs generates', () => {
  const script = fileURLToPath(new URL('../../scripts/spec.mjs', import.meta.url))
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})
