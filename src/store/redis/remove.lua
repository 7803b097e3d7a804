
local id, epoch, most_stale = ARGV[1], ARGV[2], tonumber(ARGV[3])
local record = records[id]
if record and record.epoch == epoch then
  drop(id)
  settle(most_stale)
end
return {text(now)}
