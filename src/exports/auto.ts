/** `portico/auto`: `run` without the gateways that it does not use. */
export { run, type RunOptions } from '../../handlers/auto.ts'
export { detectGateway, type Surroundings } from '../process/detect.ts'
