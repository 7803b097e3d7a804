
-- For each change KEYS has the hash and the list, and ARGV the epoch, the revision and the change. All are found to be held,
-- and to have a snapshot, before one is written.
local changes = #KEYS / 2
local held = {}
for n = 0, changes - 1 do
  local list, epoch, kept = KEYS[2 * n + 2], ARGV[3 * n + 1], 'K' .. ARGV[3 * n + 2]
  local mark = epoch .. kept
  if held[list] ~= mark then
    key = KEYS[2 * n + 1]
    local record = find(string.sub(list, #key + 2))
    if not (record and record.kind == 'S' and record.epoch == epoch and record.kept == kept) then
      return {text(now), 'lost'}
    end
    if redis.call('LLEN', list) == 0 then return {text(now), 'evicted'} end
    held[list] = mark
  end
end
-- The first command that needs memory: if there is none, nothing has changed.
for n = 0, changes - 1 do redis.call('RPUSH', KEYS[2 * n + 2], ARGV[3 * n + 3]) end
return {text(now), 'held'}
