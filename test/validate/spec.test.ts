/** SPEC.md is generated; a check that changes without it is found here. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

test('SPEC.md says what the comments of the validator say', () => {
  const script = fileURLToPath(new URL('../../scripts/spec.mjs', import.meta.url))
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})
