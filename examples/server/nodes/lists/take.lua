-- ARGV: how many, whether it takes what waits for the user, which is older (`now`, `later`, `never`), whether it waits for
-- nobody, and how many bytes.

if not is_holder then return {is_astray and 'astray' or 'replaced'} end
if is_struck then return {'taken'} end
if held[6] and ARGV[8] ~= '1' then
  local before = {'after'}
  for one in string.gmatch(held[6], '([^\n]*)\n') do before[#before + 1] = one end
  return before
end
if held[3] ~= call then
  if ARGV[7] == 'now' then
    local waiting = redis.call('LRANGE', kept, 0, -1)
    for at = #waiting, 1, -1 do redis.call('LPUSH', list, waiting[at]) end
    redis.call('DEL', kept)
  end
  local count, bytes = 0, 0
  for at, stanza in ipairs(redis.call('LRANGE', list, 0, ARGV[6] - 1)) do
    bytes = bytes + #stanza
    if at > 1 and bytes > tonumber(ARGV[9]) then break end
    count = at
  end
  -- What takes no memory comes first: where there is none, mail is still taken.
  redis.call('HDEL', holder, 'call', 'after')
  redis.call('HSET', holder, 'takes', ARGV[7] == 'now' and 'yes' or 'no')
  if ARGV[7] == 'never' then redis.call('HSET', holder, 'kept', 'never')
  -- What is for it is put behind what waits for the user: not before all is taken that was put before it.
  elseif ARGV[7] == 'now' or count == 0 then redis.call('HDEL', holder, 'kept') end
  if count == 0 then return {'taken'} end
  redis.call('HSET', holder, 'call', call, 'count', count, 'front', 0)
  held[4], held[5] = count, 0
end
local taken = redis.call('LRANGE', list, held[5], held[5] + held[4] - 1)
local is_all = redis.call('LLEN', list) == held[4] + held[5]
table.insert(taken, 1, is_all and 'taken' or 'more')
return taken
