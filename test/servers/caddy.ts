/** Caddy in front of FastCGI applications. It does not support SCGI. */
import { type Mount, scriptName, unixPath } from './mount.ts'
import { type Place, readyPath, startServer, type WebServer } from './process.ts'

export interface CaddyOptions {
  mounts?: Mount[]
  /** Directives for the site. */
  extra?: string
}

export async function startCaddy(options: CaddyOptions = {}): Promise<WebServer> {
  return startServer({
    program: 'caddy',
    configure: (place) => configure(place, options),
    args: (config) => ['run', '--config', config, '--adapter', 'caddyfile'],
  })
}

function configure({ directory, port }: Place, { mounts = [], extra = '' }: CaddyOptions): string {
  return `{
	admin off
	auto_https off
	storage file_system ${directory}
}
http://127.0.0.1:${port} {
	redir ${readyPath} / 307
	${extra}
${mounts.map(proxy).join('')}}
`
}

function proxy(mount: Mount, index: number): string {
  const { to, protocol = 'fastcgi', extra = '' } = mount
  if (protocol !== 'fastcgi') throw new Error(`Caddy is tested with FastCGI only, not ${protocol}`)
  const name = scriptName(mount)
  const socket = unixPath(to)
  const paths = name === '' ? '/*' : `${name} ${name}/*`
  return `	@app${index} path ${paths}
	reverse_proxy @app${index} ${socket === undefined ? to : `unix/${socket}`} {
		transport fastcgi {
			${name === '' ? '' : `split ${name}`}
		}
		flush_interval -1
		${extra}
	}
`
}
