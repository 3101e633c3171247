-- Ends the caller's lease and stores its result. Does nothing if the caller no longer has the lease.
--
-- KEYS: the lease, and where to store the result. ARGV: the caller's id, the result, and its lifetime in
--   milliseconds (0: the result is not stored).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if tonumber(ARGV[3]) > 0 then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end
return 1
