/** An environ that is cheap to fill, for servers, which fill many of them. */
import { ENVIRON_PROTOTYPE } from './environ.ts'
import type { Environ } from '../types.ts'

/**
 * The assignments are never made. V8 counts them, though, and gives an instance room for as many
 * keys: without that a dozen keys outside of it are all it may have before it is made a dictionary,
 * and filling it costs twice as much. (In a CGI script compiling this costs more than it gains.)
 */
function RoomyEnviron(this: Record<string, unknown>, assign = false) {
  if (!assign) return
  this.a = this.b = this.c = this.d = this.e = this.f = this.g = this.h = 0
  this.i = this.j = this.k = this.l = this.m = this.n = this.o = this.p = 0
  this.q = this.r = this.s = this.t = this.u = this.v = this.w = this.x = 0
  this.A = this.B = this.C = this.D = this.E = this.F = this.G = this.H = 0
  this.I = this.J = this.K = this.L = this.M = this.N = this.O = this.P = 0
  this.Q = this.R = this.S = this.T = this.U = this.V = this.W = this.X = 0
}
RoomyEnviron.prototype = ENVIRON_PROTOTYPE

/** An environ without a key: the same as `createEnviron()` to everybody but V8. */
export function createRoomyEnviron(): Environ {
  return new (RoomyEnviron as unknown as new () => Environ)()
}
