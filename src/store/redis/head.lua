-- KEYS[1] is the hash of one owner. Its field '' is the owner's last epoch; every other field is an SM-ID:
--   S<epoch> <end> <handle>  a session
--   D<epoch> <end> -         one that had to make room, and whose h is to come
--   H<epoch> <end> <h>       one that is gone, with its last h
-- Times are microseconds by the engine's clock. An <end> of 0 never comes. An epoch is the time, or the last one and 1:
-- it goes up even after the hash has expired or was lost.
local key = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function text(number)
  return string.format('%.0f', number)
end

local function foreign()
  error(redis.error_reply('FOREIGN the key holds what this store has not written'))
end

local function read(value)
  local kind, epoch, ends, rest = string.match(value, '^([SDH])(%d+) (%d+) (.*)$')
  if not kind then foreign() end
  return {kind = kind, epoch = epoch, ends = tonumber(ends), rest = rest}
end

local function is_over(record)
  return record.ends > 0 and now > record.ends
end
