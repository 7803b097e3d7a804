
local record = find(ARGV[1])
if record and record.kind == 'S' then return {text(now), 'session', record.epoch, record.rest} end
if record and record.kind == 'H' then return {text(now), 'stale', record.rest} end
return {text(now), 'none'}
