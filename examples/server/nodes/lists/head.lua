-- What the scripts of a session begin with. KEYS: the places, the session's list, its holder, the user's list, what was
-- done for the taker. ARGV: the resource, the node, the session, the taker's name, the number of the call.

local places, list, holder, kept, calls = unpack(KEYS)
local resource, node, session, taker, number = unpack(ARGV, 1, 5)
local call = taker .. '/' .. number
local place = redis.call('HGET', places, resource)
local held = redis.call('HMGET', holder, 'node', 'session', 'call', 'count', 'front', 'after')
-- One that an earlier version has put there is known by its node alone.
local named = place and held[1] == place and held[2]
local is_holder = place == node and (not named or named == session)
local is_astray = not place or named == session
local is_struck = tonumber(redis.call('HGET', calls, 'done') or '0') >= tonumber(number)
local function note(field, value)
  redis.call('HSET', calls, field, value)
  redis.call('EXPIRE', calls, 86400)
end
local function strike_off()
  local count, front = tonumber(held[4]), tonumber(held[5])
  local before = front > 0 and redis.call('LRANGE', list, 0, front - 1) or {}
  redis.call('LTRIM', list, front + count, -1)
  for at = #before, 1, -1 do redis.call('LPUSH', list, before[at]) end
  redis.call('HDEL', holder, 'call', 'count', 'front')
  note('done', number)
end
local function tell(place, resource)
  redis.call('PUBLISH', 'xmpp-sm-link:' .. place, 'mail ' .. ARGV[6] .. '/' .. resource)
end
