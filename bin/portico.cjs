#!/usr/bin/env node
const { main } = require('../dist/src/command/portico.cjs')
async function run() {
  process.exitCode = await main(process.argv.slice(2))
}
void run()
