-- ARGV: the bare JID, the time, and what the session had and its client did not get, each after whether it is of what
-- was taken last; before these, how much may wait for a user. That goes before what was not taken: to the session that has
-- the resource now, to another session, or to the user's list. Returns whether what was taken last was the session's:
-- otherwise it is still in a list, and is left out here. Behind that, what has no place there any more. The number is zero
-- if nothing is taken and not struck off.

local back = calls .. '/back'
local function answer(has_taken)
  local answer = redis.call('LRANGE', back, 0, -1)
  table.insert(answer, 1, has_taken)
  return answer
end
local said = redis.call('HGET', calls, 'left')
if said then return answer(said) end
local takes = is_holder and held[3] == call
local has_taken = is_struck or takes
note('left', has_taken and '1' or '0')
if takes then strike_off() end
local left = {}
for at = 9, #ARGV, 2 do
  if has_taken or ARGV[at] == '0' then left[#left + 1] = ARGV[at + 1] end
end
if place and not is_holder then
  for at = #left, 1, -1 do redis.call('LPUSH', list, ' ' .. left[at]) end
  if held[3] then redis.call('HINCRBY', holder, 'front', #left) end
  if held[6] then
    local after = ''
    for who, node in string.gmatch(held[6], '([^ ]*) ([^\n]*)\n') do
      if who ~= session then after = after .. who .. ' ' .. node .. '\n' end
    end
    redis.call('HDEL', holder, 'after')
    if after ~= '' then redis.call('HSET', holder, 'after', after) end
  end
  tell(place, resource)
else
  redis.call('HDEL', places, resource)
  local successor, at = another(places, kept)
  local other, since = kept, ARGV[7]
  if at then other, since = kept .. '/' .. successor, '' end
  local function goes_on(stanza, otherwise)
    local has_place = otherwise ~= 'nothing'
    if not at then has_place = not otherwise and redis.call('LLEN', kept) < tonumber(ARGV[8]) end
    redis.call('RPUSH', has_place and other or back, stanza)
  end
  for at = 1, #left do goes_on(since .. ' ' .. left[at]) end
  for _, stanza in ipairs(redis.call('LRANGE', list, 0, -1)) do goes_on(stanza, string.match(stanza, '^%a+')) end
  redis.call('EXPIRE', back, 86400)
  redis.call('DEL', list, holder)
  if at then tell(at, successor) end
end
return answer(has_taken and '1' or '0')
