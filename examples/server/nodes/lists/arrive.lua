-- ARGV: the bare JID, whether the session is new, and if so until when it may have the resource, in microseconds of the
-- engine's clock. One that was claimed has its resource only if no other session has it; wherever it was before, what was
-- taken there is taken again. Whoever had the resource leaves it.

local clock = redis.call('TIME')
if ARGV[7] == '1' and clock[1] * 1000000 + clock[2] > tonumber(ARGV[8]) then
  return redis.error_reply('LATE nobody waits for the resource any more')
end
if ARGV[7] == 'stays' and is_holder then return 1 end
if ARGV[7] ~= '1' and named and named ~= session then return 0 end
local after = named and held[6] or ''
-- What is for it goes behind what is there.
local never = (ARGV[7] ~= '1' or after ~= '' or redis.call('EXISTS', list) == 1) and redis.call('HGET', holder, 'kept')
if named and named ~= session then after = after .. named .. ' ' .. place .. '\n' end
-- As long as it waits for another, what comes goes behind what that has.
local takes = (named == session or after ~= '') and redis.call('HGET', holder, 'takes') or 'no'
redis.call('HSET', places, resource, node)
redis.call('DEL', holder)
redis.call('HSET', holder, 'node', node, 'session', session, 'takes', takes)
if after ~= '' then redis.call('HSET', holder, 'after', after) end
if never then redis.call('HSET', holder, 'kept', never) end
if place and (place ~= node or named and named ~= session) then
  local jid, said = ARGV[6] .. '/' .. resource, nil
  if named == session then said = 'moved ' .. ARGV[6] .. ' ' .. session
  elseif named then said = 'bound ' .. named .. ' ' .. jid end
  -- An earlier version hears of the resource alone.
  if not said or redis.call('PUBLISH', 'xmpp-sm-link-2:' .. place, said) == 0 then
    redis.call('PUBLISH', 'xmpp-sm-link:' .. place, 'replaced ' .. jid)
  end
end
return 1
