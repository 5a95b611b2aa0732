/** BEGIN_REQUEST (section 5.1): what it asks for, and whether an application takes it. */
import type { Buffer } from 'node:buffer'
import {
  FCGI_AUTHORIZER,
  FCGI_CANT_MPX_CONN,
  FCGI_KEEP_CONN,
  FCGI_OVERLOADED,
  FCGI_RESPONDER,
  FCGI_UNKNOWN_ROLE,
} from './fastcgi.ts'
import { ActiveRequest } from './fastcgi-states.ts'

/** Bytes of its content: the role, the flags and five reserved bytes. */
export const BEGIN_SIZE = 8

/** The request that BEGIN_REQUEST begins, whose content is in `bytes` from `start` on. */
export function beginRequest(id: number, bytes: Buffer, start: number): ActiveRequest {
  const role = (bytes[start]! << 8) | bytes[start + 1]!
  return new ActiveRequest(id, role, (bytes[start + 2]! & FCGI_KEEP_CONN) !== 0)
}

/** The protocolStatus that refuses a request beside those that are active; null to take it. */
export function refusalOf(
  { role }: ActiveRequest,
  active: readonly ActiveRequest[],
  multiplex: boolean,
  maxActive: number,
): number | null {
  if (!multiplex && active.some(({ responded }) => !responded)) return FCGI_CANT_MPX_CONN
  if (active.length >= maxActive) return FCGI_OVERLOADED
  return role === FCGI_RESPONDER || role === FCGI_AUTHORIZER ? null : FCGI_UNKNOWN_ROLE
}
