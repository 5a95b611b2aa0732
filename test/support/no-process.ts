/** Loaded before each unit test file: starting a process is an error there. */
import childProcess from 'node:child_process'
import { syncBuiltinESMExports } from 'node:module'

function refuse(): never {
  throw new Error(
    'A unit test started a process. A test file that imports node:child_process runs in another ' +
      'project: see test/support/projects.ts',
  )
}

for (const name of ['spawn', 'spawnSync', 'exec', 'execSync', 'execFile', 'execFileSync', 'fork']) {
  Object.defineProperty(childProcess, name, { value: refuse })
}
syncBuiltinESMExports()
