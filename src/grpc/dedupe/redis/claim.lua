-- Asks to do a write, or goes on holding it: the same token may claim again and again.
-- KEYS: the write, its lease. ARGV: version, fingerprint, token, milliseconds of the window, of the
-- lease and of what a claim has left at the least, 1 if a write that was abandoned may be done again,
-- and 1 if one of which nothing is known may be begun.
local version, fingerprint, token, result, released =
  unpack(redis.call('HMGET', KEYS[1], 'version', 'fingerprint', 'token', 'result', 'released'))
if version then
  if version ~= ARGV[1] then return {'foreign'} end
  if fingerprint ~= ARGV[2] then return {'reused'} end
  if result then return {'ended', result} end
  if token ~= ARGV[3] then
    if redis.call('EXISTS', KEYS[2]) == 1 then return {'running'} end
    if ARGV[7] ~= '1' then return {'abandoned'} end
  end
elseif released then
  -- It arrives after it was given back, and nobody is there to do the write.
  if released == ARGV[3] then return {'released'} end
elseif ARGV[8] ~= '1' then
  -- What was seen is lost, and not given back: whoever does the write may go on.
  return {'running'}
end
-- Who holds it goes on when Redis is full, which refuses what takes memory only at a script's first change.
if token == ARGV[3] then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end
-- The lease first, as it ends by itself. And by a `PEXPIRE` once more: where the login may not run it, the
-- script ends here, before it leaves what would stay for ever.
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'fingerprint', ARGV[2], 'token', ARGV[3])
-- What is running is remembered, also beyond its window.
if not version then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
elseif redis.call('PTTL', KEYS[1]) < tonumber(ARGV[6]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
return {'mine'}
