/** Everything for which `portico init` writes files. */
import { apache, apacheFcgid } from './apache.ts'
import { caddy } from './caddy.ts'
import { docker, kubernetes } from './containers.ts'
import { h2o } from './h2o.ts'
import { haproxy } from './haproxy.ts'
import { htaccess } from './htaccess.ts'
import { lighttpd } from './lighttpd.ts'
import { nginx } from './nginx.ts'
import { cgi, fcgi, systemd } from './services.ts'
import type { ServerDescription } from './site.ts'

export const descriptions: readonly ServerDescription[] = [
  nginx,
  apache,
  apacheFcgid,
  htaccess,
  lighttpd,
  caddy,
  haproxy,
  h2o,
  systemd,
  docker,
  kubernetes,
  cgi,
  fcgi,
]
