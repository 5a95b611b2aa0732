/** What Node needs to load a file: TypeScript natively, or else through the project's own tsx. */
import { createRequire } from 'node:module'
import { extname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { tsxText } from '../worker/explain.ts'

/** The arguments that Node needs to load a file, or one line that says why it cannot. */
export type Loader = { readonly execArgv: readonly string[] } | { readonly missing: string }

const TYPESCRIPT = /\.[cm]?ts$/

/** What Node loads as a module; a file without an extension is one, too. */
const MODULE = /^(?:\.[cm]?[jt]s)?$/

/** Node's own arguments for a file of the application, such as ['--import', 'file:///…/tsx/…']. */
export function loaderOf(file: string): Loader {
  if (!MODULE.test(extname(file)) && !(extname(file) !== '.json' && hasLoader())) {
    return {
      missing:
        `${file} is neither JavaScript nor TypeScript. An application is a .js, .mjs, .cjs, .ts, .mts or ` +
        '.cts file, or a directory that contains one; scripts are served with --cgi-bin DIR',
    }
  }
  if (!TYPESCRIPT.test(file) || stripsTypes()) return { execArgv: [] }
  try {
    const tsx = createRequire(pathToFileURL(file)).resolve('tsx')
    return { execArgv: ['--import', pathToFileURL(tsx).href] }
  } catch {
    return { missing: tsxText(file) }
  }
}

/** Whether this process has a loader, which may load other files as well. */
function hasLoader(): boolean {
  return /(?:^| )(?:--import|--require|-r|--(?:experimental-)?loader)\b/.test(ownArguments())
}

function ownArguments(): string {
  const { NODE_OPTIONS = '' } = process.env
  return `${process.execArgv.join(' ')} ${NODE_OPTIONS}`
}

/** Whether this process loads TypeScript: natively, or because tsx was imported into it. */
function stripsTypes(): boolean {
  const features = process.features as { readonly typescript?: unknown }
  return Boolean(features.typescript) || /\btsx\b/.test(ownArguments())
}
