-- Strikes off what was taken by this call.

if is_struck then return 'struck' end
if not is_holder then return is_astray and 'astray' or 'replaced' end
if held[3] ~= call then return 'unknown' end
strike_off()
return 'struck'
