/** What a server knows of a request that is running, for the log of slow requests. */
import type { Socket } from 'node:net'
import { percentEncode } from '../text.ts'
import type { Environ } from '../types.ts'

/** What a request waits for. */
export type WaitReason =
  | 'the application'
  | 'the application to read the request body'
  | 'the client to send the request body'
  | 'the client to read the response'

export interface HeldRequest {
  /** The same object for the same request. */
  readonly key: object
  readonly method: string
  /** Without the query, which may contain secrets. */
  readonly path: string
  readonly waitsFor: WaitReason
  /** Whether the head of the response has been sent. */
  readonly responding: boolean
}

/** How far the application has come with the request body. */
export interface BodyProgress {
  /** Bytes that have arrived and were not read. */
  readonly queued: number
  /** Whether the application waits for more. */
  readonly awaited: boolean
}

/** The requests that run on the connections of some servers. */
export function heldBy(
  servers: readonly { readonly open: Iterable<{ held?(): HeldRequest[] }> }[],
): HeldRequest[] {
  return servers.flatMap(({ open }) =>
    Array.from(open, (connection) => connection.held?.() ?? []).flat(),
  )
}

/** The request of a gateway whose variables are in `environ`. */
export function heldRequest(
  key: { readonly environ: Environ | null; readonly headersSent: boolean },
  socket: Socket,
  body: BodyProgress | null,
): HeldRequest {
  const { environ, headersSent: responding } = key
  const target = environ?.['REQUEST_URI']
  const path = (environ?.SCRIPT_NAME ?? '') + (environ?.PATH_INFO ?? '')
  return {
    key,
    method: environ?.REQUEST_METHOD ?? '',
    path: target === undefined ? percentEncode(path, /[^!-~]/g) : withoutQuery(target),
    waitsFor: waitOf(socket, body),
    responding,
  }
}

export function withoutQuery(target: string): string {
  return target.replace(/\?.*/s, '')
}

export function waitOf(socket: Socket, body: BodyProgress | null): WaitReason {
  if (socket.writableLength > 0) return 'the client to read the response'
  if (body?.awaited) return 'the client to send the request body'
  if (body !== null && body.queued > 0) return 'the application to read the request body'
  return 'the application'
}
