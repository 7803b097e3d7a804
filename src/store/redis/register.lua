
local id, handle, known, turn = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local most, refuses, life = tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[7])
local most_stale, stale_life = tonumber(ARGV[8]), tonumber(ARGV[9])

-- Another has registered since this was asked for. It is asked for again, and has its turn then, whoever else registers: a
-- node that is farther away than others, or slower, would never have it.
if last > known and (turn == 0 or now - known > turn) then return {text(math.max(last, now)), 'late'} end

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
local leaver, made_room = records[displaced], nil
if leaver and is_kept(leaver) then
  made_room = {kind = 'D', epoch = leaver.epoch, ends = leaver.ends, kept = leaver.kept, rest = leaver.rest}
  reach(displaced, leaver)
end
if replaced then reach(id, replaced) end
-- The first command that needs memory: if there is none, nothing has changed.
redis.call('HSET', key, '', epoch, id, write(record))
records[id] = record
if replaced and is_kept(replaced) then forget(id, replaced) end
if displaced then
  reply = {epoch, 'registered', displaced, leaver.epoch, leaver.rest}
  if made_room then
    move(displaced, leaver, made_room)
    put(displaced, made_room)
  elseif stale_life < 0 then
    drop(displaced)
  else
    put(displaced, {kind = 'D', epoch = leaver.epoch, ends = now + stale_life, kept = 'N', rest = '-'})
  end
end
settle(most_stale)
return reply
