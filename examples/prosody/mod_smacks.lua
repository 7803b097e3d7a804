-- Stream management (XEP-0198) for the sessions of clients, by the crate xmpp-sm: it stands in the place of Prosody's own
-- mod_smacks, offers other modules the same events, and takes the same options.
--
-- Nothing is decided here. `session.sm` is the client's stream as the crate has it; each call of it returns what to do.

local add_filter = require "util.filters".add_filter;
local base64 = require "util.encodings".base64;
local datetime = require "util.datetime";
local jid = require "util.jid";
local json = require "util.json";
local parse = require "util.xml".parse;
local portmanager = require "core.portmanager";
local recalc_resource_map = require "util.presence".recalc_resource_map;
local remove_filter = require "util.filters".remove_filter;
local sessionmanager = require "core.sessionmanager";
local st = require "util.stanza";
local time_now = require "util.time".now;
local timer = require "util.timer";

local xmlns_sm = "urn:xmpp:sm:3";
local feature = st.stanza("sm", { xmlns = xmlns_sm });

local c2s_sessions = module:shared("/*/c2s/sessions");
local local_sessions = prosody.hosts[module.host].sessions;
local store = module:open_store("smacks_sessions");

local path = module:get_option_path("smacks_native", "sm_native.so");
local load_native, why = package.loadlib(path, "luaopen_sm_native");
assert(load_native, why);

-- What is no number, Prosody says in its log.
local function option(name, default)
	return math.max(math.floor(module:get_option_number(name) or default), 0);
end

local native, options = load_native(), {
	buffer_max = option("smacks_max_queue_size", 500);
	backlog_max = option("smacks_max_waiting", 1000);
	full_grace = option("smacks_full_grace", 5);
	resume_timeout = option("smacks_hibernation_time", 600);
	resume_timeout_max = option("smacks_hibernation_time_max", 0);
	unacked_max = option("smacks_max_unacked_stanzas", 0);
	ack_timeout = option("smacks_ack_timeout", 60);
	sessions_max = option("smacks_max_old_sessions", 10);
	stale_h = module:get_option_boolean("smacks_stale_h", true) and 1 or 0;
};
local host = native.new(options);
local ack_delay = option("smacks_max_ack_delay", 30);
-- The sessions, by their SM-IDs; those that cannot be resumed, by themselves.
local sessions = {};

-- The metrics of Prosody's own mod_smacks.
local function histogram(name, unit, text, buckets)
	return module:metric("histogram", name, unit, text, {}, { buckets = buckets }):with_labels();
end
local sizes = { 0, 1, 2, 4, 8, 16, 32 };
local tx_queued_stanzas = module:measure("tx_queued_stanzas", "counter");
local tx_dropped_stanzas = histogram("tx_dropped_stanzas", "", "number of stanzas in a queue which got dropped", sizes);
local tx_acked_stanzas = histogram("tx_acked_stanzas", "", "number of items acked per ack received", sizes);
local resumption_expired = module:measure("session_resumption_expired", "counter");
local resumption_age = histogram("resumption_age", "seconds",
	"time the session had been hibernating at the time of a resumption", { 0, 1, 2, 5, 10, 30, 60, 120, 300, 600 });
local sessions_expired = module:measure("sessions_expired", "counter");
local sessions_started = module:measure("sessions_started", "counter");

-- What other modules see of a session's queue: its stanzas are read when somebody looks at them.
local queue_mt = {
	__len = function (queue) return (rawget(queue, "sm"):pending(0)); end;
	__index = function (queue, i)
		local _, text = rawget(queue, "sm"):pending(type(i) == "number" and i or 0);
		return text and parse(text) or nil;
	end;
};

-- Tells other modules. If one of them fails, the session goes on.
local function tell(session, name, event)
	event.queue = setmetatable({ sm = session.sm }, queue_mt);
	local ok, err = pcall(module.fire_event, module, name, event);
	if not ok then session.log("error", "Stream management: %s: %s", name, err); end
end

local obey;

-- Calls the crate. What is wrong is logged, and the stream ends.
local function call(session, name, ...)
	local sm = session.sm;
	local ok, a, b, c, d, e = pcall(sm[name], sm, ...);
	if ok then return a, b, c, d, e; end
	session.log("error", "Stream management: %s: %s", name, a);
	if not session.sm_failed then
		session.sm_failed = true;
		session:close { condition = "internal-server-error", text = "stream management has failed" };
	end
end

local function undelivered(session, stanza)
	if not module:fire_event("delivery/failure", { session = session, stanza = stanza })
	and stanza.attr.type ~= "error" and stanza.attr.type ~= "result" and stanza.attr.from ~= session.full_jid then
		module:send(st.error_reply(stanza, "cancel", "recipient-unavailable"));
	end
end

-- A stanza for the client, behind all other filters.
local function outgoing(stanza, session)
	if not session.smacks or not st.is_stanza(stanza) or stanza.name:find(":", 1, true)
	or (stanza.attr.xmlns and stanza.attr.xmlns ~= "jabber:client") then
		return stanza;
	end
	local ok, todo, wait = pcall(session.sm.send, session.sm, tostring(stanza));
	if not ok then
		session.log("error", "Stream management: send: %s", todo);
		undelivered(session, stanza);
		return nil;
	end
	tx_queued_stanzas(1);
	if session.hibernating and session.smacks then
		tell(session, "smacks-hibernation-stanza-queued", { origin = session, stanza = stanza });
	end
	obey(session, todo, wait);
	return nil;
end

-- An element of stream management, or a stanza: the answer is whether it is to be handled.
local function handle(session, element, xmlns)
	local todo, wait, is_taken, previd =
		call(session, "handle", element.name, xmlns, element.attr, session.full_jid ~= nil);
	obey(session, todo, wait);
	if previd then
		local former = sessions[previd];
		local own, _, its_todo, its_wait = call(session, "resume", former and former.sm);
		obey(session, own);
		obey(former, its_todo, its_wait, session);
	end
	return is_taken;
end

-- All that the client sends, before all other filters.
local function incoming(element, session)
	local xmlns = element.attr.xmlns;
	if xmlns and (xmlns ~= xmlns_sm or not session.sm) then
		return element;
	elseif not xmlns and not session.smacks then
		-- The session is over. The client has not been told that this was handled, and sends it again.
		return nil;
	end
	return handle(session, element, xmlns or "jabber:client") and element or nil;
end

local function filter(session)
	add_filter(session, "stanzas/out", outgoing, -999);
	add_filter(session, "stanzas/in", incoming, 999);
end

local xmlns_framing = "urn:ietf:params:xml:ns:xmpp-framing";
local declared = "<%1 xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";

-- Over WebSocket each element is a document of its own.
local function write(session, element)
	if session.websocket_request then
		if element == "</stream:stream>" then
			element = "<close xmlns='"..xmlns_framing.."'/>";
		elseif not element:match("^<[^>]*"):find(" xmlns=", 1, true) then
			element = element:gsub("^<([^%s/>]+)", declared, 1);
		end
	end
	session.rawsend(element);
end

-- What the crate asks for, by the names that it uses. `new`: the stream whose connection it is about.
local acts = {};

function acts.enabled(session, _, smid)
	session.smacks, session.resumption_token, session.sm_key = xmlns_sm, smid, smid or session;
	sessions[session.sm_key] = session;
	filter(session);
	sessions_started(1);
end

function acts.flush(session)
	local conn = session.conn;
	if conn and conn.writebuffer and conn.onwritable and not conn._write_lock and not conn._writing then
		conn:onwritable();
	end
end

-- The stream ends. Prosody writes the end, and waits for the client's.
function acts.close(session)
	session:close();
end

-- The connection is done with. The session may wait for another.
function acts.left(session, _, is_said, is_detached)
	local conn = session.conn;
	if conn then
		if is_said then write(session, "</stream:stream>"); end
		c2s_sessions[conn], session.conn = nil, nil;
		conn:close();
	end
	if is_detached then
		session.hibernating = os.time();
		session.log("debug", "The session waits to be resumed");
		tell(session, "smacks-hibernation-start", { origin = session });
	end
end

-- The connection of another stream is this session's now.
function acts.resumed(session, new)
	local log = new.log;
	resumption_age:sample(session.hibernating and os.time() - session.hibernating or 0);
	session.ip, session.conn, session.secure, session.encrypted = new.ip, new.conn, new.secure, new.encrypted;
	-- These functions know their session by an upvalue, which Prosody lets be set like a field.
	new.rawsend.session, new.data.session, new.filter.session = session, session, session;
	session.rawsend, session.send, session.close, session.data = new.rawsend, new.send, new.close, new.data;
	session.filter, session.filters, session.stream = new.filter, new.filters, new.stream;
	session.open_stream, session.websocket_request = new.open_stream, new.websocket_request;
	session.stream:set_session(session);
	session.hibernating, session.state = nil, nil;
	session.resumption_counter = (session.resumption_counter or 0) + 1;
	c2s_sessions[session.conn] = session;
	new.log, new.type, new.sm, new.conn = session.log, session.type, nil, nil;
	function new.send(stanza)
		log("error", "The stream has gone to a session that is resumed: %s", stanza);
		return false;
	end
	function new.close(_, reason) session:close(reason); end
	filter(session);
	session.resumed_from = new;
end

function acts.expired() resumption_expired(1); end

function acts.acked(_, _, count) tx_acked_stanzas:sample(count); end

local function on_delay(_, _, session)
	local seconds = session.smacks and select(3, call(session, "on", "looked at"));
	if seconds and seconds < ack_delay then return ack_delay - seconds; end
	session.sm_delay = nil;
	if seconds then tell(session, "smacks-ack-delayed", { origin = session }); end
end

function acts.ask(session, _, request)
	write(session, request);
	if ack_delay > 0 and not session.sm_delay then
		session.sm_delay = timer.add_task(ack_delay, on_delay, session);
	end
end

function acts.ended(session, _, stanzas, reason)
	session.log("debug", "The session is over: %s", reason);
	session.smacks, session.resumption_token = false, nil; -- for good
	sessions[session.sm_key or session] = nil;
	if reason == "Expired" then sessions_expired(1); end
	if #stanzas > 0 then tx_dropped_stanzas:sample(#stanzas); end
	for _, text in ipairs(stanzas) do
		undelivered(session, parse(text));
	end
	if not session.conn and not session.sm_ends then
		session.hibernating = nil;
		sessionmanager.destroy_session(session, "The session is over");
	end
end

function acts.displaced(_, _, smid)
	sessions[smid]:close { condition = "conflict", text = "There are too many sessions" };
end

local function on_time(_, _, session)
	session.sm_due = nil;
	if session.smacks then
		obey(session, call(session, "on", "timeout"));
	end
end

function obey(session, todo, wait, new)
	local due = wait and time_now() + wait;
	if due and due < (session.sm_due or math.huge) then
		session.sm_due = due;
		timer.add_task(wait, on_time, session);
	end
	if not todo or not todo[1] then return; end
	local steps = session.sm_steps;
	if steps then
		-- What comes of a step is behind those that were there before.
		table.move(todo, 1, #todo, #steps + 1, steps);
		return;
	end
	session.sm_steps = todo;
	local i = 1;
	while todo[i] do
		local step = todo[i];
		if type(step) == "string" then
			write(session, step);
		else
			local ok, err = pcall(acts[step[1]], session, new, table.unpack(step, 2));
			if not ok then session.log("error", "Stream management: %s: %s", step[1], err); end
		end
		i = i + 1;
	end
	session.sm_steps = nil;
	if new and session.resumed_from == new then
		session.resumed_from = nil;
		tell(session, "smacks-hibernation-end", { origin = new, resumed = session });
	end
end

module:hook("stream-features", function (event)
	local session = event.origin;
	if not session.username then return; end
	session.sm = session.sm or host:stream(jid.join(session.username, session.host));
	if session.sm:has_feature() then
		event.features:add_child(feature);
	end
end);

for _, name in ipairs { "enable", "resume", "r", "a", "enabled", "resumed", "failed" } do
	module:hook_tag(xmlns_sm, name, function (session, element)
		if session.sm then
			handle(session, element, xmlns_sm);
			return true;
		elseif session.type == "c2s_unauthed" then
			local failed = host:before_authentication(element.name, element.attr);
			if failed then session.rawsend(failed); end
			return failed and true or nil;
		end
	end, 100);
end

for event_name, what in pairs {
	["csi-client-active"] = "active", ["csi-client-inactive"] = "inactive", ["c2s-ondrain"] = "drained";
} do
	module:hook(event_name, function (event)
		local session = event.session or event.origin;
		if session.smacks then obey(session, call(session, "on", what)); end
	end);
end

module:hook("c2s-read-timeout", function (event)
	local session = event.session;
	if not session.smacks then return; end
	local todo, wait, asked = call(session, "on", "silence");
	if asked then return false; end
	obey(session, todo, wait);
	return true;
end);

-- Prosody ends a stream, whoever began.
module:hook("pre-session-close", function (event)
	local session, reason = event.session, event.reason;
	if not session.sm or session.sm_ends then return; end
	session.sm_ends = true;
	local how = reason and "closed in error" or reason == false and "closed by the client" or "closed";
	if session.smacks then obey(session, call(session, "on", how)); end
end);

-- A session is destroyed: unless it waits to be resumed.
module:hook("pre-resource-unbind", function (event)
	local session = event.session;
	if not session.smacks then return; end
	if session.hibernating and not session.sm_ends then return true; end
	local ends = session.sm_ends;
	session.sm_ends = true;
	obey(session, call(session, "on", "lost"));
	if session.hibernating and session.smacks then
		session.sm_ends = ends;
		return true;
	end
end);

-- Prosody's own mod_smacks does the same: what mod_mam has is not kept once more, and the last session's messages wait.
module:hook("delivery/failure", function (event)
	local session, stanza = event.session, event.stanza;
	local kind = stanza.attr.type or "normal";
	if not session.username or stanza.name ~= "message" or (kind ~= "chat" and kind ~= "normal") then return; end
	if stanza:get_child("result", "urn:xmpp:mam:2") then return true; end
	local archived = stanza:get_child_with_attr("stanza-id", "urn:xmpp:sid:0", "by", jid.bare(session.full_jid));
	if session.mam_requested and archived and archived.attr.id then return true; end
	local user = local_sessions and local_sessions[session.username];
	local sessions = user and user.sessions;
	if sessions and next(sessions) == session.resource and next(sessions, session.resource) == nil then
		return module:fire_event("message/offline/handle", {
			origin = session, username = session.username, stanza = stanza;
		});
	end
end);

module:add_timer(60, function ()
	host:sweep();
	return 60;
end);

-- A restart: sessions lose their connections before mod_c2s closes them, and are written down when all is quiet.
local kept = { "resource", "resumption_token", "interested", "priority", "want_carbons", "mam_requested", "directed" };

local function each_session(act)
	for _, session in pairs(sessions) do act(session); end
end

module:hook_global("server-stopping", function ()
	each_session(function (session)
		if session.resumption_token and not session.hibernating then
			obey(session, call(session, "on", "lost"));
		end
	end);
end, -90);

module:hook_global("server-stopping", function ()
	local users = {};
	each_session(function (session)
		local known = {};
		for _, field in ipairs(kept) do known[field] = session[field]; end
		known.presence = session.presence and tostring(session.presence);
		session.sm_failed = true;
		local bytes = call(session, "park", json.encode(known));
		if bytes then
			users[session.username] = users[session.username] or {};
			table.insert(users[session.username], base64.encode(bytes));
		end
	end);
	for user, sessions in pairs(users) do store:set(user, sessions); end
end, -110);

local function revive(user, bytes)
	local sm, known = host:restore(bytes);
	known = json.decode(known);
	local nothing = function () return true; end
	local conn = setmetatable({ ip = function () return "127.0.0.1"; end, ssl = function () end }, { __index = function () return nothing; end });
	portmanager.get_service("c2s").listener.onconnect(conn);
	local session = c2s_sessions[conn];
	c2s_sessions[conn], session.conn, session.notopen = nil, nil, nil;
	session.host, session.sm, session.smacks, session.hibernating = module.host, sm, xmlns_sm, os.time();
	session.sm_key, sessions[known.resumption_token] = known.resumption_token, session;
	filter(session);
	sessionmanager.make_authenticated(session, user);
	sessionmanager.bind_resource(session, known.resource);
	for _, field in ipairs(kept) do session[field] = known[field]; end
	session.presence = known.presence and parse(known.presence);
	recalc_resource_map(local_sessions[user]);
	obey(session, call(session, "on", "timeout"));
end

module:hook_global("server-started", function ()
	for user in store:users() do
		for _, bytes in ipairs(store:get(user)) do
			local ok, err = pcall(revive, user, base64.decode(bytes));
			if not ok then module:log("error", "A session of %s cannot be restored: %s", user, err); end
		end
		store:set(user, nil);
	end
end);

-- Reloaded, the module goes on with the sessions that it has. Those that begin then have the options that are new.
local is_reloaded = false;

function module.save()
	is_reloaded = true;
	return { host = host, sessions = sessions };
end

function module.restore(saved)
	host, sessions = native.new(options, saved.host), saved.sessions;
	each_session(filter);
end

function module.unload()
	each_session(function (session)
		if not is_reloaded then
			session:close { condition = "reset", text = "stream management is switched off" };
		end
		remove_filter(session, "stanzas/out", outgoing);
		remove_filter(session, "stanzas/in", incoming);
	end);
end
