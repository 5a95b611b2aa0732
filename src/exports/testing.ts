/** The public list of `portico/testing`: `TestApp`, the conformance suite, a client for each gateway. */
export * from '../testing/index.ts'
export { inProcessClient, type InProcessOptions, TestApp } from '../embedded/test-app.ts'
