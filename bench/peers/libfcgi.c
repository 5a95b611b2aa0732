/*
 * A server on libfcgi, the C library of FastCGI's authors: PROCESSES processes share a socket, and
 * each handles one request at a time.
 *
 *   libfcgi SOCKET PROCESSES
 */
#include <fcgiapp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 65536, BACKLOG = 511 };

static char block[BLOCK];

static void head(FCGX_Stream *out, const char *type, int length) {
  FCGX_FPrintF(out, "Content-Type: %s\r\nContent-Length: %d\r\n\r\n", type, length);
}

static void respond(FCGX_Request *request) {
  static const char hello[] = "Hello, world!\n";
  const char *path = FCGX_GetParam("PATH_INFO", request->envp);
  if (strcmp(path, "/hello") == 0) {
    head(request->out, "text/plain; charset=utf-8", sizeof hello - 1);
    FCGX_PutStr(hello, sizeof hello - 1, request->out);
  } else if (strcmp(path, "/64k") == 0) {
    head(request->out, "application/octet-stream", BLOCK);
    FCGX_PutStr(block, BLOCK, request->out);
  } else if (strcmp(path, "/echo") == 0) {
    const char *length = FCGX_GetParam("CONTENT_LENGTH", request->envp);
    int size = length ? atoi(length) : 0;
    char *body = malloc(size + 1);
    size = FCGX_GetStr(body, size, request->in);
    head(request->out, "application/octet-stream", size);
    FCGX_PutStr(body, size, request->out);
    free(body);
  } else {
    FCGX_FPrintF(request->out, "Status: 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  for (int i = 0; i < BLOCK; i += 1) block[i] = "portico "[i % 8];
  FCGX_Init();
  int listening = FCGX_OpenSocket(argv[1], BACKLOG);
  if (listening < 0) return 1;
  for (int i = atoi(argv[2]); i > 0; i -= 1) {
    if (fork() > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    FCGX_Request request;
    FCGX_InitRequest(&request, listening, 0);
    while (FCGX_Accept_r(&request) == 0) {
      respond(&request);
      FCGX_Finish_r(&request);
    }
    _exit(0);
  }
  while (wait(NULL) > 0) continue;
  return 0;
}
