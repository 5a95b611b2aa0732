/** What the doctor sends in headers, to find variables that a client can forge. */

export const FORGED_NAME = 'portico-forged'

/** An address of RFC 5737, which no client has. */
export const FORGED_ADDRESS = '192.0.2.66'

/** Headers that configurations copy into variables. */
export const FORGED_HEADERS: readonly (readonly [name: string, value: string])[] = [
  ...[
    'Remote-User',
    'REMOTE_USER',
    'X-Remote-User',
    'X-Forwarded-User',
    'X-Forwarded-Email',
    'X-Auth-Request-User',
    'X-Authenticated-User',
    'X-Webauth-User',
    'X-User',
    'X-Ssl-Client-Dn',
    'Ssl-Client-S-Dn',
    'Auth-Type',
  ].map((name) => [name, FORGED_NAME] as const),
  ...['X-Forwarded-For', 'X-Real-Ip', 'X-Client-Ip', 'Cf-Connecting-Ip', 'True-Client-Ip'].map(
    (name) => [name, FORGED_ADDRESS] as const,
  ),
]
