/** The conformance suite through every gateway of Portico, at two mount points. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { closedAgain, REPORT, runRow, suite, suiteApplication } from '../../src/exports/testing.ts'
import { GATEWAY_NAMES, GATEWAYS } from '../../src/gateways.ts'
import { gateways, type Served } from '../fixtures/gateways.ts'
import { buildScript } from '../fixtures/script.ts'

let directory: string
let script: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'portico-conformance-'))
  script = await buildScript(directory, 'src/testing/suite.ts', 'suiteApplication')
  // Servers of this process log what the suite makes applications do wrong.
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
})

afterAll(async () => {
  vi.restoreAllMocks()
  await rm(directory, { recursive: true, force: true })
})

it('The conformance suite runs over each gateway of src/gateways.ts', () => {
  const labels = GATEWAY_NAMES.map((name) => GATEWAYS[name].label)
  const untested = labels.filter((label) => !gateways.some(({ name }) => name.startsWith(label)))
  expect(untested).toEqual([])
})

const mounted = gateways.flatMap((gateway, index) =>
  gateway.mounts.map((mount) => ({
    gateway,
    mount,
    where: `${gateway.name} at '${mount}'`,
    index,
  })),
)

describe.each(mounted)('The conformance suite over $where:', ({ gateway, mount, index }) => {
  let served: Served
  let report: string

  beforeAll(async () => {
    report = join(directory, `closed-${index}${mount.replace('/', '-')}`)
    const variables = { [REPORT]: report }
    served = await gateway.serve({
      application: suiteApplication,
      script,
      directory,
      mount,
      variables,
    })
  })

  afterAll(() => served?.close())

  it.each(suite.map((row) => [row.name, row] as const))('%s', async (_, row) => {
    const mountPoint = { ...served, mount }
    const fault = gateway.faults?.find((each) => row.name.startsWith(each.row))
    const options = { report, expect: fault?.expect }
    expect(await runRow(row, served.client, mountPoint, options)).toEqual([])
  })

  it('no body is closed twice', () => {
    expect(closedAgain(report)).toEqual([])
  })
})

it.each(gateways.flatMap(({ name, faults = [] }) => faults.map((fault) => [name, fault] as const)))(
  'The fault of %s names a row of the conformance suite',
  (_, fault) => {
    expect(suite.filter(({ name }) => name.startsWith(fault.row))).not.toEqual([])
  },
)
