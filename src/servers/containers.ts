/** Containers: a Dockerfile, and a Kubernetes manifest with the web server beside the application. */
import { readFileSync } from 'node:fs'
import { basename, dirname, join, normalize } from 'node:path'
import { nginx } from './nginx.ts'
import { STOP_SECONDS } from './services.ts'
import { indent, lines, type ServerDescription, type Site, unixPath } from './site.ts'

/** Where containers keep their sockets. In a pod, the web server's container shares it. */
const SHARED = '/run/portico'

const CONTROL = `${SHARED}/control`

/** The port of the application in a container; not privileged, so no root is needed. */
const CONTAINER_PORT = 9000

/** The port of nginx in a pod, for the same reason. */
const WEB_PORT = 8080

/** The port of `--metrics` in a pod. */
const METRICS_PORT = 9100

/** The user `node` of the official images, and the user of nginx-unprivileged. */
const NODE_USER = 1000
const NGINX_USER = 101

/** Seconds until every node has learnt that a pod gets no further requests. */
const DRAIN_SECONDS = 5

export const docker: ServerDescription = {
  name: 'docker',
  title: 'Docker',
  gateways: ['fastcgi', 'scgi', 'http'],
  takes: [],
  configure: (site) => [
    { path: 'Dockerfile', text: dockerfile(site) },
    { path: '.dockerignore', text: 'node_modules\n.git\n.env\n' },
  ],
  warnings: ({ program }) =>
    fileDependencies(program)
      .filter((path) => !isInContext(path))
      .map(
        (path) =>
          `package.json names file:${path}, which is outside of the build context, so npm ci fails: copy it into ${dirname(program)}, and run npm install there`,
      ),
  activate: () => [
    'docker build -t portico-app .',
    `docker run --init --stop-timeout ${STOP_SECONDS} portico-app`,
  ],
  quirks: [
    {
      versions: 'every version',
      symptom: '`npm ci` does not find a dependency of `file:` in package.json',
      remedy:
        'the Dockerfile first copies those below the directory of the application; copy any other into that directory',
    },
    {
      versions: 'every version',
      symptom: 'a process with PID 1 does not reap children that it did not start',
      remedy: '`docker run --init`',
    },
    {
      versions: 'every version',
      symptom: 'npx and npm start a shell between Docker and the application, and write to a cache',
      remedy: 'PATH contains `node_modules/.bin`, so that Docker starts `portico` directly',
    },
    {
      versions: 'every version',
      symptom: '`docker stop` kills the container after 10 s',
      remedy: 'active requests have 8 s (`--shutdown-timeout`)',
    },
  ],
}

/** What serves in a container, on a port that every address reaches or on a socket in a pod. */
function containerCommand({ gateway, program }: Site, listen: string): string[] {
  const everyAddress = listen.startsWith('0.0.0.0:')
  return [
    'portico',
    'serve',
    basename(program),
    '--gateway',
    gateway,
    '--listen',
    listen,
    // Portico trusts FastCGI and SCGI peers, even for REMOTE_USER, so only private networks may connect.
    ...(everyAddress && gateway !== 'http'
      ? ['--allow', '10.0.0.0/8,172.16.0.0/12,192.168.0.0/16']
      : []),
    '--workers',
    'auto',
    '--control',
    CONTROL,
  ]
}

/** The paths of dependencies that package.json has as `file:PATH`, relative to it. */
function fileDependencies(program: string): string[] {
  try {
    const { dependencies = {} } = JSON.parse(
      readFileSync(join(dirname(program), 'package.json'), 'utf8'),
    ) as { dependencies?: Record<string, string> }
    return Object.values(dependencies)
      .filter((value) => value.startsWith('file:'))
      .map((value) => normalize(value.slice('file:'.length)))
  } catch {
    return []
  }
}

function isInContext(path: string): boolean {
  return !/^(?:\.\.(?:\/|$)|\/)/.test(path)
}

function dockerfile(site: Site): string {
  const copies = fileDependencies(site.program)
    .filter(isInContext)
    .map((path) => `COPY ${JSON.stringify([path, `./${path}`])}\n`)
  return `# The application over ${site.gateway}, on port ${CONTAINER_PORT}, as an ordinary user.
FROM node:24-slim
ENV NODE_ENV=production PATH=/app/node_modules/.bin:$PATH
WORKDIR /app
COPY package*.json ./
${copies.join('')}RUN npm ci --omit=dev
COPY . .
RUN install -d -m 700 -o node ${SHARED}
USER node
EXPOSE ${CONTAINER_PORT}
HEALTHCHECK CMD ["portico", "ping", "${CONTROL}"]
# An array, so that SIGTERM reaches Portico and not a shell.
CMD ${JSON.stringify(containerCommand(site, `0.0.0.0:${CONTAINER_PORT}`))}
`
}

export const kubernetes: ServerDescription = {
  name: 'kubernetes',
  title: 'Kubernetes',
  gateways: ['fastcgi', 'scgi', 'http'],
  takes: [],
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
    {
      versions: 'every version',
      symptom: 'all containers of a pod get SIGTERM at the same time',
      remedy: 'the application waits longer than nginx, whose requests it still has to serve',
    },
    {
      versions: 'every version',
      symptom: 'two containers of a pod run as different users, and share a socket',
      remedy: '`fsGroup` is a group of both and owns the directory, and the socket has mode 0660',
    },
  ],
}

function manifest(site: Site): string {
  // Over HTTP, and where an address is given, the web server is elsewhere.
  const sidecar = site.gateway !== 'http' && unixPath(site.to) !== undefined
  const socket = `unix:${SHARED}/app.sock`
  const listen = sidecar ? socket : `0.0.0.0:${CONTAINER_PORT}`
  const command = JSON.stringify([
    ...containerCommand(site, listen),
    '--metrics',
    `0.0.0.0:${METRICS_PORT}`,
  ])
  // The application outlasts nginx, and then has 8 s for active requests; the rest is a reserve.
  const appDrain = sidecar ? 2 * DRAIN_SECONDS : DRAIN_SECONDS
  const ports = lines(
    !sidecar && `- { name: ${site.gateway}, containerPort: ${CONTAINER_PORT} }`,
    `- { name: metrics, containerPort: ${METRICS_PORT} }`,
  )
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
      terminationGracePeriodSeconds: ${STOP_SECONDS + appDrain}
      securityContext: { runAsNonRoot: true, fsGroup: ${NODE_USER} }
      containers:
        - name: app
          image: portico-app
          command: ${command}
          securityContext: { runAsUser: ${NODE_USER}, allowPrivilegeEscalation: false }
          # The share of a core that 100 % of the autoscaler's utilization stands for.
          resources:
            requests: { cpu: 500m, memory: 256Mi }
          ports:
${indent(ports, ' '.repeat(12))}
          volumeMounts:
            - { name: run, mountPath: ${SHARED} }
          lifecycle:
            preStop:
              exec: { command: ["sleep", "${appDrain}"] }
          startupProbe:
            exec: { command: ["portico", "ping", "${CONTROL}"] }
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 30
          readinessProbe:
            exec: { command: ["portico", "ping", "${CONTROL}"] }
            periodSeconds: 5
            timeoutSeconds: 5
          livenessProbe:
            exec: { command: ["portico", "ping", "${CONTROL}"] }
            periodSeconds: 20
            timeoutSeconds: 10
            failureThreshold: 3
${sidecar ? nginxContainer() : ''}      volumes:
        - { name: run, emptyDir: { medium: Memory } }
${sidecar ? nginxVolume() : ''}${sidecar ? configMap(site, socket) : ''}---
apiVersion: v1
kind: Service
metadata:
  name: portico
spec:
  selector: { app: portico }
  ports:
    - { name: ${sidecar ? 'http' : site.gateway}, port: ${sidecar ? `80, targetPort: ${WEB_PORT}` : CONTAINER_PORT} }
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

function nginxContainer(): string {
  return `        - name: nginx
          image: nginxinc/nginx-unprivileged:stable
          securityContext: { runAsUser: ${NGINX_USER}, allowPrivilegeEscalation: false }
          resources:
            requests: { cpu: 100m, memory: 32Mi }
          ports:
            - { name: http, containerPort: ${WEB_PORT} }
          volumeMounts:
            - { name: run, mountPath: ${SHARED} }
            - { name: nginx, mountPath: /etc/nginx/conf.d }
          lifecycle:
            preStop:
              exec: { command: ["sleep", "${DRAIN_SECONDS}"] }
          readinessProbe:
            tcpSocket: { port: ${WEB_PORT} }
            periodSeconds: 5
`
}

function nginxVolume(): string {
  return `        - { name: nginx, configMap: { name: portico-nginx } }
`
}

function configMap(site: Site, socket: string): string {
  const listen = `0.0.0.0:${WEB_PORT}`
  const [file] = nginx.configure({ ...site, to: socket, listen, tls: undefined, files: undefined })
  return `---
apiVersion: v1
kind: ConfigMap
metadata:
  name: portico-nginx
data:
  default.conf: |
${indent(file!.text)}`
}
