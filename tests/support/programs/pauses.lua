-- wrk: each request asks for a pause of so many milliseconds: most short, a few long. Says what wrk measured, in seconds.
local asked = 0

function request()
  asked = asked + 1
  return wrk.format("GET", asked % 25 == 0 and "/200/320" or "/200/35")
end

function done(summary, latency)
  io.write(string.format('\n{"0.5": %f, "0.99": %f}\n', latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
