#!/bin/sh
# Makes a fresh clone ready: dependencies, the build and, with --servers, the web servers that the
# tests start. What is there already is left alone.
set -eu
cd "$(dirname "$0")/.."
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then npm ci; fi
node scripts/build.mjs
if [ "${1-}" = --servers ]; then
  # Without CI a test whose server is missing is skipped, and says so; with CI it fails.
  sh scripts/install-servers.sh || [ -z "${CI-}" ]
fi
