/**
 * Builds the package into dist/: ES modules with their types, and the one CommonJS file behind
 * `require('portico/cgi')`, which is also put beside the scripts in cgi-bin/.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { rolldown } from 'rolldown'

process.chdir(resolve(import.meta.dirname, '..'))
rmSync('dist', { recursive: true, force: true })

// The one configuration, for the part of it that is published.
mkdirSync('dist')
writeFileSync(
  'dist/tsconfig.json',
  JSON.stringify({
    extends: '../tsconfig.json',
    compilerOptions: { rootDir: '..', outDir: '.' },
    include: ['../src', '../handlers'],
  }),
)
const typescript = dirname(createRequire(import.meta.url).resolve('typescript/package.json'))
execFileSync(process.execPath, [join(typescript, 'bin/tsc'), '-p', 'dist'], { stdio: 'inherit' })
rmSync('dist/tsconfig.json')

const bundle = await rolldown({ input: 'src/exports/cgi.ts', platform: 'node', logLevel: 'warn' })
// Parsing is a good part of what a CGI request costs.
await bundle.write({
  file: 'dist/commonjs/src/exports/cgi.js',
  format: 'cjs',
  comments: false,
  minify: true,
})
copyFileSync('dist/commonjs/src/exports/cgi.js', 'cgi-bin/portico.cjs')

// Its declarations once more, where TypeScript reads them as those of a CommonJS file.
const declarations = new Set(['src/exports/cgi.d.ts'])
for (const file of declarations) {
  const text = readFileSync(`dist/${file}`, 'utf8')
  for (const [, path] of text.matchAll(/(?:from |import\()['"](\.[^'"]+)\.[jt]s['"]/g)) {
    declarations.add(join(dirname(file), `${path}.d.ts`))
  }
  mkdirSync(dirname(`dist/commonjs/${file}`), { recursive: true })
  copyFileSync(`dist/${file}`, `dist/commonjs/${file}`)
}
writeFileSync('dist/commonjs/package.json', '{ "type": "commonjs" }\n')
