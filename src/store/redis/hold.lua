
-- Writes the record of a session that is there for another while, with the owner's last epoch if it is a new one, and lets
-- the owner's key expire then at the earliest.
local function hold(id, record, life, last)
  local had = record.ends
  record.ends = life > 0 and now + life or 0
  if last then
    redis.call('HSET', key, '', last, id, write(record))
  else
    redis.call('HSET', key, id, write(record))
  end
  if life > 0 then
    -- An hour at least: see `settle`.
    local ends = math.max(record.ends, now + 3600000000)
    redis.call('PEXPIREAT', key, text(math.ceil(ends / 1000)), 'GT')
  elseif had > 0 then
    redis.call('PERSIST', key)
  end
end

-- What is kept of it expires with it.
local function hold_kept(id, record)
  for _, name in ipairs({place(record), journal(id, record)}) do
    if record.ends > 0 then
      redis.call('PEXPIREAT', name, text(math.ceil(record.ends / 1000)))
    else
      redis.call('PERSIST', name)
    end
  end
end
