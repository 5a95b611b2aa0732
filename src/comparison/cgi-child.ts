/** Serves one request by CGI, and reports its environ: `node cgi-child.js FILE REPORT`. */
import { subscribe } from 'node:diagnostics_channel'
import { writeFileSync } from 'node:fs'
import { load } from '../application/load.ts'
import { CGIHandler } from '../../handlers/cgi.ts'
import type { Environ } from '../types.ts'
import { shownEnviron } from './shown-environ.ts'

const [, , file = '', report = ''] = process.argv

subscribe('portico:request:start', (message) => {
  const { environ } = message as { environ: Environ }
  writeFileSync(report, JSON.stringify(shownEnviron(environ)))
})
await new CGIHandler().run(await load(file))
