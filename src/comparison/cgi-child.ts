/** Serves one request by CGI, and reports its environ: `node cgi-child.js FILE REPORT`. */
import { subscribe } from 'node:diagnostics_channel'
import { writeFileSync } from 'node:fs'
import { loadHosted } from '../application/load-hosted.ts'
import { CGIHandler } from '../../handlers/cgi.ts'
import { printToLog } from '../request/printed-output.ts'
import type { Environ } from '../types.ts'
import { shownEnviron } from './shown-environ.ts'

const [, , file = '', report = ''] = process.argv

subscribe('portico:request:start', (message) => {
  const { environ } = message as { environ: Environ }
  writeFileSync(report, JSON.stringify(shownEnviron(environ)))
})
// As in a script, which imports Portico first.
printToLog()
const { application, started } = await loadHosted(file)
started({})
await new CGIHandler().run(application)
