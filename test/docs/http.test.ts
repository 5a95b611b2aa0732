/** With the nginx configuration of docs/http.md, the application sees the client's address. */
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { HTTPHandler } from '../../handlers/http.ts'
import { proxyFix } from '../../src/middleware/proxy-fix.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application } from '../../src/types.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed } from '../servers/process.ts'

const page = await readFile('docs/http.md', 'utf8')
const [, configuration = ''] = /```nginx\n([^`]*)```/.exec(page) ?? []
const [, trusted = ''] = /`run\(proxyFix\(app, \{ trusted: \['([^']*)'\] \}\)\)`/.exec(page) ?? []

const showClient: Application = (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [`${environ['REMOTE_ADDR']} ${environ['wsgi.url_scheme']} ${environ['HTTP_HOST']}`]
}

const { available, hint } = installed('nginx')

test.skipIf(!available)(
  `With the configuration of docs/http.md, the application sees the client's address, which headers cannot forge${hint}`,
  async () => {
    const app = proxyFix(showClient, { trusted: [trusted] })
    const server = await new HTTPHandler({ listen: '127.0.0.1:0' }).run(app)
    const port = server.address.kind === 'tcp' ? server.address.port : 0
    const nginx = await startNginx({ extra: configuration.replace(':8000', `:${port}`) })
    try {
      const headers: [string, string][] = [
        ['Host', 'example.org:81'],
        ['X-Forwarded-For', '192.0.2.1'],
        ['X-Forwarded-Proto', 'https'],
        ['Forwarded', 'for=192.0.2.1;proto=https'],
      ]
      const response = await httpRequest({ port: nginx.port }, { target: '/', headers })
      expect(String(response.body)).toBe('127.0.0.1 http example.org:81')
    } finally {
      await nginx.stop()
      await server.close()
    }
  },
)
