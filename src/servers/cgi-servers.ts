/**
 * Web servers for CGI scripts in a directory. They have no site that `portico init` could write; the
 * tests start them as docs/servers/cgi-elsewhere.md shows them.
 */

/** Where scripts are served. */
export interface CgiSettings {
  /** The directory of documents; the scripts are in its `cgi-bin`. */
  root: string
  host: string
  port: number
  user: string
  /** The socket of fcgiwrap. */
  socket: string
}

export interface CgiServer {
  name: string
  title: string
  packages: readonly string[]
  /** A file of configuration, where flags are not enough. */
  file?: { name: string; language: string; text: (settings: CgiSettings) => string }
  /** The command that serves; FILE stands for the file. */
  command: (settings: CgiSettings) => string[]
  /** What the server cannot do, apart from the rows of the suite that have another result. */
  limits: readonly string[]
}

export const cgiServers: readonly CgiServer[] = [
  {
    name: 'fcgiwrap',
    title: 'nginx with fcgiwrap',
    packages: ['nginx', 'fcgiwrap'],
    file: {
      name: 'portico.conf',
      language: 'nginx',
      text: ({ root, socket }) => `location ~ "^/cgi-bin/[^/]+\\.cgi(/|\\z)" {
    root ${root};
    fastcgi_split_path_info "(?s)^(/cgi-bin/[^/]+\\.cgi)(/.*|)\\z";
    include /etc/nginx/fastcgi_params;
    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    fastcgi_param PATH_INFO $fastcgi_path_info;
    # nginx does not check the name in an Authorization header.
    fastcgi_param REMOTE_USER "";
    fastcgi_pass unix:${socket};
    # Both are needed for a response that streams.
    fastcgi_buffering off;
    fastcgi_param NO_BUFFERING 1;
}
`,
    },
    command: ({ socket }) => ['fcgiwrap', '-s', `unix:${socket}`],
    limits: [
      'fcgiwrap runs one script at a time; `-c N` allows N at once',
      'with the example configuration of Debian, a script gets no PATH_INFO',
    ],
  },
  {
    name: 'uwsgi',
    title: "uWSGI's cgi plugin",
    packages: ['uwsgi-core'],
    file: {
      name: 'uwsgi.ini',
      language: 'ini',
      text: ({ root, host, port }) => `[uwsgi]
plugins = http,cgi
http-socket = ${host}:${port}
http-socket-modifier1 = 9
cgi = /cgi-bin=${root}/cgi-bin
cgi-allowed-ext = .cgi
# Its own limit for the headers of a request is 4 KiB.
buffer-size = 65535
# Reads the body first, so that a script need not.
post-buffering = 65536
`,
    },
    command: () => ['uwsgi', '--ini', 'FILE'],
    limits: ['a chunked request body is not decoded; Portico responds with a 411'],
  },
  {
    name: 'busybox',
    title: 'busybox httpd',
    packages: ['busybox'],
    command: ({ root, host, port }) => [
      'busybox',
      'httpd',
      '-f',
      '-p',
      `${host}:${port}`,
      '-h',
      root,
    ],
    limits: [
      'a path that ends in a slash is a 404, and so is one with `%2F`',
      'scripts get no Authorization header',
      'a chunked request body is not decoded; Portico responds with a 411',
    ],
  },
  {
    name: 'mini_httpd',
    title: 'mini_httpd',
    packages: ['mini-httpd'],
    command: ({ root, host, port, user }) => [
      'mini_httpd',
      '-D',
      '-h',
      host,
      '-p',
      String(port),
      '-d',
      root,
      '-c',
      'cgi-bin/*',
      '-u',
      user,
    ],
    limits: [
      'scripts get eleven headers of a request, such as Cookie and User-Agent, and no others',
      'a small body that arrives together with its head is lost, and the connection is reset',
      'a response has the reason phrase of mini_httpd, and the Status header is sent to the client',
      '`%00` ends a path',
      'what a script writes to stderr becomes part of the response; Portico writes nothing there',
    ],
  },
  {
    name: 'python',
    title: "Python's http.server",
    packages: ['python3'],
    command: ({ root, host, port }) => [
      'python3',
      '-m',
      'http.server',
      '--cgi',
      '--bind',
      host,
      '--directory',
      root,
      String(port),
    ],
    limits: [
      'use it only to try a script: the status of every response is `200 Script output follows`, so redirects and errors do not work',
      'scripts get Accept, Cookie, Referer and User-Agent, and no other headers',
      'REMOTE_USER is the name in an Authorization header, whose password has not been checked',
      'it has no REQUEST_URI, and knows GET, HEAD and POST only',
    ],
  },
]
