-- Keeps the result of a write, also when a restart of Redis has lost the claim to it; never over
-- another result, nor over the claim of another.
-- KEYS: the write, its lease. ARGV: version, fingerprint, token, milliseconds of the window, result.
local token, result = unpack(redis.call('HMGET', KEYS[1], 'token', 'result'))
if result or (token and token ~= ARGV[3]) then return {'passed'} end
-- The lease ends first, so that also a full Redis keeps the result: what takes memory it refuses only at a
-- script's first change. Not by a `DEL`: a login that may not run it has its claims, and is to have its results.
redis.call('PEXPIRE', KEYS[2], 0)
redis.call('HSET', KEYS[1],
  'version', ARGV[1], 'fingerprint', ARGV[2], 'token', ARGV[3], 'result', ARGV[5])
if not token then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return {'kept'}
