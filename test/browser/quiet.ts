/** Flags of Chromium that turn off what it does by itself, such as requests to other servers. */
export const QUIET = [
  '--no-sandbox', // Chromium has no sandbox for root.
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
]
