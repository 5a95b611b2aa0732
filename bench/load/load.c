/*
 * Sends one request again and again through a Unix socket, and measures the time to each response.
 * It costs next to nothing, so that the server is always the bottleneck.
 *
 * The bytes of the request come from a file, in any protocol. This program knows of a protocol only
 * where a response ends, and whether its status is 200. A connection has one request at a time.
 * When the time is over, it starts no request, but it waits for the active ones, so that all CPU
 * time of the server belongs to the requests that are counted.
 *
 *   load PROTOCOL SOCKET FILE CONNECTIONS KEPT SECONDS
 *
 * PROTOCOL: fastcgi, http (responses with Content-Length), scgi, uwsgi (both end with the
 * connection). KEPT: 1 for kept-alive connections, 0 for a connection per request. Prints a line of
 * JSON: bytes are those of the heads and bodies of the responses, times are in microseconds.
 */
#define _GNU_SOURCE /* strcasestr */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum protocol { FASTCGI, HTTP, SCGI, UWSGI };

/* FastCGI 1.0, section 8. */
enum { FCGI_HEADER_LEN = 8, FCGI_END_REQUEST = 3, FCGI_STDOUT = 6 };

/* The longest head of a response that is parsed. */
enum { HEAD_SIZE = 4096 };

/* Stop after so many failures. */
enum { MAX_ERRORS = 1000 };

/* Fail after so many ms without an event. */
enum { STALLED = 20000 };

struct connection {
  int fd;
  int busy;       /* A request is active. */
  size_t sent;    /* Bytes of the request. */
  int waits;      /* For room in the socket's buffer. */
  double began;   /* When the request started, in us. */
  char head[HEAD_SIZE];
  size_t head_length;
  int in_body;            /* HTTP: the head is complete. */
  unsigned long long owed; /* HTTP: bytes of the body still to come. */
  unsigned char record[FCGI_HEADER_LEN];
  size_t record_length;
  size_t content; /* FastCGI: bytes still to come of the content, and then of the padding. */
  size_t padding;
};

static enum protocol protocol;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static const char *request;
static size_t request_size;
static int kept;
static int queue;
static double deadline;

static unsigned long long errors, failures, bytes;
static float *latencies;
static size_t count, room;
static size_t busy;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static void watch(struct connection *c, int operation, unsigned events) {
  struct epoll_event event = { .events = events, .data.ptr = c };
  if (epoll_ctl(queue, operation, c->fd, &event) < 0) die("epoll_ctl");
}

static void open_connection(struct connection *c) {
  c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  /* Blocks while the server's backlog is full; nginx would retry. */
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  watch(c, EPOLL_CTL_ADD, EPOLLIN);
  c->waits = 0;
}

static void close_connection(struct connection *c) {
  close(c->fd);
  c->fd = -1;
}

static void send_rest(struct connection *c) {
  while (c->sent < request_size) {
    ssize_t n = send(c->fd, request + c->sent, request_size - c->sent, MSG_NOSIGNAL);
    if (n < 0) break;
    c->sent += n;
  }
  /* If the server has closed, read() reports it as well. */
  int waits = c->sent < request_size && errno == EAGAIN;
  if (waits != c->waits) watch(c, EPOLL_CTL_MOD, waits ? EPOLLIN | EPOLLOUT : EPOLLIN);
  c->waits = waits;
}

static void begin(struct connection *c) {
  if (now() >= deadline) {
    if (c->fd >= 0) close_connection(c);
    return;
  }
  if (c->fd < 0) open_connection(c);
  c->busy = 1;
  busy += 1;
  c->sent = c->head_length = c->record_length = c->content = c->padding = 0;
  c->in_body = 0;
  c->began = now();
  send_rest(c);
}

static int says_success(const struct connection *c) {
  const char *head = c->head;
  if (c->head_length >= 12 && strncmp(head, "HTTP/1.", 7) == 0) return head[9] == '2';
  /* A CGI response may omit the 200 (RFC 3875, section 6.3.3). */
  if (c->head_length >= 9 && strncasecmp(head, "Status: ", 8) == 0) return head[8] == '2';
  return c->head_length > 0 && protocol != HTTP;
}

static void finish(struct connection *c) {
  c->busy = 0;
  busy -= 1;
  if (!says_success(c)) failures += 1;
  if (count == room) {
    room = room ? room * 2 : 65536;
    latencies = realloc(latencies, room * sizeof *latencies);
    if (!latencies) die("realloc");
  }
  latencies[count++] = now() - c->began;
  if (!kept) close_connection(c);
  begin(c);
}

static void fail(struct connection *c) {
  close_connection(c);
  if (c->busy) {
    c->busy = 0;
    busy -= 1;
    if (++errors > MAX_ERRORS) {
      fprintf(stderr, "more than %d connections were closed early\n", MAX_ERRORS);
      exit(1);
    }
  }
  begin(c);
}

static void take(struct connection *c, const char *data, size_t length) {
  bytes += length;
  size_t free = HEAD_SIZE - 1 - c->head_length;
  size_t part = length < free ? length : free;
  memcpy(c->head + c->head_length, data, part);
  c->head_length += part;
}

/* True when END_REQUEST is complete. */
static int take_records(struct connection *c, const char *data, size_t length) {
  while (length > 0) {
    if (c->record_length < FCGI_HEADER_LEN) {
      size_t part = FCGI_HEADER_LEN - c->record_length;
      if (part > length) part = length;
      memcpy(c->record + c->record_length, data, part);
      c->record_length += part;
      data += part;
      length -= part;
      if (c->record_length < FCGI_HEADER_LEN) return 0;
      c->content = c->record[4] << 8 | c->record[5];
      c->padding = c->record[6];
    }
    size_t part = c->content < length ? c->content : length;
    if (c->record[1] == FCGI_STDOUT) take(c, data, part);
    c->content -= part;
    data += part;
    length -= part;
    part = c->padding < length ? c->padding : length;
    c->padding -= part;
    data += part;
    length -= part;
    if (c->content == 0 && c->padding == 0) {
      c->record_length = 0;
      if (c->record[1] == FCGI_END_REQUEST) return 1;
    }
  }
  return 0;
}

/* True when the body is complete. Exits if a response has no Content-Length. */
static int take_http(struct connection *c, const char *data, size_t length) {
  if (!c->in_body) {
    size_t before = c->head_length;
    take(c, data, length);
    c->head[c->head_length] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return 0;
    end[2] = 0;
    char *field = strcasestr(c->head, "\r\nContent-Length:");
    if (!field) {
      fprintf(stderr, "a response without Content-Length:\n%s", c->head);
      exit(1);
    }
    c->owed = strtoull(field + 17, NULL, 10);
    c->in_body = 1;
    length -= end + 4 - c->head - before;
  } else {
    bytes += length;
  }
  c->owed -= length;
  return c->owed == 0;
}

static void readable(struct connection *c) {
  static char buffer[262144];
  for (;;) {
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      if (n == 0 && c->busy && protocol >= SCGI && c->head_length > 0) {
        finish(c);
      } else fail(c);
      return;
    }
    if (!c->busy) {
      fail(c);
      return;
    }
    int done = 0;
    if (protocol == FASTCGI) done = take_records(c, buffer, n);
    else if (protocol == HTTP) done = take_http(c, buffer, n);
    else take(c, buffer, n);
    if (done) {
      finish(c);
      return;
    }
    if ((size_t)n < sizeof buffer) return;
  }
}

static void map_request(const char *path) {
  int fd = open(path, O_RDONLY);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) < 0) die(path);
  request_size = status.st_size;
  request = mmap(NULL, request_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (request == MAP_FAILED) die("mmap");
  close(fd);
}

static int compare(const void *a, const void *b) {
  float difference = *(const float *)a - *(const float *)b;
  return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv) {
  static const char *const names[] = { "fastcgi", "http", "scgi", "uwsgi" };
  if (argc != 7) {
    fprintf(stderr, "usage: load PROTOCOL SOCKET FILE CONNECTIONS KEPT SECONDS\n");
    return 2;
  }
  while (strcmp(names[protocol], argv[1]) != 0) {
    if (++protocol > UWSGI) {
      fprintf(stderr, "load: no protocol is called %s\n", argv[1]);
      return 2;
    }
  }
  if (strlen(argv[2]) >= sizeof address.sun_path) {
    fprintf(stderr, "load: the path of the socket is too long\n");
    return 2;
  }
  strcpy(address.sun_path, argv[2]);
  map_request(argv[3]);
  size_t connections = strtoul(argv[4], NULL, 10);
  kept = atoi(argv[5]);
  queue = epoll_create1(EPOLL_CLOEXEC);
  if (queue < 0) die("epoll_create1");

  double start = now();
  deadline = start + atof(argv[6]) * 1e6;
  struct connection *all = calloc(connections, sizeof *all);
  if (!all) die("calloc");
  for (size_t i = 0; i < connections; i += 1) {
    all[i].fd = -1;
    begin(&all[i]);
  }
  while (busy > 0) {
    struct epoll_event events[256];
    int ready = epoll_wait(queue, events, 256, STALLED);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    if (ready == 0) {
      fprintf(stderr, "the server hangs: %zu requests have no response\n", busy);
      return 1;
    }
    for (int i = 0; i < ready; i += 1) {
      struct connection *c = events[i].data.ptr;
      if (c->fd < 0) continue;
      if (events[i].events & EPOLLOUT) send_rest(c);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
    }
  }
  double elapsed = now() - start;

  qsort(latencies, count, sizeof *latencies, compare);
  printf("{\"requests\": %zu, \"elapsed\": %.0f, \"errors\": %llu, \"failures\": %llu, "
         "\"bytes\": %llu, \"p50\": %.1f, \"p99\": %.1f}\n",
         count, elapsed, errors, failures, bytes, count ? latencies[count / 2] : 0.0,
         count ? latencies[count * 99 / 100] : 0.0);
  return 0;
}
