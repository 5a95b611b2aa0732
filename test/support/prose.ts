/** Finds words that CONTRIBUTING's glossary replaces, and some phrases, in comments, messages, titles and pages. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** A word or phrase to replace: where it was found, and what to write instead. */
export interface Finding {
  readonly at: string
  readonly found: string
  readonly use: string
}

// The table that names the words.
const GLOSSARY_TABLE = /^\| use \| not \|(?:\n\|.*)+/gm

// What a program can stand behind in the ordinary sense.
const IN_FRONT =
  'nginx|Apache|httpd|lighttpd|HAProxy|Caddy|H2O|IIS|mod_\\w+|uWSGI|prox(?:y|ies)|servers?|' +
  'gateways?|balancers?|firewalls?|CDN|NAT'
const GAP = '[\\s*#/`]+'

const GLOSSARY: readonly (readonly [words: string, use: string])[] = [
  ['answer(?:s|ed|ing)?', 'response, respond, status line'],
  ['pieces?', 'chunk, request body, response body'],
  [`behind(?!${GAP}(?:[\\w-]+${GAP}){0,4}?(?:${IN_FRONT})\\b)`, 'after, past, beyond'],
  ['tell(?:s|ing)?|told', 'log, report'],
  ['whoever|somebody|nobody', 'anyone, no one, the caller, the peer, the client'],
  ['save (?:for|where|when|if|in)|but for', 'except, unless, apart from'],
  ['mend(?:s|ed|ing)?', 'fix, correct'],
  ['dear(?:er|est)?', 'expensive, slow'],
  ['folders?', 'directory'],
  // "In place" and "takes place" are ordinary English.
  ['(?<!\\b(?:in|one|its|takes?|took|decimal) )places?(?! of\\b)', 'path, address'],
  ['layers?', 'middleware'],
  ['kept connections?', 'kept-alive connection, idle connection'],
  [
    '(?:br[eo]aks?|broken?|breaking|cut(?:s|ting)?)(?: \\w+)? off',
    'truncated, incomplete, aborted',
  ],
  ['(?:is|are|was|were) none|of (?:ours|mine|yours|theirs)', 'not a …, unknown, not supported'],
  ['lest', 'so that, because'],
]

/** Phrases that are translated from another language, or have a plainer form. */
const PHRASES: typeof GLOSSARY = [
  ['for ever', 'forever'],
  ["one['’]s own", 'custom, your own'],
  ['anew', 'again'],
  ['at the (?:most|least)', 'at most, at least'],
  ['(?:comes?|came) twice', 'appears twice, is repeated'],
  ['let(?:s|ting)? go of', 'release'],
  ['nothing but', 'only'],
  ['thrown? away|throws away', 'discard'],
  ['(?:two|second) readings?', 'ambiguous'],
  ['inside of', 'inside'],
  // A connection that changes its process is handed over; text and control are passed.
  ['hand(?:s|ed|ing)? (?:\\w+ )?on(?= (?:the|a|an|to|it|its|what|all|each|every)\\b)', 'pass on'],
  [
    'hand(?:s|ed|ing)? over (?:control|text|bytes|chunks|errors?|arguments?|options?|values?)',
    'pass',
  ],
  ['blanks', 'spaces'],
  ['(?<!\\bthere )is no (?!longer|more|less)(?=\\w)', 'is not a'],
  ['(?:go|goes|went|gone|going) away', 'disconnect, end, disappear'],
]

const PATTERNS = [...GLOSSARY, ...PHRASES].map(([words, use]) => ({
  pattern: new RegExp(`\\b(?:${words})\\b`, 'gi'),
  use,
}))

/** Every finding in a file, or in all files of a directory. */
export function findings(path: string): Finding[] {
  if (statSync(path).isDirectory()) {
    return readdirSync(path)
      .toSorted()
      .flatMap((name) => findings(join(path, name)))
  }
  if (!/\.(?:ts|mjs|cjs|cgi|js|md|sh|c|example)$/.test(path)) return []
  const code = /\.(?:ts|mjs|cjs|cgi|js|c)$/.test(path)
  const text = readFileSync(path, 'utf8')
  const prose = code ? proseOf(text) : text.replaceAll(GLOSSARY_TABLE, blank)
  return PATTERNS.flatMap(({ pattern, use }) =>
    Array.from(prose.matchAll(pattern), ({ 0: found, index }) => ({
      at: `${path}:${prose.slice(0, index).split('\n').length}`,
      found: found.replaceAll(/\s+/g, ' '),
      use,
    })),
  )
}

const TOKENS =
  /\/\*[^]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\[^])*`/g

/** The comments of a program and its strings of several words, each on its own line. */
function proseOf(code: string): string {
  let prose = ''
  let end = 0
  for (const { 0: token, index } of code.matchAll(TOKENS)) {
    prose += blank(code.slice(end, index))
    const isProse = token.startsWith('/') || token.includes(' ')
    prose += isProse ? token.replaceAll(/\$\{[^}]*\}/g, blank) : blank(token)
    end = index + token.length
  }
  return prose
}

function blank(text: string): string {
  return text.replaceAll(/[^\n]/g, ' ')
}
