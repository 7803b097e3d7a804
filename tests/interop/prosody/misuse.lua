-- What a module may do wrong, to the native part alone: each is an error that says what it is, and nothing is lost.
--
--   lua5.4 misuse.lua libsm_native.so

local native = assert(package.loadlib(arg[1], "luaopen_sm_native"))();
local function options(changes)
	local all = {
		max_queue_size = 10, max_waiting = 10, full_grace = 5, hibernation_time = 60, hibernation_time_max = 0,
		max_queue_bytes = 100000, max_waiting_bytes = 100000, max_unacked_stanzas = 0, ack_timeout = 60, stale_h_time = 3600,
	};
	for name, value in pairs(changes or {}) do all[name] = value or nil; end
	return all;
end
local host = native.new(options());
local failures, sm = 0, "urn:xmpp:sm:3";

local function fails(what, pattern, act, ...)
	local ok, err = pcall(act, ...);
	if ok or not tostring(err):find(pattern) then
		failures = failures + 1;
		print(("%s: expected an error with '%s', got %s"):format(what, pattern, ok and "none" or tostring(err)));
	end
end

local function same(what, got, expected)
	if got ~= expected then
		failures = failures + 1;
		print(("%s: expected %s, got %s"):format(what, tostring(expected), tostring(got)));
	end
end

-- A session that waits to be resumed, and its SM-ID.
local function enabled(owner)
	local stream = host:stream(owner);
	local todo = stream:handle("enable", sm, { resume = "true" }, true);
	local text = "";
	for _, step in ipairs(todo) do text = text..(type(step) == "string" and step or ""); end
	return stream, text:match(" id='([^']+)'");
end

local function ended(todo)
	for _, step in ipairs(type(todo) == "table" and todo or {}) do
		if type(step) == "table" and step[1] == "ended" then return step[2]; end
	end
end

fails("an option that is not there", "option ack_timeout\n.*nil", native.new, options { ack_timeout = false });
fails("an option that is no number", "option max_queue_size\n.*table", native.new, options { max_queue_size = {} });
fails("a time before all times", "option ack_timeout\n.*range", native.new, options { ack_timeout = -1 });
fails("a time without end", "option hibernation_time\n.*range", native.new, options { hibernation_time = 1 / 0 });
fails("no options", "table", native.new);
fails("no owner", "string", host.stream, host);
fails("a host that is none", "userdata", host.stream, "host", "juliet@localhost");
same("nothing is old", host:sweep(), 0);
fails("bytes that are no session", "snapshot", host.restore, host, "bytes");

local stream = host:stream("juliet@localhost");
local function calls_fail(what, pattern, stream)
	fails("send "..what, pattern, stream.send, stream, "<message/>");
	fails("park "..what, pattern, stream.park, stream, "");
	for _, event in ipairs { "csi-client-active", "timeout", "silence", "lost", "closed", "c2s-ondrain", "looked at" } do
		fails(event.." "..what, pattern, stream.on, stream, event);
	end
end

calls_fail("before there is a session", "no session yet", stream);
local _, _, is_taken = stream:handle("message", "jabber:client", {}, false);
same("a stanza before there is a session is not ours", is_taken, true);
fails("no name", "string", stream.handle, stream, nil, sm, {}, true);
fails("no attributes", "table", stream.handle, stream, "enable", sm, nil, true);
fails("attributes that are none", "string", stream.handle, stream, "enable", sm, { resume = {} }, true);
same("a stream that was misused", #stream:handle("r", sm, {}, false), 0);

local session, id = enabled("juliet@localhost");
fails("nil is sent", "string", session.send, session, nil);
fails("another's method", "userdata", session.send, host, "<message/>");
same("a stanza that is sent", session:send("<message from='a' to='b'><body>1</body></message>")[1],
	"<message from='a' to='b'><body>1</body></message>");
same("one that is pending", #session:pending(), 1);
same("a client that is there has it at once", select(3, session:send("<message/>")), nil);
fails("an event that is none", "no event", session.on, session, "rain");
fails("a session that is connected", "connection", session.park, session, "");
fails("another element before its time", "no session yet", function ()
	local other = host:stream("juliet@localhost");
	other:send("<message/>");
end);

-- It is over: what it had comes back once, and all else is an error.
local over = session;
local back = ended(session:on("closed in error")) or ended(session:on("lost"));
same("what comes back", back and #back, 2);
calls_fail("when the session is over", "over", session);
fails("a stanza when the session is over", "over", session.handle, session, "message", "jabber:client", {}, true);
same("nothing is pending", #session:pending(), 0);

-- Its SM-ID is worth nothing to others, and a stream whose connection has gone to a session is over.
local stranger = host:stream("romeo@localhost");
local failed = stranger:handle("resume", sm, { previd = id, h = "0" }, false);
same("a stranger is refused", failed[#failed][2]:find("item-not-found", 1, true) ~= nil, true);
session, id = enabled("juliet@localhost");
session:on("lost");
same("one that waits is kept", select(4, session:on("kept")), true);
local _, _, queued = session:send("<message from='a' to='b'><body>1</body></message>");
same("what comes meanwhile has its time", queued:find("<delay xmlns='urn:xmpp:delay'", 1, true) ~= nil, true);
fails("a stream that asks for none", "asks for no session", stranger.resume, stranger, session, {});
local taker = host:stream("juliet@localhost");
local _, _, _, previd = taker:handle("resume", sm, { previd = id, h = "0" }, false);
same("the session that is asked for", previd, id);
fails("a session that is none", "userdata", taker.resume, taker, nil, {});
fails("itself", "borrow", taker.resume, taker, taker, {});
fails("a session that is over by now", "over", taker.resume, taker, over, {});
fails("no stream whose connection it is", "table", taker.resume, taker, session, nil);
local own, _, its = taker:resume(session, { "its" });
same("nothing is left to do", #own, 0);
same("the session goes on", its[1][1], "resumed");
same("over the connection of that stream", its[1][2][1], "its");
same("it does not expire then", #session:on("expired"), 0);
fails("the stream that it was on", "over", taker.send, taker, "<message/>");

-- What is remembered of those that are gone, here and by the next host.
session, id = enabled("juliet@localhost");
session:handle("message", "jabber:client", {}, true);
session:on("closed in error");
session:on("lost");
local stale = host:stale();
same("one is remembered, of those that were not closed well", stale[#stale]:match("^0 juliet@localhost (.*) 1$"), id);
local other = native.new(options());
other:remember(3, "juliet@localhost", id, 1);
other:remember(4000, "juliet@localhost", "old", 1);
same("what is too old is not", #other:stale(), 1);
same("and told", other:stream("juliet@localhost"):handle("resume", sm, { previd = id, h = "0" }, false)[1][3], true);
fails("one without a number", "number", other.remember, other, 3, "juliet@localhost", id, "h");

-- Many, and they leave nothing behind.
local before, sessions = os.clock(), {};
for i = 1, 10000 do
	sessions[i] = enabled("user"..i.."@localhost");
	sessions[i]:send("<message from='a' to='b'><body>one</body></message>");
	sessions[i]:on("lost");
end
collectgarbage();
print(("10000 sessions that wait: %.2f s of CPU time"):format(os.clock() - before));
for i = 1, 10000 do
	same("what a session leaves", #ended(sessions[i]:on("closed")), 1);
end
sessions = nil;
collectgarbage();

print(failures == 0 and "as it should" or failures.." failures");
os.exit(failures == 0);
