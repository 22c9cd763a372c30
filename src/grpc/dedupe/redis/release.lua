-- Takes back a claim with which nothing was done.
-- KEYS: the write, its lease. ARGV: token.
local token, result = unpack(redis.call('HMGET', KEYS[1], 'token', 'result'))
if token ~= ARGV[1] or result then return {'passed'} end
redis.call('DEL', KEYS[1], KEYS[2])
return {'released'}
