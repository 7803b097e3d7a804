-- What an operator or another module of Prosody does, at the word of a client: a message to the server with it.

local modulemanager = require "core.modulemanager";
local st = require "util.stanza";
local timer = require "util.timer";

local commands = {};

function commands.reload()
	assert(modulemanager.reload(module.host, "smacks"));
end

function commands.unload()
	assert(modulemanager.unload(module.host, "smacks"));
end

-- Ends a session behind the back of the module that has it.
function commands.spoil(jid)
	local session = prosody.full_sessions[jid];
	session.outgoing_stanza_queue = nil; -- of Prosody's own
	if session.sm then
		session.sm:close(false, true);
		session.sm:lost();
	end
end

module:hook("message/host", function (event)
	local command, argument = event.stanza:get_child_text("body"):match("^(%S+) ?(.*)$");
	timer.add_task(0, function ()
		local ok, err = pcall(commands[command], argument);
		event.origin.send(st.reply(event.stanza):tag("body"):text(ok and "done" or tostring(err)));
	end);
	return true;
end);
