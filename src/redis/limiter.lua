-- Issues a permit for one call, or a retry time.
--
-- KEYS[1], a hash of times in microseconds on this server's clock:
--   CALLS/WINDOW  when the window's next call would be due if all calls were evenly spaced
--   line, again   the next free retry time for a new caller, and for a caller that was due but got no permit
--   held, hold    the end of the hold on all calls, and the length of that hold
-- ARGV: the caller's state ('new', 'early' for a caller that is not due yet, 'due', or 'hold' to report
--   a hold only); the length of its hold; the longest window; then the name, interval and burst of each
--   window.
-- Returns how long to wait (0 is a permit), and whether all calls are held.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local set = {}
local function store(field, time)
  set[#set + 1] = field
  set[#set + 1] = string.format('%.0f', time)
end

-- Set if a stored time is later than possible: the clock was set back, for example by a failover.
local back = false
-- Returns a stored time. One that is later than `most` is replaced by `instead` or `most`.
local function time(field, most, instead)
  local at = tonumber(redis.call('HGET', KEYS[1], field) or 0)
  if at <= most then return at end
  back, at = true, instead or most
  store(field, at)
  return at
end

local asker, hold, longest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local held = time('held', now + time('hold', math.huge))
if now + hold > held then
  held = now + hold
  store('held', held)
  store('hold', hold)
end
local far = math.max(now, held) + longest

local wait = 0
if asker ~= 'hold' then
  -- The times from which every window has capacity for one call, and for two; the interval of the
  -- window that has it last; and each window's next due time after this call.
  local ready, spare, pace, due_after = -math.huge, -math.huge, 0, {}
  for i = 4, #ARGV, 3 do
    local interval, burst = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    local due = time(ARGV[i], now + burst * interval)
    due_after[ARGV[i]] = math.max(due, now) + interval
    local from = due - (burst - 1) * interval
    if from >= ready then ready, pace = from, interval end
    spare = math.max(spare, from + interval)
  end
  -- A retry time more than ten minutes after `far` is reset to now, which restarts the queue. Times from a
  -- clock that was set back are discarded.
  local most = back and now or far + 600000000
  local line, again = time('line', most, now), time('again', most, now)
  -- Callers that are due come first. If there is capacity for two, any caller gets a permit, because
  -- queued callers may be dead.
  local first = asker == 'due' or math.max(line, again) <= now or spare <= now
  if first and math.max(ready, held) <= now then
    for window, due in pairs(due_after) do store(window, due) end
  elseif asker == 'early' then
    wait = 1 -- the caller keeps its retry time
  else
    local place = math.max(asker == 'due' and 0 or line, again, ready, held, now)
    store(asker == 'due' and 'again' or 'line', place + pace)
    wait = math.max(place - now, 1)
  end
end

if #set > 0 then
  redis.call('HSET', KEYS[1], unpack(set))
  redis.call('PEXPIRE', KEYS[1], math.ceil((far - now) / 1000))
end
return {wait, held > now and 1 or 0}
