-- One step of a holder, if the lease is still its own.
--
-- KEYS: the leases, as in claim.lua, and a hash of checkpoints by meeting.
-- ARGV: the meeting, the holder, how long a lease lasts and how long the hashes are kept (ms), what to
--   do, and for 'save' the checkpoint.
-- Returns whether it was done.
local lease = redis.call('HGET', KEYS[1], ARGV[1])
-- Nobody's: this Redis has lost it, and nobody has claimed the meeting since. A lease that was ended
-- keeps its holder's name, lest an earlier holder takes it for such a one.
if lease and lease:match(' (.*)$') ~= ARGV[2] then return 0 end

local what, ends = ARGV[5], 0
-- By the asker itself: the answer was lost on the way.
if lease and lease:match('^finished') then return what == 'finish' and 1 or 0 end
if what == 'finish' then
  redis.call('HSET', KEYS[1], ARGV[1], 'finished ' .. ARGV[2])
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  if what == 'save' then redis.call('HSET', KEYS[2], ARGV[1], ARGV[6]) end
  if what ~= 'release' then
    local clock = redis.call('TIME')
    ends = clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[3]
  end
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', ends, ARGV[2]))
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1
