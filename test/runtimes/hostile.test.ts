/** Hostile FastCGI peers against servers in Bun and Deno. */
import { describe } from 'vitest'
import { testPeers } from '../hostile/peer-cases.ts'
import { bun, deno } from '../support/runtimes.ts'

const tested = [
  { ...bun, withoutDescriptors: 'waits' },
  { ...deno, withoutDescriptors: 'fails' },
] as const

describe.each(tested)('$name withstands hostile peers', (runtime) => {
  describe.skipIf(!runtime.available)(`over FastCGI${runtime.hint}`, () => {
    testPeers({ protocols: ['fastcgi'], ...runtime })
  })
})
