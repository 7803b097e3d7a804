
-- Without a snapshot nothing is to be kept any more.
local id, epoch, revision, life, snapshot = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local record = find(id)
if not record or record.kind ~= 'S' or record.epoch ~= epoch then return {text(now), 'lost'} end
local latest = tonumber(string.match(record.kept, '^[UK](%d+)$') or 0)
if tonumber(revision) < latest then return {text(now), 'lost'} end
if tonumber(revision) == latest then
  -- What was evicted is written again.
  local is_there = not snapshot or not is_kept(record) or redis.call('EXISTS', place(record), journal(id, record)) > 0
  if is_there then return {text(now), 'held'} end
end

local former = {kind = 'S', epoch = epoch, kept = record.kept}
record.kept = (snapshot and 'K' or 'U') .. revision
reach(id, snapshot and record or former)
if snapshot then
  -- The first command that needs memory: if there is none, nothing has changed.
  hold(id, record, life)
  if is_kept(former) then forget(id, former) end
  redis.call('SET', place(record), snapshot)
  if life > 0 then hold_kept(id, record) end
else
  -- These come first: they need no memory, and what has begun to write goes on where there is none.
  if is_kept(former) then forget(id, former) end
  redis.call('HDEL', key, id)
  hold(id, record, life)
end
return {text(now), 'held'}
