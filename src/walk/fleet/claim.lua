-- Leases the first meeting to the asker that is neither finished nor leased to another one.
--
-- KEYS[1], a hash: a meeting -> 'finished' and by whom, or until when it is leased (in ms on this
--   server's clock) and to whom; the empty name -> the terms of whoever came first.
-- ARGV: the terms, the asker, how long a lease lasts and how long the hash is kept (ms), the meetings.
-- Returns what there is, and a number: 'claimed' and which meeting, from 0; 'wait' and for how many
--   ms until a lease may end; 'finished', all of them; 'terms', which are others.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

if redis.call('HSETNX', KEYS[1], '', ARGV[1]) == 0 and redis.call('HGET', KEYS[1], '') ~= ARGV[1] then
  return {'terms', 0}
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])

local soonest = math.huge
for i = 5, #ARGV do
  local lease = redis.call('HGET', KEYS[1], ARGV[i]) or '0 '
  local ends, holder = lease:match('^(%d+) (.*)$')
  if ends then
    -- The asker's own: the answer to an earlier claim was lost on the way.
    if tonumber(ends) <= now or holder == ARGV[2] then
      redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f %s', now + ARGV[3], ARGV[2]))
      return {'claimed', i - 5}
    end
    soonest = math.min(soonest, tonumber(ends))
  end
end
if soonest == math.huge then return {'finished', 0} end
return {'wait', soonest - now}
