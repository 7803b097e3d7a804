
local id, from, handle, life = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local record, last = find(id)
if not record or record.kind == 'H' then return {text(now), 'lost'} end

-- Returns what is kept of it. What was evicted is not there.
local function claimed()
  if not is_kept(record) then return false end
  reach(id, record)
  local reply = {text(math.max(now, tonumber(record.epoch))), 'claimed', record.epoch}
  local kept = redis.call('LRANGE', journal(id, record), 0, -1)
  if #kept == 0 then kept = {redis.call('GET', place(record)) or nil} end
  for at = 1, #kept do reply[at + 3] = kept[at] end
  return #kept > 0 and reply
end

if record.epoch ~= from then
  local is_again = record.kept == 'C' .. from and record.rest == handle
  return is_again and claimed() or {text(now), 'lost'}
end
local reply = claimed()
-- One that was displaced has no host that could have it in memory.
if not reply then return {text(now), record.kind == 'D' and 'lost' or 'none'} end
local epoch = text(math.max(now, last + 1))
-- One that was displaced stays it.
local heir = {kind = record.kind, epoch = epoch, kept = 'C' .. from, ends = record.ends, rest = handle}
reply[1], reply[3] = epoch, epoch
-- These come first: see `park`.
move(id, record, heir)
redis.call('HDEL', key, id)
hold(id, heir, life, epoch)
if record.ends > 0 or life > 0 then hold_kept(id, heir) end
return reply
