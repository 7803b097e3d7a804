-- What an operator or another module of Prosody does, at the word of a client: a message to the server with it.

local configmanager = require "core.configmanager";
local datamanager = require "core.storagemanager".olddm;
local filters = require "util.filters";
local modulemanager = require "core.modulemanager";
local st = require "util.stanza";
local statsmanager = require "core.statsmanager";
local timer = require "util.timer";
local usermanager = require "core.usermanager";
local watchdog = require "util.watchdog";

local xmlns_sm = "urn:xmpp:sm:3";
local commands = {};

function commands.reload()
	assert(modulemanager.reload(module.host, "smacks"));
end

function commands.unload()
	assert(modulemanager.unload(module.host, "smacks"));
end

function commands.set(option)
	local name, value = option:match("^(%S+) (.*)$");
	configmanager.set(module.host, name, tonumber(value) or value);
end

function commands.user(user)
	local name, host = user:match("^(%S+) (.*)$");
	assert(usermanager.create_user(name, "secret", host));
end

-- What `statistics` has, in OpenMetrics.
function commands.metrics()
	return statsmanager.get_metric_registry():render();
end

-- How often the module has told that a client is slow to acknowledge.
local delays = 0;
module:hook("smacks-ack-delayed", function () delays = delays + 1; end);
function commands.delays()
	return "delays: "..delays;
end

-- Answers after so many milliseconds.
function commands.later(milliseconds)
	return tonumber(milliseconds) / 1000;
end

-- Sends from inside of what the module tells, to the session that it tells about; asks it to end once more; and fails.
function commands.meddle(jid)
	local function say(number)
		return st.message({ to = jid, from = "bob@localhost/bob", type = "chat", id = tostring(number) },
			"number "..number);
	end
	local host = module:context("localhost");
	host:hook("smacks-hibernation-start", function (event)
		event.origin.send(say(2));
		event.origin.sm:on("lost");
		error("meddling");
	end);
	local is_queued = false;
	host:hook("smacks-hibernation-stanza-queued", function (event)
		if is_queued or event.stanza.attr.id ~= "3" then return; end
		is_queued = true;
		event.origin.send(say(4));
		error("meddling");
	end);
	host:hook("smacks-hibernation-end", function (event)
		event.resumed.send(say(5));
		error("meddling");
	end);
end

-- The next connection that asks for a session breaks when something is written to it at once.
function commands.fragile()
	local is_done = false;
	module:context("localhost"):hook_tag(xmlns_sm, "resume", function (session)
		if is_done then return; end
		is_done = true;
		function session.conn:onwritable()
			self:on("disconnect", "broken");
			self:destroy();
		end
	end, 200);
end

-- What is to be written next fails, for a reason of another module's.
function commands.choke(jid)
	local session, is_done = prosody.full_sessions[jid], false;
	filters.add_filter(session, "bytes/out", function (bytes)
		if is_done then return bytes; end
		is_done = true;
		error("choked");
	end);
end

-- What comes back undelivered with this id fails, for a reason of another module's.
function commands.refuse(id)
	module:context("localhost"):hook("delivery/failure", function (event)
		if event.stanza.attr.id == id then error("refused"); end
	end, 100);
end

-- As soon as a session of this user waits, the latest of the user's streams asks for it.
function commands.retake(user)
	local is_done = false;
	module:context("localhost"):hook("smacks-hibernation-start", function (event)
		if is_done then return; end
		is_done = true;
		local latest = { conntime = 0 };
		for _, session in pairs(module:shared("/*/c2s/sessions")) do
			if session.username == user and session.conntime > latest.conntime then latest = session; end
		end
		latest.data(("<resume xmlns='%s' previd='%s' h='0'/>"):format(xmlns_sm, event.origin.resumption_token));
	end);
end

-- Nothing is written any more of what sessions are.
function commands.full()
	local store = datamanager.store;
	function datamanager.store(user, host, name, data)
		if name:find("^smacks") then return nil, "there is no room"; end
		return store(user, host, name, data);
	end
end

-- Says something to a session as the server stops, when its clients have left.
function commands.late(jid)
	module:hook_global("server-stopping", function ()
		local session = prosody.full_sessions[jid];
		if session then session.send(st.message({ to = jid, from = "localhost", type = "chat" }, "number 9")); end
	end, -300);
end

-- Has sessions wait for so many seconds more, as a push service does.
function commands.prolong(seconds)
	module:context("localhost"):hook("smacks-hibernation-start", function (event)
		local session = event.origin;
		local original = session.hibernating_watchdog;
		original:cancel();
		session.hibernating_watchdog = watchdog.new(original.timeout + seconds, function () original.callback(); end);
	end);
end

-- From the start on.
local prolonged = module:get_option_number("trial_prolong");
if prolonged then commands.prolong(prolonged); end

-- What other modules have written into a session, to be found again by `marks`.
function commands.mark(jid)
	local session = prosody.full_sessions[jid];
	session.interested_blocklist, session.push_identifier = true, "push.example<node";
	session.push_settings = { jid = "push.example", options = { name = "x", attr = { xmlns = "jabber:x:data" }, "text" } };
end

function commands.marks(jid)
	local session = prosody.full_sessions[jid];
	local options = (session.push_settings or {}).options or { attr = {} };
	return ("%s %s %s %s"):format(session.interested_blocklist, session.push_identifier, options.attr.xmlns, options[1]);
end

-- How long the queue is, as the shell asks for it.
function commands.queue(jid)
	return "queue: "..prosody.full_sessions[jid].outgoing_stanza_queue:count_unacked();
end

-- What is told of stanzas that wait: whether the last one has its time, and how long the queue is, looked at in three ways.
local queued = "nothing";
module:hook("smacks-hibernation-stanza-queued", function (event)
	local count = 0;
	for i, stanza in pairs(event.queue) do count = count + (event.queue[i] == stanza and 1 or 0); end
	local mark = event.queue[1];
	mark.is_marked = true;
	queued = ("%s %d %d %s"):format(event.stanza:get_child("delay", "urn:xmpp:delay") and "delay" or "none", #event.queue, count,
		event.queue[1].is_marked);
end);
function commands.queued()
	return queued;
end

-- How often a session has ended to wait for its client.
local ends = 0;
module:hook("smacks-hibernation-end", function () ends = ends + 1; end);
function commands.ends()
	return "ends: "..ends;
end

-- Where a session comes from, and whether that is encrypted: somewhere else, or as it is.
function commands.from(jid)
	local session = prosody.full_sessions[jid];
	session.ip, session.secure = "192.0.2.1", true;
end

function commands.address(jid)
	local session = prosody.full_sessions[jid];
	return ("%s %s"):format(session.ip, session.secure or false);
end

-- Nothing is written to its connection any more.
function commands.clog(jid)
	prosody.full_sessions[jid].conn:pause_writes();
end

function commands.bound(jid)
	return prosody.full_sessions[jid] and "bound" or "gone";
end

-- What a client over BOSH is offered: its session has no `rawsend`.
function commands.bosh()
	local features = st.stanza("features");
	local session = { username = "alice", host = "localhost", type = "c2s", log = module._log, secure = true };
	module:context("localhost"):fire_event("stream-features", { origin = session, features = features });
	return features:get_child("sm", xmlns_sm) and "offered" or "nothing";
end

-- Ends a session behind the back of the module that has it.
function commands.spoil(jid)
	local session = prosody.full_sessions[jid];
	session.outgoing_stanza_queue = nil; -- of Prosody's own
	if session.sm then
		session.sm:on("closed in error");
		session.sm:on("lost");
	end
end

module:hook("message/host", function (event)
	local command, argument = event.stanza:get_child_text("body"):match("^(%S+) ?(.*)$");
	local has_waited = false;
	timer.add_task(0, function ()
		local ok, err = pcall(commands[command], argument);
		if ok and type(err) == "number" and not has_waited then
			has_waited = true;
			return err;
		end
		event.origin.send(st.reply(event.stanza):tag("body"):text(ok and (type(err) == "string" and err or "done") or "failed: "..tostring(err)));
	end);
	return true;
end);
