-- Ends the asker's lease with what came of it; if the lease is no longer the asker's, does nothing.
--
-- KEYS: the lease, and where what came of it goes. ARGV: the asker, what came of it, and for how many
--   milliseconds that is good: 0, and nothing is kept.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end
return 1
