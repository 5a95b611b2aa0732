/** The commands for a master, given a path where there is no master. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { main } from '../../src/command/main.ts'
import { temporaryDirectory } from '../server/child.ts'

const directory = temporaryDirectory()
const at = (name: string) => join(directory.path, name)

const silent = createServer((socket) => socket.end())
await new Promise<void>((listening) => silent.listen(at('silent.sock'), listening))
writeFileSync(at('file'), '')
mkdirSync(at('directory'))
afterAll(() => {
  silent.close()
  directory.remove()
})

test.each(['status', 'ping', 'reload', 'stop'])(
  'portico %s says what is at a path that is not a control socket',
  async (command) => {
    const own = "For an application's own socket: portico ping fastcgi://unix:PATH"
    for (const [name, message] of [
      ['file', 'is a file, not a socket. Name the path that the master has as --control'],
      ['directory', 'is a directory, not a socket. Name the path that the master has as --control'],
      [
        'silent.sock',
        `is not a control socket: what listens there has closed the connection without a response. ${own}`,
      ],
    ] as const) {
      let err = ''
      const code = await main([command, at(name)], {
        out: () => {},
        err: (text) => void (err += text),
      })
      expect(err).toBe(`${at(name)} ${message}\n`)
      expect(code).toBe(1)
    }
  },
)
