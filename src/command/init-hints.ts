/** What `portico init` prints beside the files: what to do with them, and what would not work. */
import { existsSync, realpathSync } from 'node:fs'
import { relative } from 'node:path'
import { closedDirectory, identityOf } from '../doctor/access.ts'
import { findServer } from '../servers/find.ts'
import {
  type ConfigFile,
  DEFAULTS,
  type ServerDescription,
  type Site,
  unixPath,
} from '../servers/site.ts'

/** What to do with the files, as comments of a shell. */
export function hints(
  description: ServerDescription,
  site: Site,
  files: readonly ConfigFile[],
): string {
  const found = findServer(description)
  const lines = [
    ...(description.program === undefined
      ? []
      : [
          found
            ? `${description.title} here: ${found.path} ${found.version}`.trim()
            : `${description.title} is not installed here`,
        ]),
    `${files.length > 1 ? 'Files' : 'File'}: ${files.map(({ path }) => path).join(' ')}`,
    ...(site.mount !== '' && description.needsScriptName?.includes(site.gateway)
      ? [`the application needs scriptName: '${site.mount}'`]
      : []),
    ...(site.hostname === '_' && existsSync(description.defaultSite ?? '')
      ? [
          `${description.defaultSite} gets the requests for which no site has a name: see --hostname`,
        ]
      : []),
    ...[...description.activate(site), ...start(description, site)].map((line) => `then: ${line}`),
  ]
  return lines.map((line) => `# ${line}\n`).join('')
}

/** The command that starts the application, where neither the web server nor a supervisor does. */
export function start(description: ServerDescription, site: Site): string[] {
  const startedByServer = site.gateway === 'cgi' || description.runs !== undefined
  if (description.program === undefined || startedByServer) return []
  const file = relative(process.cwd(), site.program)
  return [
    `npx portico serve ${file.startsWith('..') ? site.program : file} --gateway ${site.gateway} --listen ${site.to}`,
  ]
}

/** A line for each thing that will not work. */
export function warnings(description: ServerDescription, site: Site): string[] {
  const own = (description.warnings?.(site) ?? []).map((text) => `# warning: ${text}\n`)
  return [...own, ...unreachable(description, site)]
}

/** A line for each path that the user of the web server, or of the service, needs and cannot reach. */
function unreachable(description: ServerDescription, site: Site): string[] {
  const identity = identityOf(site.user)
  if (identity === undefined || identity.uid === 0) return []
  const who = description.program === undefined ? 'another user' : site.user
  const socket = site.gateway === 'cgi' || description.runs ? undefined : unixPath(site.to)
  const needs: [path: string | undefined, need: string, remedy: string][] = [
    ...(description.runs?.(site) ?? (site.gateway === 'cgi' ? [site.program] : [])).map(
      (path): [string, string, string] =>
        path === process.execPath
          ? [
              path,
              'run',
              'install Node for all users, such as in /usr, and run portico init with it',
            ]
          : [path, 'run', 'move the application to a directory for all users, such as /srv'],
    ),
    [socket, 'connect to', `choose another socket: --listen ${DEFAULTS.to}`],
    [site.files?.directory, 'read', 'move the files to a directory for all users, such as /srv'],
  ]
  return needs.flatMap(([path, need, remedy]) => {
    const closed = path === undefined ? undefined : closedDirectory(realPath(path), identity)
    return closed === undefined
      ? []
      : [`# warning: ${who} cannot ${need} ${path}, because it cannot enter ${closed}: ${remedy}\n`]
  })
}

/** A line if Apache would send the application's own files to its clients. */
export function exposed(files: readonly ConfigFile[], site: Site, directory: string): string {
  if (!files.some(({ path }) => path === '.htaccess')) return ''
  const inside = !relative(directory, site.program).startsWith('..')
  return inside
    ? `# warning: clients can read every file of ${directory}, the application and its node_modules included: keep them outside, and use --write DOCUMENT_ROOT\n`
    : ''
}

function realPath(path: string): string {
  return existsSync(path) ? realpathSync(path) : path
}
