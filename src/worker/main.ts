/** The program of a worker: it waits for its settings, and serves until the master retires it. */
import { openChannel } from './channel.ts'
import { Worker } from './worker.ts'

const channel = openChannel()
if (channel === null) {
  process.stderr.write('This is a worker of `portico serve`, which starts it. Run that instead.\n')
  process.exitCode = 2
} else {
  const worker = new Worker(channel)
  channel.receive((message, handle) => worker.receive(message, handle))
}
