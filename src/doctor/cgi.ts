/** Looks at this host: whether the web server can run CGI scripts with Node. */
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { findProgram } from '../servers/find.ts'
import { closedDirectory, identityOf, permits } from './access.ts'
import { failure, type Finding, ok, warning } from './finding.ts'
import { type Front, frontsHere } from './front.ts'
import { environmentOf, textOf } from './processes.ts'
import { examineLimits, examineMount, pathOf } from './script.ts'
import { findInPath } from '../cgi-bin/shebang.ts'
import { examineNode } from './shebang.ts'

/** Servers that run CGI scripts, and the configuration that makes each do so. */
const RUNS_CGI: Readonly<Record<string, string>> = {
  apache:
    'portico init apache --gateway cgi # ScriptAlias, or AddHandler cgi-script and Options +ExecCGI',
  lighttpd: 'portico init lighttpd --gateway cgi # mod_cgi and cgi.assign',
}

const MEANS: Readonly<Record<string, string>> = {
  apache: 'ScriptAlias, AddHandler cgi-script or SetHandler cgi-script',
  lighttpd: 'cgi.assign',
}

/** Options of Node that make each start slower, or that a script cannot start with. */
const COSTLY_OPTIONS =
  /--(?:require|import|loader|experimental-loader|inspect\S*|cpu-prof|prof)\b|(?:^|\s)-r\s/

/** How long Perl may take for its version, in ms. */
const PERL_TIMEOUT = 5_000

/** @param user the web server's user, if the caller knows it; otherwise the configuration says */
export function examineHost(
  user: string | undefined,
  fronts: readonly Front[] = frontsHere(),
): Finding[] {
  const front = fronts.find(({ name }) => name in RUNS_CGI) ?? fronts[0]
  return [
    ...examineServers(fronts),
    ...examineInterpreter(front),
    ...examineEnvironment(front),
    ...examineDirectories(front, user ?? front?.user),
    ...examineLimits(front),
    ...examinePerl(),
  ]
}

function examineServers(fronts: readonly Front[]): Finding[] {
  const able = fronts.filter(({ name }) => name in RUNS_CGI)
  if (able.length === 0) {
    const names = fronts.map(({ name }) => name).join(', ')
    return [
      failure(
        'web server',
        names === ''
          ? 'no web server is installed here that runs CGI scripts'
          : `${names} cannot run CGI scripts`,
        names === '' ? 'apt-get install apache2' : 'use fcgiwrap, or FastCGI: portico init nginx',
      ),
    ]
  }
  // If a web server runs, the user does not mean the others.
  const running = able.filter((front) => front.process !== undefined)
  const meant = running.length > 0 ? running : able
  const runs = meant.some(({ setup }) => setup?.runsScripts === true)
  return meant.flatMap((front) => examineServer(front, runs))
}

/** @param others whether any web server here runs scripts */
function examineServer({ name, process, file, setup }: Front, others: boolean): Finding[] {
  const findings: Finding[] = []
  findings.push(
    process === undefined
      ? warning(
          'web server',
          `${name} is installed, but does not run`,
          `systemctl start ${name === 'apache' ? 'apache2' : name}`,
        )
      : ok('web server', `${name} runs, pid ${process.pid}`),
  )
  if (file === undefined || setup === undefined) {
    findings.push(
      warning(
        'configuration',
        `the configuration of ${name} is not where it usually is`,
        'portico doctor URL finds it where the server runs',
      ),
    )
    return findings
  }
  if (setup.runsScripts === true) {
    const where = setup.scripts.join(', ') || 'files with a handler'
    findings.push(ok('configuration', `${name} runs ${where} as scripts`))
  } else if (others) {
    findings.push(ok('configuration', `${name} runs no scripts`))
  } else {
    const message = `${file} and its includes have no ${MEANS[name]}, so nothing is a CGI script`
    findings.push(failure('configuration', message, RUNS_CGI[name]))
  }
  findings.push(...setup.findings)
  if (setup.suexec !== undefined) {
    const { user, group } = setup.suexec
    findings.push(
      ok(
        'suexec',
        `scripts run as ${user}:${group}, with the PATH /usr/local/bin:/usr/bin:/bin and without SetEnv`,
      ),
    )
  }
  return findings
}

/** node in the PATH that scripts have. */
function examineInterpreter(front: Front | undefined): Finding[] {
  const searched = pathOf(front)
  const program = findInPath('node', searched)
  if (program === undefined) {
    return [
      failure(
        'node',
        `node is not in the PATH that scripts have (${searched}); #!/usr/bin/env node fails`,
        `ln -s ${process.execPath} /usr/local/bin/node`,
      ),
    ]
  }
  return [ok('PATH', `scripts find ${program}`), ...examineNode(program)]
}

/** Variables that the web server passes on to scripts, or that this user has. */
function examineEnvironment(front: Front | undefined): Finding[] {
  const { pid } = front?.process ?? {}
  const variables = pid === undefined ? process.env : environmentOf(pid)
  const whose = pid === undefined ? 'this user' : front!.name
  const findings: Finding[] = []
  if (variables['NODE_EXTRA_CA_CERTS']) {
    findings.push(
      warning(
        'NODE_EXTRA_CA_CERTS',
        `${whose} has NODE_EXTRA_CA_CERTS, which makes each start of Node slower by some 30 ms`,
        pid === undefined ? 'unset NODE_EXTRA_CA_CERTS' : 'UnsetEnv NODE_EXTRA_CA_CERTS # Apache',
      ),
    )
  }
  const options = variables['NODE_OPTIONS'] ?? ''
  if (options !== '') {
    const cost = COSTLY_OPTIONS.test(options) ? ': it loads more at each start, or fails' : ''
    findings.push(
      warning(
        'NODE_OPTIONS',
        `${whose} has NODE_OPTIONS=${options}${cost}`,
        pid === undefined ? 'unset NODE_OPTIONS' : 'UnsetEnv NODE_OPTIONS # Apache',
      ),
    )
  }
  return findings
}

/** The directories of scripts: whether the user may enter them, and whether files can run there. */
function examineDirectories(front: Front | undefined, user: string | undefined): Finding[] {
  const findings: Finding[] = []
  const identity = user === undefined ? undefined : identityOf(user)
  for (const script of front?.setup?.scripts ?? []) {
    const directory = script.endsWith('/') ? script.slice(0, -1) : script
    if (!existsSync(directory)) {
      const message = `${directory}, which the configuration names, does not exist`
      findings.push(failure('directory', message, `install -d -m 755 ${dirname(directory)}`))
      continue
    }
    findings.push(...examineMount(directory))
    if (identity === undefined || identity.uid === 0) continue
    const closed = closedDirectory(`${directory}/x`, identity)
    const stats = statSync(directory)
    if (closed !== undefined) {
      findings.push(failure('directory', `${user} cannot enter ${closed}`, `chmod o+x ${closed}`))
    } else if (stats.isDirectory() && permits(stats, identity, 2)) {
      const message = `${user} may write to ${directory}: a fault in one script can replace another`
      findings.push(warning('directory', message, `chmod go-w ${directory}`))
    } else findings.push(ok('directory', `${user} may enter ${directory}`))
  }
  return findings
}

/** Resident bundles are started by Perl, or by cgi-fcgi; without both each request starts Node. */
function examinePerl(): Finding[] {
  const program = findProgram('perl')
  if (program === undefined) {
    return [
      warning(
        'perl',
        'Perl is not installed, so a bundle of portico bundle --resident starts Node for each request',
        'apt-get install perl',
      ),
    ]
  }
  const { status, stdout } = spawnSync(program, ['-e', 'print $]'], {
    encoding: 'utf8',
    timeout: PERL_TIMEOUT,
  })
  if (status !== 0) return [warning('perl', `${program} does not run here`, `${program} -v`)]
  const selinux = textOf('/sys/fs/selinux/enforce').trim() === '1'
  return [
    ok('perl', `Perl ${stdout} can start resident bundles`),
    ...(selinux
      ? [
          warning(
            'SELinux',
            'SELinux is enforcing, and may refuse scripts what they need',
            'ausearch -m avc -ts recent',
          ),
        ]
      : []),
  ]
}
