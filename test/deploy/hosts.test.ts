/**
 * The balancers of examples/deploy/ with three hosts, of which one is stopped, one unreachable and one
 * replaced under load. docs/deploy.md has the figures of the long run of the same program.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { installed } from '../servers/process.ts'

const needed = ['nginx', 'haproxy', 'redis-server', 'wrk'].map(installed)
const available = needed.every((program) => program.available)
const hint = needed.map((program) => program.hint).join('')

interface Result {
  requests: number
  lost: number
  gets: number
  getsFailed: number
  posts: number
  sessionsLost: number
  /** What was lost: by wrk's kinds of errors, by status, and in the log of the balancer. */
  errors: Record<string, number>
  statuses: Record<string, number>
  losses: string[]
  timeline: string[]
}

describe.skipIf(!available)(`While one of three hosts fails${hint}`, () => {
  it.each(['nginx', 'haproxy'])(
    'no GET and no session is lost with %s',
    { timeout: 120_000 },
    async (balancer) => {
      const flags = ['--seconds', '5', '--silence', '2', '--connections', '4', '--sessions', '3']
      const program = ['bench/deploy.mjs', ...flags, '--balancer', balancer, '--json']
      const { stdout } = await promisify(execFile)(process.execPath, program)
      const [result] = (JSON.parse(stdout) as { results: [Result] }).results
      const { errors, statuses, losses, timeline } = result
      const details = JSON.stringify({ errors, statuses, losses, timeline }, null, 2)
      expect(result, details).toMatchObject({ lost: 0, getsFailed: 0, sessionsLost: 0 })
      for (const count of [result.requests, result.gets, result.posts]) {
        expect(count).toBeGreaterThan(10)
      }
    },
  )
})
