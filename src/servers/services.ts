/** What starts the application: systemd, and scripts for CGI and mod_fcgid. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  type ConfigFile,
  lines,
  type Quirk,
  type ServerDescription,
  type Site,
  unixPath,
} from './site.ts'

/** Seconds that a supervisor waits before it kills. Portico's own limit is 8 s, `shutdownTimeout`. */
export const STOP_SECONDS = 15

/** The command's file in the package. */
const COMMAND = 'bin/portico.cjs'

/**
 * systemd removes this directory when the service stops, and gives it to the user of the service
 * alone. So it is not the directory of the web server's socket, which outlives the service.
 */
const CONTROL_DIRECTORY = 'portico-control'

export const systemd: ServerDescription = {
  name: 'systemd',
  title: 'systemd',
  gateways: ['fastcgi', 'scgi', 'http'],
  takes: [],
  runs: ({ program }) => [process.execPath, porticoOf(program), program],
  warnings: ({ program }) =>
    /^\/(?:var\/)?tmp\//.test(program)
      ? [
          `the service cannot see ${program}, because PrivateTmp gives it a /tmp of its own: move the application to a directory such as /srv`,
        ]
      : [],
  configure: (site) => [
    { path: '/etc/systemd/system/portico.socket', text: socketUnit(site) },
    { path: '/etc/systemd/system/portico.service', text: serviceUnit(site) },
  ],
  activate: () => [
    'systemd-analyze verify /etc/systemd/system/portico.service',
    'systemctl daemon-reload',
    'systemctl enable --now portico.socket',
  ],
  check: ['systemd-analyze', 'verify', '/etc/systemd/system/portico.service'],
  quirks: [
    {
      versions: 'every version',
      symptom:
        'the application cannot write files (EROFS), because of ProtectSystem and ProtectHome',
      remedy:
        '`StateDirectory=portico` gives it /var/lib/portico, the variable STATE_DIRECTORY: uploads and databases go there. Its /tmp is private, and is removed with the service',
    },
    {
      versions: 'every version',
      symptom: 'a socket does not show which protocol it is for',
      remedy: '`--gateway` names it',
    },
    {
      versions: 'every version',
      symptom:
        'a service with DynamicUser has no home directory, so that npx and nvm do not work in it',
      remedy:
        'the unit names the Node that ran `portico init` and the command in the `node_modules` of the application',
    },
    {
      versions: 'every version',
      symptom:
        'the user of the service cannot enter /root or a home directory: status 203/EXEC or 200/CHDIR',
      remedy:
        'install Node and the application elsewhere, such as /usr and /srv, and run `portico init` with that Node',
    },
    {
      versions: 'every version',
      symptom: '`systemctl stop` sends SIGTERM to the workers as well',
      remedy: '`KillMode=mixed` sends it to the master, which completes active requests',
    },
    {
      versions: 'every version',
      symptom: 'with `Restart=always` a service that has exited because it was idle starts again',
      remedy: '`Restart=on-failure`',
    },
  ],
}

function socketUnit(site: Site): string {
  const path = unixPath(site.to)
  return `# systemd holds the socket, so that requests wait while the application restarts.
[Unit]
Description=Socket of the Portico application

[Socket]
ListenStream=${escapeUnit(path ?? site.to)}
${lines(
  path !== undefined && '# The group of the web server, which needs write permission to connect.',
  path !== undefined && `SocketGroup=${site.group}`,
  path !== undefined && 'SocketMode=0660',
)}

[Install]
WantedBy=sockets.target
`
}

function serviceUnit({ gateway, program }: Site): string {
  const portico = [process.execPath, porticoOf(program)].map(escapeUnit).join(' ')
  const control = `/run/${CONTROL_DIRECTORY}/control`
  return `# The application, on every core.
[Unit]
Description=Portico application
Requires=portico.socket
After=network.target

[Service]
Type=exec
WorkingDirectory=${escapeUnit(dirname(program))}
Environment=NODE_ENV=production
ExecStart=${portico} serve ${escapeUnit(program)} --gateway ${gateway} --listen systemd --workers auto --control ${control}
ExecReload=${portico} reload ${control}
RuntimeDirectory=${CONTROL_DIRECTORY}
RuntimeDirectoryMode=0700
# A user of its own, without a home directory, that exists while the service runs.
DynamicUser=yes
# SIGTERM goes to the master alone, which completes active requests.
KillMode=mixed
TimeoutStopSec=${STOP_SECONDS}
Restart=on-failure
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
# The application may write to /var/lib/portico, which the variable STATE_DIRECTORY names, and nowhere else.
StateDirectory=portico
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
`
}

/**
 * The command: in the nearest `node_modules` of the application that has it, else the one that runs.
 * A path, because a service has no npm cache, and its PATH need not contain Node.
 */
export function porticoOf(program: string): string {
  const installed = nearest(dirname(program), join('node_modules/portico', COMMAND))
  return installed ?? nearest(import.meta.dirname, COMMAND)!
}

/** The first existing `directory/name`, from a directory up to the root. */
function nearest(directory: string, name: string): string | undefined {
  const file = join(directory, name)
  if (existsSync(file)) return file
  const parent = dirname(directory)
  return parent === directory ? undefined : nearest(parent, name)
}

/** A percent sign begins a specifier in a unit (systemd.unit(5)), and a space ends a word. */
function escapeUnit(text: string): string {
  return text.replaceAll('%', '%%').replaceAll(' ', String.raw`\x20`)
}

/** Without "type": "module" above them, scripts with other endings are CommonJS. */
const COMMONJS: ConfigFile = {
  path: 'package.json',
  text: '{ "type": "commonjs" }\n',
  suffices(present) {
    try {
      return (JSON.parse(present) as { type?: unknown }).type !== 'module'
    } catch {
      return false
    }
  },
}

export const cgi: ServerDescription = {
  name: 'cgi',
  title: 'A CGI script',
  gateways: ['cgi'],
  takes: [],
  configure: (site) => [
    {
      path: 'index.cgi',
      mode: 0o755,
      text: startScript(
        site,
        'A CGI script, which the web server starts for each request. Node must be at the path above.',
      ),
    },
    COMMONJS,
  ],
  runs: runsOfScript,
  activate: () => ['chmod 755 index.cgi', 'REQUEST_METHOD=GET PATH_INFO=/ ./index.cgi'],
  quirks: [unknownExtension('.cgi')],
}

export const fcgi: ServerDescription = {
  name: 'fcgi',
  title: 'A FastCGI program that the web server starts',
  gateways: ['fastcgi'],
  takes: [],
  configure: (site) => [
    {
      path: 'index.fcgi',
      mode: 0o755,
      text: startScript(
        site,
        'mod_fcgid, lighttpd or spawn-fcgi starts it, and passes the socket as descriptor 0.',
      ),
    },
    COMMONJS,
  ],
  runs: runsOfScript,
  activate: () => ['chmod 755 index.fcgi'],
  quirks: [unknownExtension('.fcgi')],
}

/** Below a package.json that says "type": "module", Node knows no other file extensions. */
function unknownExtension(extension: string): Quirk {
  return {
    versions: 'Node',
    symptom: `ERR_UNKNOWN_FILE_EXTENSION "${extension}"`,
    remedy: 'a package.json without `"type": "module"` is in the same directory',
  }
}

/** What the user of the web server runs. */
function runsOfScript({ program }: Site): string[] {
  return [process.execPath, program]
}

/** An absolute shebang: a web server's PATH seldom has the directory of this Node. */
function startScript({ program }: Site, comment: string): string {
  return `#!${process.execPath}
// ${comment}
// The program ends with run(app), which finds out how it was started.
import(${JSON.stringify(program)}).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
`
}
