/** The types of the built package, as a program that has installed it gets them. */
import { copyFile, cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { compileConsumer, makeConsumer } from '../support/consumer.ts'

test('the public types keep their promises in a program that has installed the package', async () => {
  const folder = await makeConsumer({ noEmit: true })
  try {
    await copyFile('test/exports/public-types.ts', join(folder, 'public-types.ts'))
    await cp('examples', join(folder, 'examples'), { recursive: true })
    expect(await compileConsumer(folder)).toBe('')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
