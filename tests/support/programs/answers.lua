-- wrk: one request in twenty to /500, and an end after so many answers (the thread's argument), none of them under way.
local share, wanted = 20, 0
local asked, answered = 0, 0

function init(words)
  wanted = tonumber(words[1])
end

function request()
  asked = asked + 1
  return wrk.format("GET", asked % share == 0 and "/500" or "/200")
end

function response()
  answered = answered + 1
  if answered == wanted then wrk.thread:stop() end
end

function done(summary)
  io.write(string.format('\n{"requests": %d, "errors": %d}\n', summary.requests, summary.errors.status))
end
