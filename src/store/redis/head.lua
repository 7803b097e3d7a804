-- KEYS[1] is the hash of one owner. Its field '' is the owner's last epoch; every other field is an SM-ID:
--   S<epoch> <kept> <end> <handle>  a session
--   D<epoch> <kept> <end> <handle>  one that had to make room, and whose h is to come
--   H<epoch> N <end> <h>            one that is gone, with its last h
-- Times are microseconds by the engine's clock. An <end> of 0 never comes. An epoch is the time, or the last one and 1:
-- it goes up even after the hash has expired or was lost.
-- <kept> tells what there is of the session beside it, the snapshot and what has changed since:
--   N            nothing, and its registration has written nothing
--   U<revision>  nothing any more
--   K<revision>  what its registration has written last
--   C<epoch>     what the registration of that epoch had written, from which it was claimed. A displaced session stays
--                displaced. One that an earlier release has claimed has its own epoch there
-- It lies under a name that has the epoch and the revision, and goes to another when either changes: what is there is held.
-- The snapshot alone is a string, which is small. With changes behind it it is a list, a journal, whose name goes on with '+'
-- and the SM-ID.
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

-- Where the snapshot of a session lies.
local function place(record)
  local what = record.kind == 'D' and 'D' or string.match(record.kept, '^K(%d+)$') or 'C'
  return key .. ':' .. record.epoch .. ':' .. what
end

local function journal(id, record)
  return place(record) .. '+' .. id
end

-- Before what is kept of a session is read or written. While a slot moves to another node of a cluster, some of its keys are
-- there already, and a command for one of them would take it for absent. This names several, of which one is not there: it
-- fails for as long as the slot moves, and nothing has changed. Returns whether something that is kept is there.
local function reach(id, record)
  return is_kept(record) and redis.call('EXISTS', key, place(record), journal(id, record)) > 1
end

-- Drops what is kept of a session. It needs no memory, and leaves alone what is not of this store.
local function forget(id, record)
  for name, kind in pairs({[place(record)] = 'string', [journal(id, record)] = 'list'}) do
    if redis.call('TYPE', name).ok == kind then redis.call('UNLINK', name) end
  end
end

-- What was kept of a session is kept under the names that it has now.
local function move(id, from, to)
  for _, name in ipairs({{place(from), place(to)}, {journal(id, from), journal(id, to)}}) do
    if redis.call('EXISTS', name[1]) == 1 then redis.call('RENAME', name[1], name[2]) end
  end
end
