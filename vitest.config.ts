import { defineConfig } from 'vitest/config'
import { filesOf, type Project } from './test/support/projects.ts'
import { SlowFirst } from './test/support/slow-first.ts'

function project(name: Project, options: object) {
  return { extends: true as const, test: { name, include: filesOf(name), ...options } }
}

const build = { globalSetup: ['test/support/build.ts'] }

export default defineConfig({
  test: {
    projects: [
      project('unit', { setupFiles: ['test/support/no-process.ts'], isolate: false }),
      project('gateways', build),
      project('servers', build),
      project('slow', build),
    ],
    coverage: {
      // What must be right byte by byte; test/COVERAGE.md explains the rest.
      include: ['src/protocol/**', 'src/environ/**', 'src/response/**'],
      reporter: ['text', 'html'],
    },
    // Many tests wait for a process or a timer; vitest's default, cores - 1, leaves two cores half idle.
    maxWorkers: 3,
    sequence: { sequencer: SlowFirst },
    // The first adds 33 ms to every Node start; either changes what a spawned script does.
    env: { NODE_EXTRA_CA_CERTS: '', NODE_OPTIONS: '' },
    // Shared machines stall for seconds at a time; what is really wrong fails twice.
    retry: process.env['CI'] === 'true' ? 1 : 0,
    testTimeout: 30_000,
    // To start a process can take more than the second that is usual.
    expect: { poll: { timeout: 20_000 } },
    hookTimeout: 60_000,
  },
})
