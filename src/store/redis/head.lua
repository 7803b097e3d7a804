-- KEYS[1] is the hash of one owner. Its field '' is the owner's last epoch; every other field is an SM-ID:
--   S<epoch> <kept> <end> <handle>  a session
--   D<epoch> <kept> <end> <handle>  one that had to make room, and whose h is to come
--   H<epoch> N <end> <h>            one that is gone, with its last h
-- Times are microseconds by the engine's clock. An <end> of 0 never comes. An epoch is the time, or the last one and 1:
-- it goes up even after the hash has expired or was lost.
-- <kept> tells what there is of the session in a list of its own, the snapshot and what has changed since:
--   N            nothing, and its registration has written nothing
--   U<revision>  nothing any more
--   K<revision>  what its registration has written last
--   C<epoch>     what the registration of that epoch had written, from which it was claimed. A displaced session stays what
--                it is: that is its own epoch then, and <handle> is who has claimed it
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
  local kind, epoch, kept, ends, rest = string.match(value, '^([SDH])(%d+) ([NUKC]%d*) (%d+) (.*)$')
  if not kind then foreign() end
  return {kind = kind, epoch = epoch, ends = tonumber(ends), kept = kept, rest = rest}
end

local function write(record)
  return record.kind .. record.epoch .. ' ' .. record.kept .. ' ' .. text(record.ends) .. ' ' .. record.rest
end

local function is_over(record)
  return record.ends > 0 and now > record.ends
end

local function is_kept(record)
  return string.match(record.kept, '^[KC]')
end

-- Drops what is kept of a session. It needs no memory, and leaves alone what is not of this store.
local function forget(id)
  local list = key .. ':' .. id
  if redis.call('TYPE', list).ok == 'list' then redis.call('UNLINK', list) end
end
