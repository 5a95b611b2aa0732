-- The request that wrk sends, and its report: `wrk … URL -- SIZE`, SIZE in bytes of the body. The
-- last line printed is JSON with the same fields as that of load.c.

function init(args)
  local size = tonumber(args[1])
  if size > 0 then
    wrk.method = 'POST'
    wrk.body = string.rep('portico ', size / 8)
    wrk.headers['Content-Type'] = 'application/octet-stream'
  end
  request_bytes = wrk.format()
end

function request()
  return request_bytes
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "elapsed": %d, "errors": %d, "failures": %d, "bytes": %d, ' ..
      '"p50": %.1f, "p99": %.1f}\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status, summary.bytes,
    latency:percentile(50), latency:percentile(99)))
end
