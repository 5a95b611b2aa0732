/**
 * The validator rejects, or warns of, each violation in these tables. They contain the checks of
 * wsgiref.validate, webtest.lint, werkzeug's LintMiddleware, Plack::Middleware::Lint and Rack::Lint,
 * except for those that docs/differences-from-wsgi.md names.
 */
import { expect, test } from 'vitest'
import { bodyRows } from './rows/body.ts'
import { environRows } from './rows/environ.ts'
import { exchangeRows } from './rows/exchange.ts'
import { gatewayRows } from './rows/gateway.ts'
import { outputRows } from './rows/output.ts'
import { responseRows } from './rows/response.ts'
import { streamRows } from './rows/streams.ts'

const rows = Object.entries({
  environ: environRows,
  startResponse: responseRows,
  order: exchangeRows,
  body: bodyRows,
  streams: streamRows,
  gateway: gatewayRows,
  output: outputRows,
}).flatMap(([subject, table]) =>
  table.map(([violation, judged, message]) => {
    const verb = message.startsWith('warning: ') ? 'warns of' : 'rejects'
    return [verb, violation, subject, judged, message] as const
  }),
)

test.each(rows)(
  'the validator %s %s (%s)',
  async (_verb, _violation, _subject, judged, message) => {
    expect(await judged()).toBe(message)
  },
)
