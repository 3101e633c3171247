-- Returns the shared token, or what the caller must do to get one.
--
-- KEYS: the token; the lease of the process that fetches one; the errcode with which WeCom refused the
--   secret.
-- ARGV: the caller's id, the lifetime of a lease in milliseconds, and a token that WeCom refused.
-- Returns an action, its value, and a time in milliseconds: 'token' (the token, its lifetime), 'refused'
--   (the errcode, its lifetime), 'wait' for the lease of another process, or 'fetch': the caller has the
--   lease.
local token = redis.call('GET', KEYS[1])
if token == ARGV[3] then
  redis.call('DEL', KEYS[1])
elseif token then
  return {'token', token, redis.call('PTTL', KEYS[1])}
end
local errcode = redis.call('GET', KEYS[3])
if errcode then return {'refused', errcode, redis.call('PTTL', KEYS[3])} end
local fetcher = redis.call('GET', KEYS[2])
if fetcher and fetcher ~= ARGV[1] then
  return {'wait', '', redis.call('PTTL', KEYS[2])}
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {'fetch', '', 0}
