/**
 * The type of the options of handlers and of `run`. Each comment is the text of the option's row in
 * table.ts; a test compares them.
 */
import type { ClientList } from '../address-list.ts'
import type { Gateway } from '../gateways.ts'

/** All options; see `OptionsOf` for those of one gateway. */
export interface Options {
  /** The gateway. Without it, the way in which the process was started decides. */
  readonly gateway?: Gateway | undefined
  /**
   * Address: unix:PATH, HOST:PORT, :PORT, PORT, fd:N, systemd, systemd:NAME. `:PORT` and `PORT`
   * are on 127.0.0.1. With port 0 the system picks a free one. `systemd` is every socket that
   * systemd has passed, `systemd:NAME` those of that name.
   */
  readonly listen?: string | number | undefined
  /** Permissions of a Unix socket, such as 0660. */
  readonly mode?: number | string | undefined
  /** Owner of a Unix socket: a user's name or id. The default is the user of the process. */
  readonly owner?: number | string | undefined
  /**
   * Group of a Unix socket: a group's name or id. Set it to the web server's group. The default
   * is the group of the process.
   */
  readonly group?: number | string | undefined
  /** Connections that may wait to be accepted. The system may allow fewer. */
  readonly backlog?: number | undefined
  /**
   * Addresses and CIDR blocks that may connect over TCP. An array, or text with commas. FastCGI
   * and SCGI require it for `0.0.0.0` and `::`, because they trust everything that a peer sends,
   * REMOTE_USER included.
   */
  readonly allowedClients?: ClientList | undefined
  /** Connections that may be open at once. The server closes further ones immediately. */
  readonly maxConnections?: number | undefined
  /** Requests after which a kept-alive connection closes; 0 for no limit. */
  readonly maxRequestsPerConnection?: number | undefined
  /**
   * Whether a connection takes a second request while one is running. If it does not, Portico
   * refuses the second one with FCGI_CANT_MPX_CONN. FastCGI only.
   */
  readonly multiplex?: boolean | undefined
  /**
   * Bytes that a request's head may have. That is FastCGI's PARAMS, SCGI's headers, or HTTP's
   * request line and headers.
   */
  readonly maxHeaderBytes?: number | undefined
  /** Variables or headers that a request may have; Infinity for no limit. */
  readonly maxHeaders?: number | undefined
  /** Bytes of unread request body above which the connection is paused. */
  readonly highWaterMark?: number | undefined
  /**
   * Time for a request's head to arrive, in milliseconds; Infinity for no limit. Sending bytes
   * slowly does not extend it.
   */
  readonly headersTimeout?: number | undefined
  /**
   * Time between bytes of a request body, in milliseconds; Infinity for no limit. Each byte
   * restarts the time.
   */
  readonly bodyTimeout?: number | undefined
  /** Time for which a connection may be idle, in milliseconds; Infinity for no limit. */
  readonly idleTimeout?: number | undefined
  /**
   * Time for which the peer may read nothing, in milliseconds; Infinity for no limit. The time
   * runs while a part of a response waits to be sent.
   */
  readonly writeTimeout?: number | undefined
  /**
   * Time for the whole response, in milliseconds; 0 for no limit. After that the response is a
   * 504, or the connection closes if the headers were sent.
   */
  readonly responseTimeout?: number | undefined
  /** Time for active requests to complete when the server closes, in milliseconds. */
  readonly shutdownTimeout?: number | undefined
  /**
   * The mount point, such as /app, if the web server does not send it. Over HTTP it is removed
   * from the front of the path.
   */
  readonly scriptName?: string | undefined
  /**
   * Where SCRIPT_NAME and PATH_INFO come from. `auto` corrects known bugs of web servers,
   * `as-is` trusts the server, and `from-uri` decodes REQUEST_URI.
   */
  readonly pathInfo?: 'auto' | 'as-is' | 'from-uri' | undefined
  /** Variables for every request. A variable of the request with the same name overrides it. */
  readonly osEnviron?: Readonly<Record<string, string>> | undefined
  /** Whether several processes run the application. It is `wsgi.multiprocess` of the environ. */
  readonly multiprocess?: boolean | undefined
  /** The Server header. The application's own header replaces it. Null sends none. HTTP only. */
  readonly serverSoftware?: string | null | undefined
  /**
   * Whether the validator checks the application, for development. It logs each violation of the
   * contract, and the response is a 500. It does not check applications of frameworks.
   */
  readonly validate?: boolean | undefined
  /**
   * Whether active requests complete after an uncaught error. Then the process exits with code 1.
   * Otherwise Node ends it at once.
   */
  readonly exitOnUncaughtError?: boolean | undefined
  /** A subclass of the class that runs a request. It overrides hooks of `BaseHandler`. */
  readonly requestHandler?: (abstract new (...args: never[]) => unknown) | undefined
}
