/** What Apache's configuration says of CGI scripts. */
import { failure, type Finding, warning } from '../finding.ts'
import type { Directive } from './apache-parser.ts'

/** Address space that Node 20 needs to start, in KiB (measured). */
export const LEAST_ADDRESS_SPACE = 730_000

/** Whether a directory or a handler makes scripts of files. */
export function runsScripts(directives: readonly Directive[]): boolean {
  return directives.some(
    ({ name, args }) =>
      /^scriptalias(?:match)?$/.test(name) ||
      (/^(?:add|set)handler$/.test(name) && /^(?:cgi|fcgid)-script$/.test(args[0] ?? '')),
  )
}

export function examineScripts(
  directives: readonly Directive[],
  modules: ReadonlySet<string>,
): Finding[] {
  const named = (name: string): Directive[] => directives.filter((each) => each.name === name)
  const aliases = named('scriptalias').concat(named('scriptaliasmatch'))
  const handlers = [...named('addhandler'), ...named('sethandler')].filter(({ args }) =>
    /^(?:cgi|fcgid)-script$/.test(args[0] ?? ''),
  )
  if (aliases.length + handlers.length === 0) return []
  const findings: Finding[] = []
  const fcgid = handlers.some(({ args }) => args[0] === 'fcgid-script')
  const cgi = aliases.length > 0 || handlers.some(({ args }) => args[0] === 'cgi-script')
  if (cgi && modules.size > 0 && !modules.has('cgi') && !modules.has('cgid')) {
    findings.push(
      failure(
        'modules',
        'neither mod_cgid nor mod_cgi is loaded, so Apache sends scripts as text or refuses them',
        'a2enmod cgid && systemctl restart apache2',
      ),
    )
  }
  if (fcgid && modules.size > 0 && !modules.has('fcgid')) {
    findings.push(
      failure('modules', 'mod_fcgid is not loaded', 'a2enmod fcgid && systemctl restart apache2'),
    )
  }
  const options = named('options').flatMap(({ args }) => args.map((each) => each.toLowerCase()))
  if (handlers.length > 0 && !options.some((each) => /^\+?execcgi$/.test(each))) {
    findings.push(
      failure(
        'ExecCGI',
        'scripts have a handler, but no Options has ExecCGI: Apache responds with a 403',
        'Options +ExecCGI',
      ),
    )
  }
  if (options.some((each) => /^\+?multiviews$/.test(each))) {
    findings.push(
      warning(
        'MultiViews',
        'Options MultiViews lets /app mean app.cgi, and changes SCRIPT_NAME and PATH_INFO',
        'Options -MultiViews',
      ),
    )
  }
  for (const { args } of named('rlimitmem')) {
    const limit = Math.max(...args.map(Number).filter(Number.isFinite))
    if (limit < LEAST_ADDRESS_SPACE * 1024) {
      findings.push(
        failure(
          'limits',
          `RLimitMEM ${args.join(' ')} is below the ${LEAST_ADDRESS_SPACE} KiB of address space that Node needs`,
          'RLimitMEM max',
        ),
      )
    }
  }
  return findings
}
