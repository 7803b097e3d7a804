-- Stream management (XEP-0198) for the sessions of clients, by the crate xmpp-sm: it stands in the place of Prosody's own
-- mod_smacks, offers other modules the same events, and takes the same options.
--
-- Nothing is decided here. `session.sm` is the client's stream as the crate has it; each call of it returns what to do.

local base64 = require "util.encodings".base64;
local filters = require "util.filters";
local it = require "util.iterators";
local jid = require "util.jid";
local parse = require "util.xml".parse;
local portmanager = require "core.portmanager";
local recalc_resource_map = require "util.presence".recalc_resource_map;
local serialization = require "util.serialization";
local sessionmanager = require "core.sessionmanager";
local st = require "util.stanza";
local time_now = require "util.time".now;
local timer = require "util.timer";

local xmlns_sm = "urn:xmpp:sm:3";
local feature = st.stanza("sm", { xmlns = xmlns_sm });

local c2s_sessions = module:shared("/*/c2s/sessions");
local local_sessions = prosody.hosts[module.host].sessions;
-- By user and SM-ID: a session as text, or the last h of one that is gone.
local saved, saved_by_smid = module:open_store("smacks_sessions"), module:open_store("smacks_sessions", "map");

local native = assert(package.loadlib(module:get_option_path("smacks_native", "libsm_native.so"), "luaopen_sm_native"))();

-- Whole numbers of 32 bits. What is no number, Prosody says in its log, and the default holds.
local options = {
	max_queue_size = 500, max_queue_bytes = 1048576, max_waiting = 1000, max_waiting_bytes = 524288, full_grace = 5,
	hibernation_time = 600, hibernation_time_max = 0, max_sessions = 10, stale_h_time = 604800,
	max_unacked_stanzas = 0, ack_timeout = 60, max_ack_delay = 30,
};
for name, default in pairs(options) do
	local given = module:get_option_number("smacks_"..name) or default;
	local number = math.floor(math.min(math.max(0, given), 2 ^ 32 - 1));
	if number ~= given then module:log("warn", "The option smacks_%s counts as %d, not as %s", name, number, given); end
	options[name] = number;
end
if not module:get_option_boolean("smacks_stale_h", true) then options.stale_h_time = 0; end
local host, ack_delay = native.new(options), options.max_ack_delay;
module:log("info", "Stream management is that of xmpp-sm");
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

-- Calls what may fail. Returns whether it has not, and what it returns.
local function attempt(log, what, act, ...)
	local ok, a, b, c, d, e = pcall(act, ...);
	if ok then return true, a, b, c, d, e; end
	log("error", "Stream management: %s: %s", what, a);
	return false;
end

-- What other modules see of a session's queue: it is read when somebody looks at it.
local function read(queue)
	for i, text in ipairs(setmetatable(queue, nil).sm:pending()) do queue[i] = parse(text); end
	queue.sm = nil;
	return queue;
end
local queue_mt = {
	__len = function (queue) return #read(queue); end;
	__index = function (queue, i) return read(queue)[i]; end;
	__pairs = function (queue) return pairs(read(queue)); end;
};

-- Tells other modules. If one of them fails, the session goes on.
local function tell(session, name, event)
	event.queue = setmetatable({ sm = session.sm }, queue_mt);
	attempt(session.log, name, module.fire_event, module, name, event);
end

local obey;

local function method(session, name, ...) return session.sm[name](session.sm, ...); end

-- Calls the crate. What is wrong is logged, and the stream ends.
local function call(session, name, ...)
	local ok, a, b, c, d = attempt(session.log, name, method, session, name, ...);
	if ok then return a, b, c, d; end
	if session.sm_failed then return; end
	session.sm_failed = true;
	attempt(session.log, "close", session.close, session,
		{ condition = "internal-server-error", text = "stream management has failed" });
end

-- Something happens to the session. Returns for how long an <r/> was unanswered, and whether it waits to be resumed.
local function on(session, what)
	local todo, wait, asked, waits = call(session, "on", what);
	obey(session, todo, wait);
	return asked, waits;
end

-- If a module fails, it goes back to its sender.
local function undelivered(session, text)
	local stanza = assert(parse(text));
	local _, is_handled = attempt(session.log, "delivery/failure", module.fire_event, module, "delivery/failure",
		{ session = session, stanza = stanza });
	if not is_handled and stanza.attr.type ~= "error" and stanza.attr.type ~= "result"
	and stanza.attr.from ~= session.full_jid then
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
	local ok, todo, wait, queued = attempt(session.log, "send", method, session, "send", text);
	if ok then
		tx_queued_stanzas(1);
		if queued then tell(session, "smacks-hibernation-stanza-queued", { origin = session, stanza = parse(queued) }); end
		obey(session, todo, wait);
	else
		attempt(session.log, "delivery/failure", undelivered, session, text);
	end
end

-- An element of stream management, or a stanza: the answer is whether it is to be handled.
local function handle(session, element, xmlns)
	local todo, wait, is_taken, previd =
		call(session, "handle", element.name, xmlns, element.attr, session.full_jid ~= nil);
	obey(session, todo, wait);
	if not previd then return is_taken; end
	local former = sessions[previd];
	local own, _, its_todo, its_wait = call(session, "resume", former and former.sm, session);
	obey(session, own);
	obey(former, its_todo, its_wait);
	if own and not session.sm then tell(former, "smacks-hibernation-end", { origin = session, resumed = former }); end
end

-- All that the client sends, before all other filters.
local function incoming(element, session)
	local xmlns = element.attr.xmlns;
	if xmlns and (xmlns ~= xmlns_sm or not session.sm) then return element; end
	-- The session is over. The client has not been told that this was handled, and sends it again.
	if not xmlns and not session.smacks then return nil; end
	return handle(session, element, xmlns or "jabber:client") and element or nil;
end

local function filter(session)
	filters.add_filter(session, "stanzas/out", outgoing, -999);
	filters.add_filter(session, "stanzas/in", incoming, 999);
end

-- What mod_csi_simple holds back for an inactive client goes now, as it does with a stanza that is important.
local function release(session)
	if session.state ~= "inactive" or not session.csi_counter then return; end
	session.state = "flushing";
	session.conn:resume_writes();
end

local function disconnect(session)
	local conn = session.conn;
	if not conn then return; end
	-- mod_csi_simple can hold nothing back now.
	c2s_sessions[conn], session.conn, session.state = nil, nil, nil;
	conn:close();
end

local function destroy(session)
	session.hibernating = nil;
	sessionmanager.destroy_session(session, "The session is over");
end

local declared = "<%1 xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";

-- Over WebSocket each element is a document of its own. What fails here the client does not get: it would miscount what
-- comes behind, and has to come back.
local function write(session, element)
	if not session.conn then return; end
	if session.websocket_request and element == "</stream:stream>" then
		element = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
	elseif session.websocket_request and not element:match("^<[^>]*"):find(" xmlns=", 1, true) then
		element = element:gsub("^<([^%s/>]+)", declared, 1);
	end
	if element:find("^<[ra] ") then release(session); end
	if not attempt(session.log, "write", session.rawsend, element) then
		disconnect(session);
		on(session, "lost");
	end
end

-- What the crate asks for, by the names that it uses. `full`: it writes no more until the connection has drained.
local acts = { full = release };

function acts.enabled(session, smid)
	session.smacks, session.resumption_token, session.sm_key = xmlns_sm, smid, smid or session;
	-- The shell asks it.
	session.outgoing_stanza_queue = { count_unacked = function () return #session.sm:pending(); end };
	sessions[session.sm_key] = session;
	filter(session);
	sessions_started(1);
	-- The account has too many: the one that has waited for longest makes room.
	local count, oldest = 0, nil;
	for _, other in pairs(options.max_sessions > 0 and local_sessions[session.username].sessions or {}) do
		count = count + (other.resumption_token and 1 or 0);
		if other.hibernating and not (oldest and oldest.hibernating <= other.hibernating) then oldest = other; end
	end
	if count > options.max_sessions and oldest then
		oldest:close { condition = "conflict", text = "There are too many sessions" };
	end
end

function acts.flush(session)
	local conn = session.conn;
	if conn and conn.writebuffer and conn.onwritable and not (conn._write_lock or conn._writing) then conn:onwritable(); end
end

-- The stream ends. Prosody writes the end, and waits for the client's.
function acts.close(session) session:close(); end

local function hibernate(session)
	session.hibernating = os.time();
	session.log("debug", "The session waits to be resumed");
	-- A push service has it wait longer: it cancels this, and has a timer of its own, which calls back.
	session.hibernating_watchdog = {
		timeout = options.hibernation_time;
		callback = function () if session.hibernating then on(session, "expired"); end end;
		cancel = function () if session.hibernating then on(session, "kept"); end end;
	};
	tell(session, "smacks-hibernation-start", { origin = session });
end

-- The connection is done with. The session may wait for another.
function acts.left(session, is_said, is_detached)
	if is_said then write(session, "</stream:stream>"); end
	disconnect(session);
	if is_detached then hibernate(session); end
end

-- What belongs to a connection.
local moved = {
	"ip", "conn", "secure", "encrypted", "rawsend", "send", "close", "data", "filter", "filters", "stream", "open_stream",
	"websocket_request";
};

-- The connection of another stream is this session's now.
function acts.resumed(session, new)
	local log, watchdog = new.log, session.hibernating_watchdog;
	resumption_age:sample(session.hibernating and os.time() - session.hibernating or 0);
	-- These functions know their session by an upvalue, which Prosody lets be set like a field.
	new.rawsend.session, new.data.session, new.filter.session = session, session, session;
	for _, field in ipairs(moved) do session[field] = new[field]; end
	session.stream:set_session(session);
	session.hibernating, session.state, session.hibernating_watchdog = nil, nil, nil;
	session.resumption_counter = (session.resumption_counter or 0) + 1;
	c2s_sessions[session.conn] = session;
	new.log, new.type, new.sm, new.conn = session.log, session.type, nil, nil;
	function new.send(stanza) log("error", "The stream has gone to a session that is resumed: %s", stanza); end
	function new.close(_, reason) session:close(reason); end
	filter(session);
	if watchdog then watchdog:cancel(); end
end

function acts.refused(session, failed, is_known)
	write(session, failed);
	if is_known then resumption_expired(1); end
end

function acts.acked(_, count) tx_acked_stanzas:sample(count); end

local function on_delay(_, _, session)
	local seconds = session.smacks and on(session, "looked at");
	if seconds and seconds < ack_delay then return ack_delay - seconds; end
	session.sm_delay = nil;
	if seconds then tell(session, "smacks-ack-delayed", { origin = session }); end
end

function acts.ask(session, request)
	write(session, request);
	session.sm_delay = session.sm_delay or ack_delay > 0 and timer.add_task(ack_delay, on_delay, session);
end

function acts.ended(session, stanzas, reason)
	session.log("debug", "The session is over: %s", reason);
	session.smacks, session.resumption_token, session.outgoing_stanza_queue = false, nil, nil; -- for good
	sessions[session.sm_key or session] = nil;
	if reason == "Expired" then sessions_expired(1); end
	if #stanzas > 0 then tx_dropped_stanzas:sample(#stanzas); end
	for _, text in ipairs(stanzas) do attempt(session.log, "delivery/failure", undelivered, session, text); end
	if not session.conn and not session.sm_ends then destroy(session); end
end

local function on_time(_, _, session)
	session.sm_due = nil;
	if session.smacks then on(session, "timeout"); end
end

-- Does what is to be done, in order, and what comes of that. From inside of itself it does first what is left: when it
-- returns, all is done.
function obey(session, todo, wait)
	local due = wait and time_now() + wait;
	if due and due < (session.sm_due or math.huge) then
		session.sm_due = due;
		timer.add_task(wait, on_time, session);
	end
	if not todo or not todo[1] then return; end
	local steps = session.sm_steps;
	if steps then
		table.move(todo, 1, #todo, #steps + 1, steps);
	else
		steps, session.sm_steps, todo.next = todo, todo, 1;
	end
	while steps[steps.next] do
		local step = steps[steps.next];
		steps.next = steps.next + 1;
		if type(step) == "string" then
			write(session, step);
		else
			attempt(session.log, step[1], acts[step[1]], session, table.unpack(step, 2));
		end
	end
	session.sm_steps = nil;
end

module:hook("stream-features", function (event)
	local session = event.origin;
	-- Not over BOSH, where elements cannot be written as they are.
	if not session.username or not session.rawsend then return; end
	session.sm = session.sm or host:stream(jid.join(session.username, session.host));
	if session.sm:has_feature() then event.features:add_child(feature); end
end);

for _, name in ipairs { "enable", "resume", "r", "a", "enabled", "resumed", "failed" } do
	module:hook_tag(xmlns_sm, name, function (session, element)
		if session.sm then
			handle(session, element, xmlns_sm);
			return true;
		elseif session.type == "c2s_unauthed" and session.rawsend then
			local failed = host:before_authentication(element.name, element.attr);
			return failed and session.rawsend(failed) or nil;
		end
	end, 100);
end

for _, name in ipairs { "csi-client-active", "csi-client-inactive", "csi-flushing", "c2s-ondrain" } do
	module:hook(name, function (event)
		local session = event.session or event.origin;
		if session.smacks then on(session, name); end
	end);
end

module:hook("c2s-read-timeout", function (event)
	if event.session.smacks then return not on(event.session, "silence"); end
end);

-- Prosody ends a stream, whoever began.
module:hook("pre-session-close", function (event)
	local session, reason = event.session, event.reason;
	if not session.sm or session.sm_ends then return; end
	session.sm_ends = true;
	local how = reason and "closed in error" or reason == false and "closed by the client" or "closed";
	if session.smacks then on(session, how); end
	-- mod_websocket does not.
	if not session.conn then destroy(session); end
end);

-- A session is destroyed: unless it waits to be resumed, or was destroyed by what came of this.
module:hook("pre-resource-unbind", function (event)
	local session = event.session;
	if not session.smacks then return; end
	local ends, key = session.sm_ends, session.sm_key;
	session.sm_ends = true;
	if not ends then disconnect(session); end
	local _, waits = on(session, "lost");
	if session.destroyed or (waits and not ends) then
		session.sm_ends = ends;
		return true;
	end
	sessions[key] = nil;
end);

-- Prosody's own mod_smacks does the same: what mod_mam has is not kept once more, and the last session's messages wait.
module:hook("delivery/failure", function (event)
	local session, stanza = event.session, event.stanza;
	local kind = stanza.attr.type or "normal";
	if not session.username or stanza.name ~= "message" or (kind ~= "chat" and kind ~= "normal") then return; end
	if stanza:get_child("result", "urn:xmpp:mam:2") then return true; end
	local archived = stanza:get_child_with_attr("stanza-id", "urn:xmpp:sid:0", "by", jid.bare(session.full_jid));
	if session.mam_requested and archived and archived.attr.id then return true; end
	local sessions = (local_sessions[session.username] or {}).sessions;
	if sessions and next(sessions) == session.resource and next(sessions, session.resource) == nil then
		return module:fire_event("message/offline/handle", { origin = session, username = session.username, stanza = stanza });
	end
end);

module:add_timer(60, function () host:sweep(); return 60; end);

-- A restart: sessions lose their connections before mod_c2s closes them, and are written down when all is quiet.
local kept = {
	"resource", "interested", "interested_blocklist", "priority", "want_carbons", "mam_requested", "directed",
	"push_identifier", "push_settings", "first_hibernated_push", "client_id";
};

-- Whatever becomes of one of them.
local function each_session(what, act)
	for _, session in ipairs(it.to_array(it.values(sessions))) do attempt(session.log, what, act, session); end
end

module:hook_global("server-stopping", function ()
	each_session("lost", function (session) return session.resumption_token and on(session, "lost"); end);
end, -90);

local function save(log, user, smid, what)
	return attempt(log, "storage", function () assert(saved_by_smid:set(user, smid, what)); end);
end

module:hook_global("server-stopping", function ()
	each_session("park", function (session)
		if not session.hibernating then return; end
		local known, smid = {}, session.resumption_token;
		for _, field in ipairs(kept) do known[field] = session[field]; end
		known.presence = session.presence and tostring(session.presence);
		local bytes = session.sm:park(serialization.serialize(known));
		if not save(session.log, session.username, smid, base64.encode(bytes)) then
			session.sm = host:restore(bytes);
			on(session, "closed in error");
		end
	end);
	for _, stale in ipairs(host:stale()) do
		local age, owner, smid, h = stale:match("^(%S+) (%S+) (.*) (%S+)$");
		save(module._log, jid.node(owner), smid, { t = os.time() - age, h = h });
	end
end, -400);

local function revive(user, smid, bytes)
	local sm, text = host:restore(bytes);
	local known, nothing = assert(serialization.deserialize(text)), function () return true; end;
	local conn = { ip = function () return "127.0.0.1"; end, ssl = function () end };
	setmetatable(conn, { __index = function () return nothing; end });
	portmanager.get_service("c2s").listener.onconnect(conn);
	local session = c2s_sessions[conn];
	c2s_sessions[conn], session.conn, session.notopen = nil, nil, nil;
	session.host, session.sm, session.sm_key, session.resumption_token = module.host, sm, smid, smid;
	sessionmanager.make_authenticated(session, user);
	local ok, _, why = sessionmanager.bind_resource(session, known.resource);
	if not ok then sm:park(""); error(why); end
	for _, field in ipairs(kept) do session[field] = known[field]; end
	session.presence = known.presence and parse(known.presence);
	session.smacks, sessions[smid] = xmlns_sm, session;
	filter(session);
	recalc_resource_map(local_sessions[user]);
	hibernate(session);
	on(session, "timeout");
end

-- What cannot be read, or has no place, stays there: it is tried again at the next start.
module:hook_global("server-started", function ()
	for _, user in ipairs(it.to_array(saved:users())) do
		attempt(module._log, user, function ()
			for smid, what in pairs(assert(saved:get(user))) do
				local ok = attempt(module._log, user, function ()
					if type(what) == "string" then return revive(user, smid, base64.decode(what)); end
					host:remember(os.time() - what.t, jid.join(user, module.host), smid, what.h);
				end);
				if ok then save(module._log, user, smid, nil); end
			end
		end);
	end
end);

-- Reloaded, the module goes on with the sessions that it has. Those that begin then have the options that are new.
local is_reloaded = false;

function module.save()
	is_reloaded = true;
	return { host = host, sessions = sessions };
end

function module.restore(former)
	host, sessions = native.new(options, former.host), former.sessions;
	each_session("reload", filter);
end

function module.unload()
	each_session("unload", function (session)
		if not is_reloaded then session:close { condition = "reset", text = "stream management is switched off" }; end
		filters.remove_filter(session, "stanzas/out", outgoing);
		filters.remove_filter(session, "stanzas/in", incoming);
	end);
end
