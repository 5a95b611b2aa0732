/** What the doctor reads out of the configuration of a web server. */
import type { Gateway } from '../../gateways.ts'
import type { Finding } from '../finding.ts'
import type { Address } from '../address.ts'

/** Where a configuration is, and which part of it matters. */
export interface ConfigurationSource {
  /** The main file. */
  readonly file: string
  /** What relative paths start at: nginx's prefix, Apache's ServerRoot. */
  readonly directory: string
  /** The program that reads it, for servers that can print it. */
  readonly program: string | undefined
  /** Variables that the configuration refers to (Apache's envvars). */
  readonly variables: Readonly<Record<string, string>>
  /** The host, port and path of the requests; undefined for the whole configuration. */
  readonly request:
    | { readonly host: string; readonly port: number; readonly path: string }
    | undefined
}

/** An application that the web server passes requests to. */
export interface Backend {
  readonly gateway: Gateway
  /** Undefined where it is a variable. */
  readonly address: Address | undefined
  /** The line as it is written. */
  readonly text: string
}

/** A time, and the line of configuration that changes it. */
export interface TimeLimit {
  readonly time: number
  readonly line: string
}

export interface Setup {
  readonly backends: readonly Backend[]
  /** Directories and files of CGI scripts. */
  readonly scripts: readonly string[]
  /** Whether it runs CGI scripts at all, by a directory or by a handler. */
  readonly runsScripts?: boolean
  /** What is wrong or unusual, whatever a request shows. */
  readonly findings: readonly Finding[]
  /** Whether nothing in it is for the port of the request. */
  readonly unserved?: boolean
  /** Error logs. */
  readonly logs: readonly string[]
  /** The user of the workers. */
  readonly user: string | undefined
  /** How long the web server waits for the application, and keeps an idle connection to it, in ms. */
  readonly waits?: TimeLimit | undefined
  readonly keepsIdle?: TimeLimit | undefined
  /** The user and group under which suEXEC runs scripts. */
  readonly suexec?: { readonly user: string; readonly group: string } | undefined
}

/** `30`, `30s`, `2m`, `1h` or `500ms`, in ms; a number alone counts seconds. */
export function timeOf(text: string | undefined, unit = 1000): number | undefined {
  const [, number, name = ''] = /^(\d+)(ms|s|m|h|min)?$/.exec(text ?? '') ?? []
  if (number === undefined) return undefined
  const units: Readonly<Record<string, number>> = {
    ms: 1,
    s: 1000,
    m: 60_000,
    min: 60_000,
    h: 3_600_000,
  }
  return Number(number) * (units[name] ?? unit)
}
