/** `portico init --install`: installs the files and loads them; if anything fails, it undoes all of it. */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import { difference } from './difference.ts'
import { type ConfigFile, type ServerDescription, type Site, unixPath } from './site.ts'

/** Where messages go. */
interface Output {
  out(text: string): void
  err(text: string): void
}

/**
 * Writes the files and runs the commands of `activate`. If a file is there and differs, nothing
 * happens unless `force` is set, which keeps it as FILE.bak. If a command fails, everything is as
 * before. Resolves to whether it is installed.
 *
 * @throws {ConfigurationError} if the files belong in a project, or another site gets the requests
 */
export function install(
  description: ServerDescription,
  site: Site,
  force: boolean,
  output: Output,
): boolean {
  const files = description.configure(site)
  check(description, site, files)
  const socket = unixPath(site.to)
  const made = socket === undefined || existsSync(dirname(socket)) ? undefined : dirname(socket)
  const changed = files.filter(({ path, text }) => contentOf(path) !== text)
  const others = changed.filter(({ path }) => existsSync(path))
  if (others.length > 0 && !force) {
    for (const { path, text } of others) {
      output.err(`${path} is there and differs (--force overwrites it and keeps ${path}.bak):\n`)
      output.out(difference(contentOf(path) ?? '', text))
    }
    return false
  }
  for (const { path, text, mode = 0o644 } of changed) {
    mkdirSync(dirname(path), { recursive: true })
    if (existsSync(path)) copyFileSync(path, `${path}.bak`)
    writeFileSync(path, text, { mode })
    chmodSync(path, mode)
    output.out(`wrote ${path}\n`)
  }
  const commands = description.activate(site)
  for (const command of commands) {
    output.out(`+ ${command}\n`)
    const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8' })
    if (status === 0) continue
    output.err(`${stdout}${stderr}${command}: failed with ${status ?? 'a signal'}\n`)
    undo(description, site, changed, others)
    if (made !== undefined) spawnSync('rmdir', [made], { stdio: 'ignore' })
    output.err('Nothing has been installed: everything is as it was.\n')
    if (command === commands.at(-1) && description.program !== undefined) {
      const { title, program } = description
      output.err(`If ${title} is not running, start it and try again: systemctl start ${program}\n`)
    }
    return false
  }
  return true
}

function check(
  { title, defaultSite }: ServerDescription,
  { hostname }: Site,
  files: readonly ConfigFile[],
): void {
  if (!files.every(({ path }) => path.startsWith('/'))) {
    throw new ConfigurationError(
      `--install: the files of ${title} belong in your project; use --write DIR`,
    )
  }
  if (hostname === '_' && defaultSite !== undefined && existsSync(defaultSite)) {
    throw new ConfigurationError(
      `--install: ${defaultSite} gets the requests for every host name that no site has; give this site a name (--hostname example.org, or localhost), or remove that link`,
    )
  }
}

function undo(
  description: ServerDescription,
  site: Site,
  changed: readonly ConfigFile[],
  others: readonly ConfigFile[],
): void {
  for (const command of description.deactivate?.(site) ?? []) {
    spawnSync('sh', ['-c', command], { stdio: 'ignore' })
  }
  for (const file of changed) {
    if (others.includes(file)) renameSync(`${file.path}.bak`, file.path)
    else rmSync(file.path)
  }
}

function contentOf(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}
