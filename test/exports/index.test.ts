/** The public list of `portico`, from the side of a program that imports it. */
import { expect, test } from 'vitest'
import * as portico from '../../src/exports/index.ts'

test('every handler and what goes with it comes from the one name', () => {
  expect(Object.keys(portico)).toEqual(
    expect.arrayContaining([
      'CGIHandler',
      'FastCGIHandler',
      'HTTPHandler',
      'SCGIHandler',
      'makeServer',
      'run',
      'validator',
    ]),
  )
})
