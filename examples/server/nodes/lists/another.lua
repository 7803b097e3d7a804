-- Which of a user's sessions takes what is for none by name, and where it is.

local function another(places, kept)
  local all = redis.call('HGETALL', places)
  for at = 1, #all, 2 do
    local holder = string.gsub(kept, 'mail', 'holder', 1) .. '/' .. all[at]
    local held = redis.pcall('HMGET', holder, 'takes', 'kept')
    -- One of an earlier version does not say whether it is available.
    if held[1] == 'yes' or not held[1] and held[2] ~= 'never' then return all[at], all[at + 1] end
  end
  return '', false
end
