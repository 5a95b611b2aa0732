/** The types of the built package, as a program that has installed it gets them. */
import { copyFile, cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { compileConsumer, makeConsumer } from '../support/consumer.ts'

test('The public types compile in a program that has installed the package', async () => {
  const directory = await makeConsumer({ noEmit: true })
  try {
    await copyFile('test/exports/public-types.ts', join(directory, 'public-types.ts'))
    await cp('examples', join(directory, 'examples'), { recursive: true })
    expect(await compileConsumer(directory)).toBe('')
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
