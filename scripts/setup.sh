#!/bin/sh
# Prepares a fresh clone: installs the dependencies and, with --servers, the web servers and the
# runtimes that the tests start. It changes nothing that is already there.
set -eu
cd "$(dirname "$0")/.."
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then npm ci; fi
if [ "${1-}" = --servers ]; then
  # Without CI a test whose server or runtime is missing is skipped, and says so; with CI it fails.
  sh scripts/install-servers.sh || [ -z "${CI-}" ]
  sh scripts/install-runtimes.sh || [ -z "${CI-}" ]
fi
