
-- All that is known of the owner is read, and found to be well made, before anything is written.
local records, over, last = {}, {}, 0
local fields = redis.call('HGETALL', key)
for at = 1, #fields, 2 do
  local id, value = fields[at], fields[at + 1]
  if id == '' then
    last = tonumber(string.match(value, '^%d+$') or foreign())
  else
    local record = read(value)
    if is_over(record) then over[#over + 1] = id else records[id] = record end
  end
end
if #fields > 0 and last == 0 then foreign() end

local function put(id, record)
  redis.call('HSET', key, id, write(record))
  records[id] = record
end

local function drop(id)
  reach(id, records[id])
  redis.call('HDEL', key, id)
  if is_kept(records[id]) then forget(id, records[id]) end
  records[id] = nil
end

-- Drops what is over and the oldest of what is too much. The key expires with the last of what is left, and not before the
-- engine's clock could have been set back by an hour without an epoch being given twice.
local function settle(most_stale)
  -- What was kept of them has expired with them.
  for _, id in ipairs(over) do
    if not records[id] then redis.call('HDEL', key, id) end
  end
  local stale = {}
  for id, record in pairs(records) do
    if record.kind ~= 'S' and not is_kept(record) then stale[#stale + 1] = id end
  end
  if #stale > most_stale then
    table.sort(stale, function(one, other)
      one, other = records[one], records[other]
      if one.ends ~= other.ends then return one.ends < other.ends end
      return tonumber(one.epoch) < tonumber(other.epoch)
    end)
    for at = 1, #stale - most_stale do drop(stale[at]) end
  end
  local ends = now + 3600000000
  for _, record in pairs(records) do
    if record.ends == 0 then return redis.call('PERSIST', key) end
    ends = math.max(ends, record.ends)
  end
  redis.call('PEXPIREAT', key, text(math.ceil(ends / 1000)))
end
