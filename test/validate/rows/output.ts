/** Applications that write to standard output, which is the response under CGI. */
import { vi } from 'vitest'
import { runApplication, app, judge, makeEnviron, OK, PLAIN, type Row } from '../harness.ts'

/** The warning for an application that writes under CGI, with standard error silenced. */
async function talking(talk: () => unknown): Promise<string> {
  const stderr = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
  try {
    const crafted = app((_environ, startResponse) => {
      talk()
      startResponse(OK, PLAIN)
      return []
    })
    return await judge(() => runApplication(crafted, makeEnviron({ 'portico.gateway': 'cgi' })))
  } finally {
    stderr.mockRestore()
  }
}

const METHODS = {
  count: () => console.count(),
  debug: () => console.debug('x'),
  dir: () => console.dir({}),
  dirxml: () => console.dirxml({}),
  group: () => console.group('x'),
  groupCollapsed: () => console.groupCollapsed('x'),
  info: () => console.info('x'),
  log: () => console.log('x'),
  table: () => console.table([1]),
  timeEnd: () => [console.time('x'), console.timeEnd('x')],
  timeLog: () => [console.time('x'), console.timeLog('x')],
}

const row = (what: string, talk: () => unknown): Row => [
  what,
  () => talking(talk),
  `warning: ${what} writes into the response under CGI; use wsgi.errors or console.error()`,
]

export const outputRows: Row[] = [
  ...Object.entries(METHODS).map(([name, talk]) => row(`console.${name}()`, talk)),
  row('process.stdout.write()', () => process.stdout.write('x')),
  row('process.stdout.end()', () => process.stdout.end('x')),
]
