
local start = ARGV[1]
local reply = {text(now)}
for id, record in pairs(records) do
  local lives = record.kind == 'S' or record.kind == 'D' and is_kept(record)
  if lives and string.sub(record.rest, 1, #start) == start then
    for _, part in ipairs({id, record.epoch, record.rest}) do reply[#reply + 1] = part end
  end
end
return reply
