
-- Writes the record of a session that is there for another while, and lets its keys expire then. They have something of it.
local function hold(id, record, life)
  record.ends = life > 0 and now + life or 0
  redis.call('HSET', key, id, write(record))
  if life == 0 then return redis.call('PERSIST', key) end
  -- An hour at least: see `settle`.
  local ends = math.max(record.ends, now + 3600000000)
  redis.call('PEXPIREAT', key, text(math.ceil(ends / 1000)), 'GT')
end

local function hold_list(list, record)
  if record.ends == 0 then return redis.call('PERSIST', list) end
  redis.call('PEXPIREAT', list, text(math.ceil(record.ends / 1000)))
end
