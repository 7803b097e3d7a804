
local id, handle, known = ARGV[1], ARGV[2], tonumber(ARGV[3])
local most, refuses, life = tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local most_stale, stale_life = tonumber(ARGV[7]), tonumber(ARGV[8])

-- Another has registered since this was asked for.
if last > known then return {text(math.max(last, now)), 'late'} end

local displaced
if not (records[id] and records[id].kind == 'S') then
  local sessions = 0
  for other, record in pairs(records) do
    if record.kind == 'S' then
      sessions = sessions + 1
      if not displaced or tonumber(record.epoch) < tonumber(records[displaced].epoch) then displaced = other end
    end
  end
  if sessions < most then
    displaced = nil
  elseif refuses then
    return {text(now), 'full'}
  end
end

local epoch = text(math.max(now, last + 1))
local ends = life > 0 and now + life or 0
local reply = {epoch, 'registered'}
local replaced = records[id]
local record = {kind = 'S', epoch = epoch, ends = ends, kept = 'N', rest = handle}
-- The first command that needs memory: if there is none, nothing has changed.
redis.call('HSET', key, '', epoch, id, write(record))
records[id] = record
if replaced and is_kept(replaced) then forget(id, replaced) end
if displaced then
  local record = records[displaced]
  reply = {epoch, 'registered', displaced, record.epoch, record.rest}
  if is_kept(record) then
    local made_room = {kind = 'D', epoch = record.epoch, ends = record.ends, kept = record.kept, rest = record.rest}
    move(displaced, record, made_room)
    put(displaced, made_room)
  elseif stale_life < 0 then
    drop(displaced)
  else
    put(displaced, {kind = 'D', epoch = record.epoch, ends = now + stale_life, kept = 'N', rest = '-'})
  end
end
settle(most_stale)
return reply
