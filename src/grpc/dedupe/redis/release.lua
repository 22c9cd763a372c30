-- Takes back a claim with which nothing was done, be it here or yet to arrive, and says so for a while.
-- KEYS: the write, its lease. ARGV: token, milliseconds of the while.
local token, result = unpack(redis.call('HMGET', KEYS[1], 'token', 'result'))
if result or (token and token ~= ARGV[1]) then return {'passed'} end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'released', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'released'}
