/** `portico/auto`: `run` without the gateways that it does not use. */
export { detectGateway, run, type RunOptions, type Surroundings } from '../../handlers/auto.ts'
