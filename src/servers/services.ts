/** What starts the application: systemd, Docker, Kubernetes, and scripts for CGI and mod_fcgid. */
import { basename, dirname } from 'node:path'
import { lines, type ServerDescription, type Site, unixPath } from './site.ts'

/** Where containers keep the socket that the web server's container shares. */
const SHARED = '/run/portico'

/** The port of the application in a container; not privileged, so no root is needed. */
const CONTAINER_PORT = 9000

/** Seconds that a supervisor waits before it kills. Portico's own limit is 8 s, `shutdownTimeout`. */
const STOP_SECONDS = 15

export const systemd: ServerDescription = {
  name: 'systemd',
  title: 'systemd',
  gateways: ['fastcgi', 'scgi', 'http'],
  configure: (site) => [
    { path: '/etc/systemd/system/portico.socket', text: socketUnit(site) },
    { path: '/etc/systemd/system/portico.service', text: serviceUnit(site) },
  ],
  activate: () => [
    'systemd-analyze verify /etc/systemd/system/portico.service',
    'systemctl daemon-reload',
    'systemctl enable --now portico.socket',
  ],
  check: ['systemd-analyze', 'verify', '/etc/systemd/system/portico.service'],
  quirks: [
    {
      versions: 'every version',
      symptom: 'a socket says nothing of its protocol',
      remedy: '`--gateway` names it',
    },
    {
      versions: 'every version',
      symptom: 'with `Restart=always` a service that has exited because it was idle starts again',
      remedy: '`Restart=on-failure`',
    },
  ],
}

function socketUnit(site: Site): string {
  const path = unixPath(site.to)
  return `# systemd holds the socket, so that requests wait while the application restarts.
[Unit]
Description=Socket of the Portico application

[Socket]
ListenStream=${path ?? site.to}
${lines(
  path !== undefined && '# The group of the web server, which needs write permission to connect.',
  path !== undefined && `SocketGroup=${site.group}`,
  path !== undefined && 'SocketMode=0660',
)}

[Install]
WantedBy=sockets.target
`
}

function serviceUnit({ gateway, program }: Site): string {
  return `# The application, on every core.
[Unit]
Description=Portico application
Requires=portico.socket
After=network.target

[Service]
Type=exec
WorkingDirectory=${dirname(program)}
Environment=NODE_ENV=production
ExecStart=/usr/bin/env npx portico serve ${program} --gateway ${gateway} --listen systemd --workers auto --control /run/portico/control
ExecReload=/usr/bin/env npx portico reload /run/portico/control
RuntimeDirectory=portico
RuntimeDirectoryMode=0700
DynamicUser=yes
# Portico completes active requests before it exits.
TimeoutStopSec=${STOP_SECONDS}
Restart=on-failure
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
`
}

export const docker: ServerDescription = {
  name: 'docker',
  title: 'Docker',
  gateways: ['fastcgi', 'scgi', 'http'],
  configure: (site) => [
    { path: 'Dockerfile', text: dockerfile(site) },
    { path: '.dockerignore', text: 'node_modules\n.git\n.env\n' },
  ],
  activate: () => [
    'docker build -t portico-app .',
    `docker run --init --stop-timeout ${STOP_SECONDS} portico-app`,
  ],
  quirks: [
    {
      versions: 'every version',
      symptom: 'a process with PID 1 does not reap children that it did not start',
      remedy: '`docker run --init`',
    },
    {
      versions: 'every version',
      symptom: '`docker stop` kills after 10 s',
      remedy: 'active requests have 8 s (`--shutdown-timeout`)',
    },
  ],
}

/** What serves in a container: every address, since another container connects. */
function containerCommand({ gateway, program }: Site): string[] {
  return [
    'npx',
    'portico',
    'serve',
    basename(program),
    '--gateway',
    gateway,
    '--listen',
    `0.0.0.0:${CONTAINER_PORT}`,
    // FastCGI and SCGI peers are believed, REMOTE_USER included: only private networks may connect.
    ...(gateway === 'http' ? [] : ['--allow', '10.0.0.0/8,172.16.0.0/12,192.168.0.0/16']),
    '--workers',
    'auto',
    '--control',
    `${SHARED}/control`,
  ]
}

function dockerfile(site: Site): string {
  return `# The application over ${site.gateway}, on port ${CONTAINER_PORT}, as an ordinary user.
FROM node:24-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package*.json ./
RUN npm ci --omit=dev
COPY . .
RUN install -d -m 700 -o node ${SHARED}
USER node
EXPOSE ${CONTAINER_PORT}
HEALTHCHECK CMD ["npx", "portico", "ping", "${SHARED}/control"]
# An array, so that SIGTERM reaches Portico and not a shell.
CMD ${JSON.stringify(containerCommand(site))}
`
}

export const kubernetes: ServerDescription = {
  name: 'kubernetes',
  title: 'Kubernetes',
  gateways: ['fastcgi', 'scgi', 'http'],
  configure: (site) => [{ path: 'kubernetes.yaml', text: manifest(site) }],
  activate: () => [
    'kubectl apply --dry-run=server -f kubernetes.yaml',
    'kubectl apply -f kubernetes.yaml',
  ],
  quirks: [
    {
      versions: 'every version',
      symptom: 'a pod gets requests for a moment after SIGTERM',
      remedy: '`preStop` sleeps until the endpoints have been updated',
    },
  ],
}

function manifest(site: Site): string {
  const command = JSON.stringify(containerCommand(site))
  return `# The application in pods, with probes that run no code of the application.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: portico
spec:
  replicas: 2
  selector:
    matchLabels: { app: portico }
  template:
    metadata:
      labels: { app: portico }
    spec:
      # preStop, 8 s for active requests, and a reserve.
      terminationGracePeriodSeconds: ${STOP_SECONDS + 5}
      securityContext: { runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000 }
      containers:
        - name: app
          image: portico-app
          command: ${command}
          ports:
            - { name: ${site.gateway}, containerPort: ${CONTAINER_PORT} }
          volumeMounts:
            - { name: run, mountPath: ${SHARED} }
          lifecycle:
            preStop:
              exec: { command: ["sleep", "5"] }
          startupProbe:
            exec: { command: ["npx", "portico", "ping", "${SHARED}/control"] }
            periodSeconds: 2
            failureThreshold: 30
          readinessProbe:
            exec: { command: ["npx", "portico", "ping", "${SHARED}/control"] }
            periodSeconds: 5
            timeoutSeconds: 5
          livenessProbe:
            exec: { command: ["npx", "portico", "ping", "${SHARED}/control"] }
            periodSeconds: 20
            timeoutSeconds: 10
            failureThreshold: 3
      volumes:
        - { name: run, emptyDir: { medium: Memory } }
---
apiVersion: v1
kind: Service
metadata:
  name: portico
spec:
  selector: { app: portico }
  ports:
    - { name: ${site.gateway}, port: ${CONTAINER_PORT} }
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: portico
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: portico }
  minReplicas: 2
  maxReplicas: 10
  metrics:
    - type: Resource
      resource: { name: cpu, target: { type: Utilization, averageUtilization: 70 } }
`
}

export const cgi: ServerDescription = {
  name: 'cgi',
  title: 'A CGI script',
  gateways: ['cgi'],
  configure: (site) => [
    {
      path: 'index.cgi',
      mode: 0o755,
      text: stub(
        site,
        'A CGI script. The web server starts it for each request, so that its node must be there.',
      ),
    },
    { path: 'package.json', text: '{ "type": "commonjs" }\n' },
  ],
  activate: () => ['chmod 755 index.cgi', 'REQUEST_METHOD=GET PATH_INFO=/ ./index.cgi'],
  quirks: [
    {
      versions: 'Node',
      symptom: 'ERR_UNKNOWN_FILE_EXTENSION ".cgi"',
      remedy: 'a package.json that says "commonjs" lies beside the script',
    },
  ],
}

export const fcgi: ServerDescription = {
  name: 'fcgi',
  title: 'A FastCGI program that the web server starts',
  gateways: ['fastcgi'],
  configure: (site) => [
    {
      path: 'index.fcgi',
      mode: 0o755,
      text: stub(
        site,
        'mod_fcgid, lighttpd or spawn-fcgi starts it, and passes the socket as descriptor 0.',
      ),
    },
    { path: 'package.json', text: '{ "type": "commonjs" }\n' },
  ],
  activate: () => ['chmod 755 index.fcgi'],
  quirks: cgi.quirks,
}

/** An absolute shebang: a web server's PATH seldom has the directory of this Node. */
function stub({ program }: Site, comment: string): string {
  return `#!${process.execPath}
// ${comment}
// The program ends with run(app), which finds out how it was started.
import(${JSON.stringify(program)}).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
`
}
