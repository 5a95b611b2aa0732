/** A temporary instance of Apache httpd, around the directives of its sites. */
import { existsSync } from 'node:fs'
import type { InstanceSettings } from './site.ts'

/** Where distributions have the modules; others have links in the second. */
const MODULE_DIRECTORIES = [
  '/usr/lib/apache2/modules',
  '/usr/lib64/httpd/modules',
  '/etc/httpd/modules',
]

/** What a distribution loads before it reads the site. */
const USUAL_MODULES = [
  'mpm_event',
  'alias',
  'auth_basic',
  'authn_core',
  'authn_file',
  'authz_core',
  'authz_user',
  'dir',
  'env',
  'mime',
  'rewrite',
]

/** A LoadModule line; a module that is compiled into the server has no file. */
export function loadModule(name: string): string {
  const directory = MODULE_DIRECTORIES.find((path) => existsSync(`${path}/mod_${name}.so`))
  return directory === undefined ? '' : `LoadModule ${name}_module ${directory}/mod_${name}.so`
}

/** The whole configuration of an instance; `text` are the directives of its sites. */
export function apacheInstance(
  settings: InstanceSettings,
  extra: readonly string[],
  text: string,
): string {
  const { directory, listen, user } = settings
  const names = new Set([...USUAL_MODULES, ...extra])
  return `ServerName localhost
Listen ${listen}
${[...names].map(loadModule).join('\n')}
${user === undefined ? '' : `User ${user}\nGroup ${user}`}
PidFile ${directory}/apache2.pid
DefaultRuntimeDir ${directory}
Mutex file:${directory} default
ErrorLog ${directory}/error.log
LogLevel warn
KeepAliveTimeout 1
${extra.includes('cgid') ? `ScriptSock ${directory}/cgid.sock` : ''}
TypesConfig /etc/mime.types
StartServers 1
ServerLimit 2
ThreadsPerChild 32
MaxRequestWorkers 64
DocumentRoot "${directory}"
<Directory "/">
    AllowOverride None
    Require all denied
</Directory>
${text}
`
}
