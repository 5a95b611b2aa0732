/** Names the tests that passed only when tried again: behind one may be a fault that shows now and then. */
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
