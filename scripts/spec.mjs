/**
 * Writes SPEC.md from the `///` lines of the validator. With `--check` it only compares the two.
 *
 * A run of `///` lines is a block. A block belongs to the section that its `## ` line names, or to
 * that of the block before it in the same file. Sections and files appear in the order given here.
 * Blocks of bullets are joined into one list.
 */
import { readFileSync, writeFileSync } from 'node:fs'

const FILES = [
  'src/validate/validator.ts',
  'src/validate/console.ts',
  'src/validate/environ.ts',
  'src/validate/input.ts',
  'src/validate/errors.ts',
  'src/validate/body-source.ts',
  'src/validate/body.ts',
  'src/validate/exchange.ts',
  'src/validate/response.ts',
  'src/validate/open.ts',
]

const SECTIONS = [
  '# The Portico contract',
  '## The application',
  '## The environ',
  '## The input',
  '## The errors',
  '## startResponse',
  '## The headers',
  '## The body',
  "## The gateway's duties",
]

const root = new URL('../', import.meta.url)

/** @returns {string} the whole of SPEC.md */
function specification() {
  /** @type {Map<string, string[][]>} */
  const sections = new Map(SECTIONS.map((heading) => [heading, []]))
  for (const file of FILES) {
    /** @type {string[][] | undefined} */
    let section
    /** @type {string[] | undefined} */
    let block
    for (const line of readFileSync(new URL(file, root), 'utf8').split('\n')) {
      const match = /^ *\/\/\/(?: (.*))?$/.exec(line)
      if (!match) {
        block = undefined
        continue
      }
      const text = match[1] ?? ''
      if (/^#+ /.test(text)) {
        section = sections.get(text)
        if (!section) throw new Error(`${file}: SPEC.md has no section "${text}"`)
        block = undefined
        continue
      }
      if (!section) throw new Error(`${file}: "${text}" comes before the first section`)
      if (!block) section.push((block = []))
      block.push(text)
    }
  }
  return [...sections].map(([heading, blocks]) => `${heading}\n\n${join(blocks)}\n`).join('\n')
}

/** @param {string[] | undefined} block */
function isList(block) {
  return block?.[0]?.startsWith('- ')
}

/** @param {string[][]} blocks */
function join(blocks) {
  return blocks
    .map((block, i) => {
      const first = i === 0 ? '' : isList(block) && isList(blocks[i - 1]) ? '\n' : '\n\n'
      return first + block.join('\n').trim()
    })
    .join('')
}

const target = new URL('SPEC.md', root)
const text = specification()
if (!process.argv.includes('--check')) {
  writeFileSync(target, text)
} else if (readFileSync(target, 'utf8') !== text) {
  console.error('SPEC.md differs from the comments of the validator: run `npm run spec`')
  process.exitCode = 1
}
