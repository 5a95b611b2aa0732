/** `portico/auto`: `run` without the gateways that it does not use, and `load` for a file to run. */
export { run, type RunOptions } from '../../handlers/auto.ts'
export { load } from '../application/load.ts'
export { detectGateway, type Surroundings } from '../process/detect.ts'
