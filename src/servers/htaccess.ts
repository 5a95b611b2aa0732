/** Apache httpd on shared hosting: what a .htaccess file can do. */
import { authentication, AUTHORIZATION, CONTENT_LENGTH, ENCODED_SLASHES } from './apache.ts'
import { cgi, fcgi } from './services.ts'
import { lines, type ServerDescription, type Site } from './site.ts'

export const htaccess: ServerDescription = {
  name: 'htaccess',
  title: 'Apache on shared hosting, `.htaccess`',
  gateways: ['cgi', 'fastcgi'],
  takes: ['auth'],
  program: 'apache2',
  packages: ['apache2'],
  configure: (site) => [
    {
      path: '.htaccess',
      text: `${lines(site.gateway === 'cgi' ? HTACCESS : HTACCESS_FCGID, site.auth && authentication(site.auth))}\n`,
    },
    ...script(site).configure(site),
  ],
  runs: (site) => script(site).runs!(site),
  activate: (site) => script(site).activate(site),
  quirks: [
    ENCODED_SLASHES,
    AUTHORIZATION,
    CONTENT_LENGTH,
    {
      versions: 'every version',
      symptom: 'clients can read every file of the directory, `package.json` included',
      remedy: 'the application and its `node_modules` are outside of the document root',
    },
    {
      versions: 'every version',
      symptom: 'SCRIPT_NAME is /index.cgi, which no URL contains',
      remedy: 'Portico recognises the rewrite above and corrects it',
    },
    {
      versions: 'every version, with `FallbackResource /index.cgi` instead of the rewrite',
      symptom: 'the mount point is ambiguous',
      remedy: "`new CGIHandler({ scriptName: '', pathInfo: 'from-uri' })`, or `run(app, …)`",
    },
    {
      versions: 'every version, mod_fcgid (`--gateway fastcgi`)',
      symptom:
        'a request body of more than 128 KiB is a 500, and the chunks of a response arrive together',
      remedy: 'only the administrator can change it: `FcgidMaxRequestLen`, `FcgidOutputBufferSize`',
    },
    {
      versions: 'every version, suexec',
      symptom: 'variables that `SetEnv` sets do not arrive',
      remedy: 'the application reads its settings from a file',
    },
  ],
}

/** What the URLs reach. */
function script({ gateway }: Site): ServerDescription {
  return gateway === 'cgi' ? cgi : fcgi
}

const HTACCESS = `# Every URL of this directory that is not a file reaches index.cgi.
Options +ExecCGI
AddHandler cgi-script .cgi
DirectoryIndex index.cgi
# Without it scripts get no Authorization header.
CGIPassAuth On
# Without it Apache 2.4.59 and newer drop the Content-Length of a response.
SetEnv ap_trust_cgilike_cl 1
RewriteEngine On
RewriteCond %{REQUEST_FILENAME} !-f
RewriteRule ^(.*)$ index.cgi/$1 [L]`

const HTACCESS_FCGID = HTACCESS.replaceAll('cgi-script .cgi', 'fcgid-script .fcgi').replaceAll(
  'index.cgi',
  'index.fcgi',
)
