/** H2O, with the configuration of src/servers/h2o.ts. */
import { h2o } from '../../src/servers/h2o.ts'
import type { TestServer } from './mount.ts'

export const h2oServer: TestServer = {
  description: h2o,
  program: 'h2o',
  unused: 'http',
  redirect: (path) => `"${path}":\n  redirect:\n    status: 307\n    url: /`,
}
