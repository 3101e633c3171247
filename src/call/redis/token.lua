-- The fleet's token, or what to do for one.
--
-- KEYS: the token; the lease of whoever fetches one; the errcode with which WeCom refused the secret.
-- ARGV: the asker, how many milliseconds a lease lasts, and a token that WeCom refused.
-- Returns what to do, with what, and for how many milliseconds: use the 'token'; take it as 'refused';
--   'wait' for the lease of another one; or 'fetch': the lease is the asker's, for all its time again.
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
