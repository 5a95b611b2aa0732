/**
 * A process that serves the benchmark's application: `node serve.mjs GATEWAY [LISTEN]`. GATEWAY is
 * 'fastcgi', 'scgi', 'http' or 'cgi' of Portico's build, or 'node' for bare `node:http`.
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
    // Whoever started the process cannot look at its memory once it has ended.
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
    throw new Error(`There is no gateway '${gateway}'`)
}
