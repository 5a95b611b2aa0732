/** `portico status`, `reload` and `stop`: they talk to the control socket of a master. */
import type { Call, Command } from './commands.ts'
import { controlPath } from './control-path.ts'
import type { FlagTable } from './flags.ts'

const JSON_FLAG: FlagTable = {
  json: { kind: 'switch', help: 'print one JSON object' },
}

type Name = 'reload' | 'status' | 'stop'

function controlCommand(name: Name, notes: readonly string[]): Command {
  return {
    operands: '[PATH]',
    count: [0, 1],
    flags: JSON_FLAG,
    notes: [
      'PATH is the socket of: portico serve FILE --control PATH',
      'Default: PORTICO_CONTROL, or control of portico.config.js here.',
      ...notes,
    ],
    async run({ operands: [given], values, out, err }: Call) {
      const path = await controlPath(name, given)
      const client = (await import('../master/client.ts'))[name]
      return client(path, {
        json: values['json'] === true,
        out: (line) => out(`${line}\n`),
        err: (line) => err(`${line}\n`),
      })
    },
  }
}

export const status = controlCommand('status', [])
export const reload = controlCommand('reload', [
  'Returns when the new workers have replaced the old ones. If the application',
  'does not start, the old workers stay and the exit code is 1.',
])
export const stop = controlCommand('stop', ['Returns when the last request has completed.'])
