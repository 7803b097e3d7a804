
-- Returns what is known under this SM-ID, and the owner's last epoch.
local function find(id)
  local known = redis.call('HMGET', key, '', id)
  if known[1] and not string.match(known[1], '^%d+$') then foreign() end
  if not known[1] and redis.call('EXISTS', key) == 1 then foreign() end
  local record = known[2] and read(known[2])
  if record and not is_over(record) then return record, tonumber(known[1]) end
end
