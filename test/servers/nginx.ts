/** nginx in front of FastCGI, SCGI and HTTP applications, with the distribution's parameters. */
import { type Mount, quoteRegExp, scriptName } from './mount.ts'
import { type Place, readyPath, startServer, type WebServer, workerUser } from './process.ts'

export interface NginxOptions {
  mounts?: Mount[]
  /** Idle connections that nginx keeps to each application; 0: a new one for each request. */
  keepalive?: number
  /** Lines for the `server` block. */
  extra?: string
}

export async function startNginx(options: NginxOptions = {}): Promise<WebServer> {
  return startServer({
    program: 'nginx',
    configure: (place) => configure(place, options),
    // -e: until it has read its configuration it would log to the distribution's file.
    args: (config, { directory }) => [
      '-c',
      config,
      '-p',
      directory,
      '-e',
      `${directory}/error.log`,
    ],
  })
}

function configure({ directory, port }: Place, options: NginxOptions): string {
  const { mounts = [], keepalive = 8, extra = '' } = options
  return `
daemon off;
pid ${directory}/nginx.pid;
${workerUser === undefined ? '' : `user ${workerUser};`}
worker_processes 1;
events {}
http {
  access_log off;
  error_log ${directory}/error.log warn;
  ${['client_body', 'fastcgi', 'scgi', 'proxy', 'uwsgi']
    .map((name) => `${name}_temp_path ${directory}/${name}_temp;`)
    .join('\n  ')}
${mounts.map((mount, index) => upstream(mount, index, keepalive)).join('')}
  server {
    listen 127.0.0.1:${port};
    server_name localhost;
    location = ${readyPath} { return 307 /; }
${mounts.map((mount, index) => location(mount, index, keepalive)).join('')}
    ${extra}
  }
}
`
}

function upstream({ to }: Mount, index: number, keepalive: number): string {
  const keep = keepalive > 0 ? `keepalive ${keepalive};` : ''
  return `  upstream app${index} { server ${to}; ${keep} }\n`
}

function location(mount: Mount, index: number, keepalive: number): string {
  const { protocol = 'fastcgi', pathInfo = 'split', extra = '' } = mount
  const name = scriptName(mount)
  // (?s) and \z: a path may hold a line feed, %0A.
  const rest = name === '' ? '(?<rest>/.*)' : '(?<rest>|/.*)'
  const lines = { fastcgi, scgi, http }[protocol](index, keepalive)
  if (pathInfo === 'split') lines.push(...split(protocol, name, rest))
  return `
    location ~ "(?s)^${quoteRegExp(name)}${rest}\\z" {
      ${[...lines, extra].join('\n      ')}
    }
`
}

function fastcgi(index: number, keepalive: number): string[] {
  return [
    'include /etc/nginx/fastcgi_params;',
    `fastcgi_pass app${index};`,
    `fastcgi_keep_conn ${keepalive > 0 ? 'on' : 'off'};`,
  ]
}

function scgi(index: number): string[] {
  return ['include /etc/nginx/scgi_params;', `scgi_pass app${index};`]
}

function http(index: number): string[] {
  return [
    `proxy_pass http://app${index};`,
    'proxy_http_version 1.1;',
    'proxy_set_header Connection "";',
    'proxy_set_header Host $http_host;',
    'proxy_set_header X-Forwarded-For $remote_addr;',
    'proxy_set_header X-Forwarded-Proto $scheme;',
  ]
}

function split(protocol: string, name: string, rest: string): string[] {
  if (protocol === 'scgi') {
    return [`scgi_param SCRIPT_NAME "${name}";`, 'scgi_param PATH_INFO $rest;']
  }
  if (protocol === 'http') return []
  return [
    // With it $fastcgi_script_name, which fastcgi_params uses, is the first group.
    `fastcgi_split_path_info "(?s)^(${quoteRegExp(name)})${rest.replace('?<rest>', '')}\\z";`,
    'fastcgi_param PATH_INFO $fastcgi_path_info;',
  ]
}
