
-- For each change KEYS has the journal that it goes to, and ARGV the change. A journal's name has the epoch, the revision and
-- the SM-ID: if it is there, the session is held, and its record need not be read.
local call, keys, changes = redis.call, KEYS, ARGV

-- Returns what went wrong: 0 if a journal is not there, or an error. Then nothing is written.
local function write_all()
  local written = 0
  local _, wrong = pcall(function()
    for at = 1, #keys do
      if call('RPUSHX', keys[at], changes[at]) == 0 then return 0 end
      written = at
    end
  end)
  if wrong then
    for at = written, 1, -1 do call('LTRIM', keys[at], 0, -2) end
  end
  return type(wrong) == 'string' and {err = wrong} or wrong
end

-- The name of the snapshot alone, the owner's, and the SM-ID.
local function parts(journal)
  return string.match(journal, '^((.*}):%d+:%d+)%+(.*)$')
end

-- Returns why there is no journal. If there is a snapshot it becomes one.
local function open(journal)
  local alone, owner, id = parts(journal)
  key = owner
  local record = find(id)
  local is_held = record and record.kind == 'S' and is_kept(record) and place(record) == alone
  if not is_held then return 'lost' end
  if call('EXISTS', journal) == 1 then return end
  local snapshot, ends = call('GET', alone), call('PEXPIRETIME', alone)
  if not snapshot then return 'evicted' end
  call('RPUSH', journal, snapshot)
  if ends > 0 then call('PEXPIREAT', journal, text(ends)) end
  call('DEL', alone)
end

local failed = write_all()
if failed == 0 then
  -- First all names: see `reach`.
  for at = 1, #keys do
    local alone, owner = parts(keys[at])
    call('EXISTS', owner, alone, keys[at])
  end
  for at = 1, #keys do
    local why = open(keys[at])
    if why then return {text(now), why} end
  end
  failed = write_all()
end
return failed or {text(now), 'held'}
