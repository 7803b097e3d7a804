
local start, most_stale = ARGV[1], tonumber(ARGV[2])
local reply, is_settled = {text(now)}, true
for id, record in pairs(records) do
  local lives = record.kind == 'S' or record.kind == 'D' and is_kept(record)
  if lives and string.sub(record.rest, 1, #start) == start then
    if record.kind == 'D' and not reach(id, record) then
      -- Nobody can claim it, and no host would be told to remove it.
      drop(id)
      is_settled = false
    else
      for _, part in ipairs({id, record.epoch, record.rest}) do reply[#reply + 1] = part end
    end
  end
end
if not is_settled then settle(most_stale) end
return reply
