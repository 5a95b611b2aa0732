import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/build.ts'],
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
