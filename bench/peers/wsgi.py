"""The benchmark application for uWSGI."""

BLOCK = b'portico ' * 8192
TEXT = [('Content-Type', 'text/plain; charset=utf-8')]
BYTES = [('Content-Type', 'application/octet-stream')]


def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/hello':
        start_response('200 OK', TEXT)
        return [b'Hello, world!\n']
    if path == '/64k':
        start_response('200 OK', BYTES)
        return [BLOCK]
    if path == '/echo':
        body = environ['wsgi.input'].read(int(environ['CONTENT_LENGTH']))
        start_response('200 OK', BYTES)
        return [body]
    start_response('404 Not Found', TEXT)
    return [b'']
