/** Prints the names of tests that passed only after a retry: each may hide an intermittent fault. */
import type { Reporter, TestCase } from 'vitest/node'

export default class FlakyReporter implements Reporter {
  readonly #flaky: string[] = []

  onTestCaseResult(test: TestCase): void {
    const { flaky = false } = test.diagnostic() ?? {}
    if (flaky) this.#flaky.push(`${test.module.relativeModuleId} > ${test.fullName}`)
  }

  onTestRunEnd(): void {
    for (const name of this.#flaky) process.stdout.write(`passed only when tried again: ${name}\n`)
  }
}
