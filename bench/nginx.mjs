/** Starts nginx in front of the measured servers: one worker, no logs, all files in one directory. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { findProgram } from './common.mjs'
import { ServerProcess } from './process.mjs'

/** Debian's fastcgi_params, and PATH_INFO. */
const PARAMETERS = {
  GATEWAY_INTERFACE: 'CGI/1.1',
  QUERY_STRING: '$query_string',
  REQUEST_METHOD: '$request_method',
  CONTENT_TYPE: '$content_type',
  CONTENT_LENGTH: '$content_length',
  REQUEST_URI: '$request_uri',
  DOCUMENT_URI: '$document_uri',
  DOCUMENT_ROOT: '$document_root',
  SERVER_PROTOCOL: '$server_protocol',
  REQUEST_SCHEME: '$scheme',
  REMOTE_ADDR: '$remote_addr',
  REMOTE_PORT: '$remote_port',
  SERVER_PORT: '$server_port',
  SERVER_NAME: '$server_name',
  SERVER_ADDR: '$server_addr',
  SERVER_SOFTWARE: 'nginx/$nginx_version',
  REDIRECT_STATUS: '200',
  SCRIPT_NAME: '""',
  PATH_INFO: '$document_uri',
}

/** For SCGI, nginx sends CONTENT_LENGTH itself, as the first header. */
const { CONTENT_LENGTH: _byItself, ...rest } = PARAMETERS
const SCGI_PARAMETERS = { SCGI: '1', ...rest }

export function nginxProgram() {
  return findProgram('nginx')
}

/**
 * Starts nginx.
 *
 * @param {string} directory for its files; must exist
 * @param {{ name: string, protocol: 'fastcgi' | 'scgi' | 'uwsgi' | 'http', path: string,
 *   kept?: boolean, buffered?: boolean, parameters?: object }[]} backends each has the virtual host
 *   `name` and the Unix socket `path`; with `kept`, nginx keeps its connections alive
 * @param {{ path: string, format: string }} [accessLog]
 * @returns {Promise<{ port: number, process: ServerProcess }>}
 */
export async function startNginx(directory, backends, accessLog) {
  const port = await freePort()
  const own = join(directory, `nginx-${port}`)
  mkdirSync(own)
  const file = join(own, 'nginx.conf')
  writeFileSync(file, configuration(own, port, backends, accessLog))
  const command = [nginxProgram(), '-c', file, '-p', own, '-e', join(own, 'error.log')]
  const server = await ServerProcess.start(command, { address: port, log: join(own, 'output.log') })
  return { port, process: server }
}

/** A port of 127.0.0.1 that is free now. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

function configuration(directory, port, backends, accessLog) {
  return `
daemon off;
pid ${directory}/nginx.pid;
# The sockets belong to this user, and no other user can connect to them.
${process.getuid() === 0 ? 'user root;' : ''}
worker_processes 1;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
  ${accessLog ? `log_format own '${accessLog.format}'; access_log ${accessLog.path} own;` : 'access_log off;'}
  error_log ${directory}/error.log warn;
  ${['client_body', 'fastcgi', 'scgi', 'proxy', 'uwsgi']
    .map((name) => `${name}_temp_path ${directory}/${name};`)
    .join('\n  ')}
  client_max_body_size 0;
  client_body_buffer_size 128k;
  keepalive_requests 1000000000;
  ${backends.map(upstream).join('\n  ')}
  ${backends.map((backend, i) => virtualHost(backend, port, i === 0)).join('\n  ')}
}
`
}

function upstream({ name, path, kept = false }) {
  const keep = kept ? 'keepalive 128; keepalive_requests 1000000000;' : ''
  return `upstream ${name} { server unix:${path}; ${keep} }`
}

function virtualHost(backend, port, isFirst) {
  const { name, protocol, kept = false, buffered = true, parameters = {} } = backend
  const prefix = protocol === 'http' ? 'proxy' : protocol
  const lines = [`${prefix}_pass ${protocol === 'http' ? 'http://' : ''}${name};`]
  // Keeps responses of 64 KiB in memory, not in temporary files.
  if (buffered) lines.push(`${prefix}_buffers 16 8k;`)
  else lines.push(`${prefix}_request_buffering off;`, `${prefix}_buffering off;`)
  if (protocol === 'http') {
    lines.push(
      'proxy_set_header Host $http_host;',
      'proxy_http_version 1.1;',
      `proxy_set_header Connection "${kept ? '' : 'close'}";`,
    )
  } else {
    const own = protocol === 'scgi' ? SCGI_PARAMETERS : PARAMETERS
    for (const [parameter, value] of Object.entries({ ...own, ...parameters })) {
      lines.push(`${protocol}_param ${parameter} ${value};`)
    }
  }
  if (protocol === 'fastcgi') lines.push(`fastcgi_keep_conn ${kept ? 'on' : 'off'};`)
  return `server {
    listen 127.0.0.1:${port}${isFirst ? ' backlog=4096' : ''};
    server_name ${name};
    location / {
      ${lines.join('\n      ')}
    }
  }`
}
