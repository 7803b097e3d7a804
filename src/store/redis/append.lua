
-- For each session KEYS has the hash and the list, and ARGV its epoch, the revision, how many changes there are, and these.
-- All are found to be held, and to have a snapshot, before one is written.
local at = 1
for n = 1, #KEYS, 2 do
  key = KEYS[n]
  local id = string.sub(KEYS[n + 1], #key + 2)
  -- This is what it is, unless something is wrong.
  local held = 'S' .. ARGV[at] .. ' K' .. ARGV[at + 1] .. ' 0 '
  local value = redis.call('HGET', key, id)
  if not value or string.sub(value, 1, #held) ~= held then
    local record = find(id)
    if not (record and record.kind == 'S' and record.epoch == ARGV[at] and record.kept == 'K' .. ARGV[at + 1]) then
      return {text(now), 'lost'}
    end
  end
  if redis.call('LLEN', KEYS[n + 1]) == 0 then return {text(now), 'evicted'} end
  at = at + 3 + ARGV[at + 2]
end
at = 1
for n = 1, #KEYS, 2 do
  local first, last = at + 3, at + 2 + ARGV[at + 2]
  -- The first command that needs memory: if there is none, nothing has changed. So many at once fit on the stack.
  for from = first, last, 1000 do
    redis.call('RPUSH', KEYS[n + 1], unpack(ARGV, from, math.min(last, from + 999)))
  end
  at = last + 1
end
return {text(now), 'held'}
