/** What H2O's configuration says: its applications and logs. */
import { textOf } from '../processes.ts'
import { addressOf } from '../address.ts'
import { type Backend, type Place, type Setup, timeOf } from './setup.ts'

export function readH2o({ file }: Place): Setup {
  const text = textOf(file).replaceAll(/(^|\s)#.*$/gm, '$1')
  const value = (name: string): string | undefined =>
    new RegExp(
      String.raw`^\s*${name.replaceAll('.', String.raw`\.`)}:\s*"?([^"\n]*?)"?\s*$`,
      'm',
    ).exec(text)?.[1]
  const log = value('error-log')
  const timeout = timeOf(value('fastcgi.timeout.io') ?? value('proxy.timeout.io'), 1)
  return {
    backends: [...fastcgi(text), ...proxies(text)],
    scripts: [],
    logs: log === undefined ? [] : [log],
    user: value('user'),
    findings: [],
    waits: { time: timeout ?? 30_000, line: 'fastcgi.timeout.io: MILLISECONDS' },
  }
}

function fastcgi(text: string): Backend[] {
  return [...text.matchAll(/^( *)fastcgi\.connect:(.*)\n((?:\1 +.*\n?)*)/gm)].map(
    ([, , inline = '', block = '']) => {
      const value = (name: string): string | undefined =>
        new RegExp(String.raw`^\s*${name}:\s*"?([^"\n]+?)"?\s*$`, 'm').exec(block)?.[1]
      const port = value('port') ?? inline.trim()
      const where =
        value('type') === 'unix' ? `unix:${port}` : `${value('host') ?? '127.0.0.1'}:${port}`
      return { gateway: 'fastcgi', address: addressOf(where), text: `fastcgi.connect: ${where}` }
    },
  )
}

function proxies(text: string): Backend[] {
  return [...text.matchAll(/proxy\.reverse\.url:\s*"?([^"\n]+?)"?\s*$/gm)].map(([, url = '']) => {
    const [, socket, host = ''] = /^https?:\/\/(?:\[unix:([^\]]+)\]|([^/]+))/.exec(url) ?? []
    return {
      gateway: 'http',
      address: addressOf(socket === undefined ? host : `unix:${socket}`),
      text: `proxy.reverse.url: ${url}`,
    }
  })
}
