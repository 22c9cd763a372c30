-- Puts another result in the place of what repeats are given; when it expires stays as it is.
-- KEYS: the write. ARGV: version, fingerprint, result.
local version, fingerprint = unpack(redis.call('HMGET', KEYS[1], 'version', 'fingerprint'))
if version ~= ARGV[1] or fingerprint ~= ARGV[2] then return {'passed'} end
redis.call('HSET', KEYS[1], 'result', ARGV[3])
return {'kept'}
