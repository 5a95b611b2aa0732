/**
 * The balancers of examples/deploy/ with three hosts, of which one is stopped, one unreachable and one
 * replaced under load. docs/deploy.md has the figures of the long run of the same program.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { installed } from '../servers/process.ts'

const needed = ['nginx', 'haproxy', 'redis-server', 'wrk'].map(installed)
const available = needed.every((program) => program.available)
const hint = needed.map((program) => program.hint).join('')

interface Result {
  balancer: string
  requests: number
  lost: number
  gets: number
  getsFailed: number
  posts: number
  sessionsLost: number
}

describe.skipIf(!available)(`While one of three hosts fails${hint}`, () => {
  let results: Result[]

  beforeAll(async () => {
    const flags = ['--seconds', '5', '--silence', '2', '--connections', '4', '--sessions', '3']
    const program = ['bench/deploy.mjs', ...flags, '--json']
    const { stdout } = await promisify(execFile)(process.execPath, program)
    results = (JSON.parse(stdout) as { results: Result[] }).results
  }, 120_000)

  it.each(['nginx', 'haproxy'])('no GET and no session is lost with %s', (balancer) => {
    const result = results.find((each) => each.balancer === balancer)
    expect(result).toMatchObject({ lost: 0, getsFailed: 0, sessionsLost: 0 })
    for (const count of [result!.requests, result!.gets, result!.posts]) {
      expect(count).toBeGreaterThan(10)
    }
  })
})
