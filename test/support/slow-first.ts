/** Starts the slowest files first: one that starts last would keep the whole run waiting. */
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** They take a minute or more on two cores, or would be the last to start. */
const SLOW = [
  'test/conformance/servers.test.ts',
  'test/runtimes/conformance.test.ts',
  'test/conformance/conformance.test.ts',
  'test/bridge/frameworks.test.ts',
  'test/browser/browser.test.ts',
  'test/deploy/hosts.test.ts',
  'test/docs/examples.test.ts',
  'test/environ/environ-everywhere.test.ts',
  'test/servers/init.test.ts',
  'test/forms/limits.test.ts',
  'test/hostile/memory.test.ts',
  'test/exports/published.test.ts',
]

function isSlow({ moduleId }: TestSpecification): boolean {
  return SLOW.some((name) => moduleId.endsWith(name))
}

export class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- a method of vitest's class
    const sorted = await super.sort(files)
    return [...sorted.filter(isSlow), ...sorted.filter((file) => !isSlow(file))]
  }
}
