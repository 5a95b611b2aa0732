/** What a browser for people does by itself, and a test must not: ask anyone but our servers. */
export const QUIET = [
  '--no-sandbox', // Chromium has none for root.
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
]
