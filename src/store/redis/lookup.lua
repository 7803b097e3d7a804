
local known = redis.call('HMGET', key, '', ARGV[1])
if known[1] and not string.match(known[1], '^%d+$') then foreign() end
if not known[1] and redis.call('EXISTS', key) == 1 then foreign() end
local record = known[2] and read(known[2])
if record and not is_over(record) then
  if record.kind == 'S' then return {text(now), 'session', record.epoch, record.rest} end
  if record.kind == 'H' then return {text(now), 'stale', record.rest} end
end
return {text(now), 'none'}
