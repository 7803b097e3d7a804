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
local timer = require "util.timer";

local xmlns_sm = "urn:xmpp:sm:3";
local feature = st.stanza("sm", { xmlns = xmlns_sm });

local c2s_sessions = module:shared("/*/c2s/sessions");
local local_sessions = prosody.hosts[module.host].sessions;
local store = module:open_store("smacks_sessions");

local path = module:get_option_path("smacks_native", "sm_native.so");
local load_native, why = package.loadlib(path, "luaopen_sm_native");
assert(load_native, why);

local function option(name, default)
	local value = module:get_option_number(name, default);
	return value and value > 0 and value or nil;
end

local host = load_native().new {
	buffer_max = option("smacks_max_queue_size", 500);
	backlog_max = option("smacks_max_waiting", 1000);
	full_grace = option("smacks_full_grace", 5);
	resume_timeout = option("smacks_hibernation_time", 600);
	resume_timeout_max = option("smacks_hibernation_time_max");
	unacked_max = option("smacks_max_unacked_stanzas", 0);
	ack_timeout = option("smacks_ack_timeout", 60);
	ack_delay = option("smacks_max_ack_delay", 30);
	sessions_max = option("smacks_max_old_sessions", 10);
};
-- The sessions, by the ids of their streams.
local by_id = {};

-- What other modules see of a session's queue: its stanzas are read when somebody looks at them.
local queue_mt = {
	__len = function (queue) return rawget(queue, "sm"):pending() or 0; end;
	__index = function (queue, i)
		local text = type(i) == "number" and rawget(queue, "sm"):pending(i);
		return text and parse(text) or nil;
	end;
};

local function queue_of(session)
	return setmetatable({ sm = session.sm }, queue_mt);
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
	local text = tostring(stanza);
	local ok, todo, wait = pcall(session.sm.send, session.sm, text);
	if not ok then
		session.log("error", "Stream management: send: %s", todo);
		undelivered(session, stanza);
		return nil;
	end
	if session.hibernating and session.smacks then
		module:fire_event("smacks-hibernation-stanza-queued", {
			origin = session, queue = queue_of(session), stanza = stanza;
		});
	end
	if todo == true and not wait and not session.sm_steps then return text; end
	obey(session, todo, wait, text);
	return nil;
end

local function handle(session, element)
	local sm = session.sm;
	local todo, wait, id, its_todo, its_wait =
		call(session, "handle", element.name, element.attr, session.full_jid ~= nil);
	if id then obey(by_id[id], its_todo, its_wait, nil, session); end
	if session.sm == sm then obey(session, todo, wait); end
	return true;
end

-- All that the client sends, before all other filters.
local function incoming(element, session)
	local xmlns = element.attr.xmlns;
	if xmlns == xmlns_sm and session.sm then
		handle(session, element);
		return nil;
	elseif xmlns then
		return element;
	elseif not session.smacks then
		-- The session is over. The client has not been told that this was handled, and sends it again.
		return nil;
	end
	local todo, wait, is_taken = call(session, "receive", element.name);
	obey(session, todo, wait);
	return is_taken and element or nil;
end

local function filter(session)
	add_filter(session, "stanzas/out", outgoing, -999);
	add_filter(session, "stanzas/in", incoming, 999);
end

local function release(session)
	local conn = session.conn;
	if conn then
		c2s_sessions[conn] = nil;
		session.conn = nil;
		conn:close();
	end
end

-- What the crate asks for, by the names that it uses.
local acts = {};

function acts.enabled(session, smid)
	session.smacks, session.resumption_token = xmlns_sm, smid;
	by_id[session.sm:id()] = session;
	filter(session);
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

-- The connection is done with, and not the session.
function acts.left(session, words)
	if words and session.conn then
		session.rawsend(words.."</stream:stream>");
	end
	release(session);
end

function acts.detached(session)
	session.hibernating = os.time();
	release(session);
	session.log("debug", "The session waits to be resumed");
	module:fire_event("smacks-hibernation-start", { origin = session, queue = queue_of(session) });
end

-- The connection of another stream is this session's now.
function acts.resumed(session, _, new)
	local log = new.log;
	session.ip, session.conn, session.secure, session.encrypted = new.ip, new.conn, new.secure, new.encrypted;
	-- These functions know their session by an upvalue, which Prosody lets be set like a field.
	new.rawsend.session, new.data.session, new.filter.session = session, session, session;
	session.rawsend, session.send, session.close, session.data = new.rawsend, new.send, new.close, new.data;
	session.filter, session.filters, session.stream = new.filter, new.filters, new.stream;
	session.stream:set_session(session);
	session.hibernating, session.state = nil, nil;
	session.resumption_counter = (session.resumption_counter or 0) + 1;
	c2s_sessions[session.conn] = session;
	new.log, new.type, new.sm, new.conn = session.log, session.type, nil, nil;
	function new.send(stanza)
		log("error", "The stream has gone to a session that is resumed: %s", stanza);
		return false;
	end
	filter(session);
	session.resumed_from = new;
end

function acts.delayed(session)
	module:fire_event("smacks-ack-delayed", { origin = session, queue = queue_of(session) });
end

function acts.ended(session, stanzas)
	session.smacks, session.resumption_token = false, nil; -- for good
	by_id[session.sm:id()] = nil;
	for _, text in ipairs(stanzas) do
		undelivered(session, parse(text));
	end
	if not session.conn and not session.sm_ends then
		session.hibernating = nil;
		sessionmanager.destroy_session(session, "The session is over");
	end
end

function acts.displaced(_, id)
	by_id[id]:close { condition = "conflict", text = "There are too many sessions" };
end

local function on_time(_, _, session)
	if session.smacks then
		obey(session, call(session, "timeout"));
	end
end

-- `text`: what `true` stands for. `new`: the stream whose connection it is about.
function obey(session, todo, wait, text, new)
	if wait then
		timer.add_task(wait, on_time, session);
	end
	if todo == nil then return; end
	local steps = session.sm_steps;
	local is_first = not steps;
	if is_first then
		steps = {};
		session.sm_steps = steps;
	end
	for _, step in ipairs(type(todo) == "table" and todo or { todo }) do
		table.insert(steps, step == true and text or step);
	end
	-- What comes of a step is behind those that were there before.
	if not is_first then return; end
	local i = 1;
	while steps[i] do
		local step = steps[i];
		if type(step) == "string" then
			session.rawsend(step);
		else
			local ok, err = pcall(acts[step[1]], session, step[2], new);
			if not ok then session.log("error", "Stream management: %s: %s", step[1], err); end
		end
		i = i + 1;
	end
	session.sm_steps = nil;
	if new and session.resumed_from == new then
		session.resumed_from = nil;
		module:fire_event("smacks-hibernation-end", { origin = new, resumed = session, queue = queue_of(session) });
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
			return handle(session, element);
		elseif session.type == "c2s_unauthed" then
			local failed = host:before_authentication(element.name, element.attr);
			if failed then session.rawsend(failed); end
			return failed and true or nil;
		end
	end, 100);
end

local function set_active(active)
	return function (event)
		local session = event.origin;
		if session.smacks then
			obey(session, call(session, "set_active", active));
		end
	end
end
module:hook("csi-client-active", set_active(true));
module:hook("csi-client-inactive", set_active(false));

module:hook("c2s-ondrain", function (event)
	local session = event.session;
	if session.smacks then
		obey(session, call(session, "drained"));
	end
end);

module:hook("c2s-read-timeout", function (event)
	local session = event.session;
	if not session.smacks then return; end
	local todo, wait, is_alive = call(session, "read_timeout");
	if not is_alive then return false; end
	obey(session, todo, wait);
	return true;
end);

-- Prosody ends a stream, whoever began.
module:hook("pre-session-close", function (event)
	local session, reason = event.session, event.reason;
	if not session.sm or session.sm_ends then return; end
	session.sm_ends = true;
	obey(session, call(session, "close", type(reason) == "table" and (reason.condition or reason.name) or reason));
end);

-- A session is destroyed: unless it waits to be resumed.
module:hook("pre-resource-unbind", function (event)
	local session = event.session;
	if not session.smacks then return; end
	if session.hibernating and not session.sm_ends then return true; end
	local ends = session.sm_ends;
	session.sm_ends = true;
	obey(session, call(session, "lost"));
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
	for _, session in pairs(by_id) do act(session); end
end

module:hook_global("server-stopping", function ()
	each_session(function (session)
		if session.resumption_token and not session.hibernating then
			obey(session, call(session, "lost"));
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
	local sm, known, wait = host:restore(bytes);
	known = json.decode(known);
	local nothing = function () return true; end
	local conn = setmetatable({ ip = function () return "127.0.0.1"; end, ssl = function () end }, { __index = function () return nothing; end });
	portmanager.get_service("c2s").listener.onconnect(conn);
	local session = c2s_sessions[conn];
	c2s_sessions[conn], session.conn, session.notopen = nil, nil, nil;
	session.host, session.sm, session.smacks, session.hibernating = module.host, sm, xmlns_sm, os.time();
	by_id[sm:id()] = session;
	filter(session);
	sessionmanager.make_authenticated(session, user);
	sessionmanager.bind_resource(session, known.resource);
	for _, field in ipairs(kept) do session[field] = known[field]; end
	session.presence = known.presence and parse(known.presence);
	recalc_resource_map(local_sessions[user]);
	obey(session, nil, wait);
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

-- Reloaded, the module goes on with the sessions that it has.
local is_reloaded = false;

function module.save()
	is_reloaded = true;
	return { host = host, by_id = by_id };
end

function module.restore(saved)
	host, by_id = saved.host, saved.by_id;
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
