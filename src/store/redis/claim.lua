
local id, from, handle, life = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local record, last = find(id)
if not record or record.kind == 'H' then return {text(now), 'lost'} end

local function claimed()
  local reply = {text(math.max(now, tonumber(record.epoch))), 'claimed', record.epoch}
  -- What was evicted is not there.
  if not is_kept(record) then return false end
  local kept = redis.call('LRANGE', journal(id, record), 0, -1)
  if #kept == 0 then kept = {redis.call('GET', place(record)) or nil} end
  for at = 1, #kept do reply[at + 3] = kept[at] end
  return #kept > 0 and reply
end

if record.kind == 'D' then
  local heir = record.kept == 'C' .. record.epoch
  if record.epoch ~= from or heir and record.rest ~= handle then return {text(now), 'lost'} end
  local reply = claimed()
  if not reply then return {text(now), 'lost'} end
  if not heir then
    record.kept, record.rest = 'C' .. record.epoch, handle
    -- This comes first: see `park`.
    redis.call('HDEL', key, id)
    redis.call('HSET', key, id, write(record))
  end
  return reply
end

if record.epoch ~= from then
  local is_again = record.kept == 'C' .. from and record.rest == handle
  return is_again and claimed() or {text(now), 'lost'}
end
local had, former = record.ends, copy(record)
local reply = claimed()
if not reply then return {text(now), 'none'} end
record.epoch, record.kept, record.rest = text(math.max(now, last + 1)), 'C' .. from, handle
reply[1], reply[3] = text(math.max(now, tonumber(record.epoch))), record.epoch
-- These come first: see `park`.
move(id, former, record)
redis.call('HDEL', key, id)
hold(id, record, life, record.epoch)
if had > 0 or life > 0 then hold_kept(id, record) end
return reply
