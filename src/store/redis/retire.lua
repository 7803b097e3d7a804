
local id, epoch, h = ARGV[1], ARGV[2], ARGV[3]
local most_stale, stale_life = tonumber(ARGV[4]), tonumber(ARGV[5])
local record = records[id]
if record and record.epoch == epoch and record.kind ~= 'H' then
  -- This comes first: it needs no memory, and what has begun to write goes on where there is none.
  drop(id)
  if stale_life >= 0 then put(id, {kind = 'H', epoch = epoch, ends = now + stale_life, kept = 'N', rest = h}) end
  settle(most_stale)
end
return {text(now)}
