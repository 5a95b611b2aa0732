/**
 * Serves the benchmark application: `node serve.mjs GATEWAY [LISTEN]`. GATEWAY is 'fastcgi', 'scgi',
 * 'http' or 'cgi' of Portico's build, or 'node' for bare `node:http`.
 */
import { readFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import { application, listener } from './application.mjs'

const [gateway, listen = ''] = process.argv.slice(2)

switch (gateway) {
  case 'fastcgi': {
    const { FastCGIHandler } = await import('../dist/handlers/fastcgi.js')
    await new FastCGIHandler({ listen }).run(application)
    break
  }
  case 'scgi': {
    const { SCGIHandler } = await import('../dist/handlers/scgi.js')
    await new SCGIHandler({ listen }).run(application)
    break
  }
  case 'http': {
    const { HTTPHandler } = await import('../dist/handlers/http.js')
    await new HTTPHandler({ listen }).run(application)
    break
  }
  case 'cgi': {
    // The parent cannot read the memory use of a process that has ended.
    process.on('exit', () => {
      const status = readFileSync('/proc/self/status', 'latin1')
      writeSync(2, status.slice(status.indexOf('VmHWM:')))
    })
    const { CGIHandler } = await import('../dist/handlers/cgi.js')
    await new CGIHandler().run(application)
    break
  }
  case 'node':
    createServer(listener).listen(listen.replace(/^unix:/, ''))
    break
  default:
    throw new Error(`Unknown gateway '${gateway}'. Use fastcgi, scgi, http, cgi or node`)
}
