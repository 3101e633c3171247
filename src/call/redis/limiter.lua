-- Leave for one call, or a place in the line.
--
-- KEYS[1], a hash of times in microseconds on this server's clock:
--   CALLS/WINDOW  when the window's next call would be due, had all come evenly
--   line, again   the next free place for a newcomer, and for one whose turn came and found no room
--   held, hold    nobody may call before this, and how long that was when it was told
-- ARGV: whether the asker is 'new', has a place and is 'early', has waited its 'turn', or only tells of
--   a 'hold'; how long it wants all to be held; the longest window; then each window's name, interval
--   and burst.
-- Returns how long to wait, 0 being leave to call, and whether that is for a hold.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local set = {}
local function keep(field, time)
  set[#set + 1] = field
  set[#set + 1] = string.format('%.0f', time)
end

-- Further ahead than it can be: the clock was set back, as by a failover. What is kept follows, or it
-- would be as far ahead at the next look.
local back = false
local function time(field, most, instead)
  local at = tonumber(redis.call('HGET', KEYS[1], field) or 0)
  if at <= most then return at end
  back, at = true, instead or most
  keep(field, at)
  return at
end

local asker, hold, longest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local held = time('held', now + time('hold', math.huge))
if now + hold > held then
  held = now + hold
  keep('held', held)
  keep('hold', hold)
end
local far = math.max(now, held) + longest

local wait = 0
if asker ~= 'hold' then
  -- From when on every window has room for one call, and for a second one; the pace of the window
  -- that has it last.
  local room, spare, pace, paid = -math.huge, -math.huge, 0, {}
  for i = 4, #ARGV, 3 do
    local interval, burst = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    local due = time(ARGV[i], now + burst * interval)
    paid[ARGV[i]] = math.max(due, now) + interval
    local from = due - (burst - 1) * interval
    if from >= room then room, pace = from, interval end
    spare = math.max(spare, from + interval)
  end
  -- The line is as long as those who wait make it, within reason; what a clock that is now behind has
  -- said of it is void.
  local most = back and now or far + 600000000
  local line, again = time('line', most, now), time('again', most, now)
  -- Who has waited comes first. A place binds nothing: once there is room for two, one is whoever's
  -- asks, because some in the line may be dead.
  local first = asker == 'turn' or math.max(line, again) <= now or spare <= now
  if first and math.max(room, held) <= now then
    for window, due in pairs(paid) do keep(window, due) end
  elseif asker == 'early' then
    wait = 1 -- or more: its place is as it was
  else
    local place = math.max(asker == 'turn' and 0 or line, again, room, held, now)
    keep(asker == 'turn' and 'again' or 'line', place + pace)
    wait = math.max(place - now, 1)
  end
end

if #set > 0 then
  redis.call('HSET', KEYS[1], unpack(set))
  redis.call('PEXPIRE', KEYS[1], math.ceil((far - now) / 1000))
end
return {wait, held > now and 1 or 0}
