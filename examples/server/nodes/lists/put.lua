-- KEYS: what this node has put last; and for each stanza the places of the user's sessions, and the user's own list.
-- ARGV: the number of this call, the time, how much may wait for a user without sessions; and for each stanza the
-- resource, what becomes of it otherwise (`Otherwise`), the stanza, and the bare JID. A call that is made again has the
-- same answer.

if redis.call('HGET', KEYS[1], 'call') == ARGV[1] then return redis.call('HGET', KEYS[1], 'answer') end
local answer = {}
local function is(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == 'none' or found == kind
end
for item = 1, (#KEYS - 1) / 2 do
  local places, list, at = KEYS[2 * item], KEYS[2 * item + 1], 4 * item
  local resource, otherwise, stanza, user = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local ours = is(places, 'hash')
  local node = ours and resource ~= '' and redis.call('HGET', places, resource)
  if ours and not node and otherwise ~= 'nothing' then
    resource, node = another(places, list)
  end
  local is_kept = not node
  if node and otherwise == 'waits' and is(list, 'list') and redis.call('EXISTS', list) == 1 then
    -- What waits for the user goes before it, unless the session takes nothing of that.
    local holder = string.gsub(list, 'mail', 'holder', 1) .. '/' .. resource
    is_kept = not is(holder, 'hash') or redis.call('HGET', holder, 'kept') ~= 'never'
  end
  if not is_kept then list = list .. '/' .. resource end
  local most = tonumber(ARGV[3]) * (is_kept and 1 or 10)
  if not ours or not is(list, 'list') or redis.call('LLEN', list) >= most or not node and otherwise ~= 'waits' then
    answer[item] = '0'
  else
    redis.call('RPUSH', list, (is_kept and ARGV[2] or otherwise ~= 'waits' and otherwise or '') .. ' ' .. stanza)
    if node then redis.call('PUBLISH', 'xmpp-sm-link:' .. node, 'mail ' .. user .. '/' .. resource) end
    answer[item] = '1'
  end
end
answer = table.concat(answer)
redis.call('HSET', KEYS[1], 'call', ARGV[1], 'answer', answer)
redis.call('EXPIRE', KEYS[1], 86400)
return answer
