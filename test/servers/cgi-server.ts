/** The servers of src/servers/cgi-servers.ts, as docs/servers/cgi-elsewhere.md starts them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cgiServers, type CgiSettings } from '../../src/servers/cgi-servers.ts'
import { serverPath, workerIds, workerUser } from './process.ts'

/** Starts a server for the documents of `root`, whose scripts are in its cgi-bin. */
export function startCgiServer(
  name: string,
  root: string,
  port: number,
): { child: ChildProcess; text: string; settings: CgiSettings } {
  const server = cgiServers.find((each) => each.name === name)!
  const settings = {
    root,
    host: '127.0.0.1',
    port,
    user: workerUser ?? 'nobody',
    socket: join(root, 'fcgiwrap.sock'),
  }
  const text = server.file?.text(settings) ?? ''
  const file = join(root, server.file?.name ?? 'unused')
  if (server.file) writeFileSync(file, text)
  const [program = '', ...words] = server.command(settings)
  const args = words.map((word) => (word === 'FILE' ? file : word))
  const child = spawn(program, args, {
    cwd: root,
    env: { PATH: `${serverPath}:/usr/sbin`, LANG: 'C.UTF-8' },
    stdio: 'ignore',
    // mini_httpd gives itself another user.
    ...(workerUser === undefined || name === 'mini_httpd' ? {} : workerIds()),
  })
  return { child, text, settings }
}
