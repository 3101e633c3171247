-- Issues a permit for one call, or a retry time.
--
-- KEYS[1], a hash of times in microseconds on this server's clock:
--   CALLS/WINDOW  when the window's next call would be due if all calls were evenly spaced
--   next_new      the next free retry time for a new caller
--   next_due      the next free retry time for a caller that was due but got no permit
--   held, hold    the end of the hold on all calls, and the length of that hold
-- ARGV: the caller's state ('new', 'early' for a caller that is not due yet, 'due', or 'hold' to report
--   a hold only); the length of its hold; the longest window; then the name, interval and burst of each
--   window.
-- Returns how long to wait (0 is a permit), and whether all calls are held.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local changes = {}
local function store(field, time)
  changes[#changes + 1] = field
  changes[#changes + 1] = string.format('%.0f', time)
end

-- Whether a stored time is later than possible: the clock was set back, for example by a failover.
local clock_set_back = false
-- Returns a stored time. One that is later than `latest` is replaced by `fallback` or `latest`.
local function time(field, latest, fallback)
  local at = tonumber(redis.call('HGET', KEYS[1], field) or 0)
  if at <= latest then return at end
  clock_set_back, at = true, fallback or latest
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
-- The end of the last window or hold that is known.
local last_end = math.max(now, held) + longest

local wait = 0
if asker ~= 'hold' then
  -- From when on every window has capacity for one call, and for two.
  local ready, ready_for_two = -math.huge, -math.huge
  -- The interval of the window that has capacity last.
  local ready_interval = 0
  -- When each window's next call would be due after this call.
  local due_after = {}
  for i = 4, #ARGV, 3 do
    local interval, burst = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    local due = time(ARGV[i], now + burst * interval)
    due_after[ARGV[i]] = math.max(due, now) + interval
    local from = due - (burst - 1) * interval
    if from >= ready then ready, ready_interval = from, interval end
    ready_for_two = math.max(ready_for_two, from + interval)
  end
  -- A retry time more than ten minutes after `last_end` is reset to now, which restarts the queue. Times from
  -- a clock that was set back are discarded.
  local latest = clock_set_back and now or last_end + 600000000
  local next_new, next_due = time('next_new', latest, now), time('next_due', latest, now)
  -- Callers that are due come first. If there is capacity for two, any caller gets a permit, because
  -- queued callers may be dead.
  local first = asker == 'due' or math.max(next_new, next_due) <= now or ready_for_two <= now
  if first and math.max(ready, held) <= now then
    for window, due in pairs(due_after) do store(window, due) end
  elseif asker == 'early' then
    wait = 1 -- the caller keeps its retry time
  else
    local retry_at = math.max(asker == 'due' and 0 or next_new, next_due, ready, held, now)
    store(asker == 'due' and 'next_due' or 'next_new', retry_at + ready_interval)
    wait = math.max(retry_at - now, 1)
  end
end

if #changes > 0 then
  redis.call('HSET', KEYS[1], unpack(changes))
  redis.call('PEXPIRE', KEYS[1], math.ceil((last_end - now) / 1000))
end
return {wait, held > now and 1 or 0}
