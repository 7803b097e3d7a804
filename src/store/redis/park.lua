
-- Without a snapshot nothing is to be kept any more.
local id, epoch, revision, life, snapshot = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local list = KEYS[2]
local record = find(id)
if not record or record.kind ~= 'S' or record.epoch ~= epoch then return {text(now), 'lost'} end
local latest = tonumber(string.match(record.kept, '^[UK](%d+)$') or 0)
if tonumber(revision) < latest then return {text(now), 'lost'} end
-- What was evicted is written again.
local is_there = not snapshot or redis.call('LLEN', list) > 0 or not is_kept(record)
if tonumber(revision) == latest and is_there then return {text(now), 'held'} end

if snapshot then
  record.kept = 'K' .. revision
  -- The first command that needs memory: if there is none, nothing has changed.
  hold(id, record, life)
  redis.call('DEL', list)
  redis.call('RPUSH', list, snapshot)
  if life > 0 then hold_list(list, record) end
else
  -- These come first: they need no memory, and what has begun to write goes on where there is none.
  if is_kept(record) then forget(id) end
  redis.call('HDEL', key, id)
  record.kept = 'U' .. revision
  hold(id, record, life)
end
return {text(now), 'held'}
