#!/usr/bin/env node
// An asynchronous generator may wait between its chunks: a clock that ticks ten times a second.
import { setTimeout } from 'node:timers/promises'
import { run } from 'portico'

async function* clock(environ, startResponse) {
  startResponse('200 OK', [
    ['Content-Type', 'text/plain; charset=utf-8'],
    ['X-Accel-Buffering', 'no'], // otherwise nginx would buffer the ticks
  ])
  for (let tick = 0; tick < 10; tick++) {
    if (tick > 0) await setTimeout(100)
    yield `${new Date().toISOString()}\n`
  }
}

run(clock)
