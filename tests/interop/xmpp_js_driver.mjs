// xmpp.js behind the line protocol of driver.rs: HOST PORT JID PASSWORD PARTNER

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { createInterface } from "node:readline";

// The packages are installed beside the other peers, not beside this file.
const require = createRequire(process.env.XMPP_JS_PACKAGES + "/");
const { client, xml, jid } = await import(pathToFileURL(require.resolve("@xmpp/client")));

const SM = "urn:xmpp:sm:3";
const [host, port, address, password, partner] = process.argv.slice(2);
const me = jid(address);
const xmpp = client({
  service: `xmpp://${host}:${port}`,
  domain: me.domain,
  resource: me.resource,
  username: me.local,
  password,
});
xmpp.reconnect.delay = 10;

const report = (...words) => process.stdout.write(words.join(" ") + "\n");
let online = false;
let kept = [];

function speak(number, text) {
  const body = xml("body", {}, text);
  const message = xml("message", { type: "chat", to: partner, id: `m${number}` }, body);
  // xmpp.js queues what it has written; what it could not write is the caller's again.
  xmpp.send(message).catch(() => keep(number, text));
}

function keep(number, text) {
  kept.push([number, text]);
  kept.sort(([a], [b]) => a - b);
}

function flush() {
  const messages = kept;
  kept = [];
  for (const [number, text] of messages) speak(number, text);
}

function open() {
  online = true;
  flush();
}

xmpp.on("online", () => xmpp.send(xml("presence")).catch(() => {}));
xmpp.on("nonza", (element) => {
  if (element.is("failed", SM)) report("failed", element.attrs.h ?? "-");
  if (!element.is("enabled", SM)) return;
  // Stream management sees it only after this.
  setImmediate(() => {
    report("online", xmpp.jid.toString());
    open();
  });
});
xmpp.streamManagement.on("resumed", () => {
  report("resumed");
  open();
});
xmpp.streamManagement.on("ack", (stanza) => {
  if (stanza.is("message")) report("acked", stanza.attrs.id.slice(1));
});
xmpp.streamManagement.on("fail", (stanza) => report("note given up:", stanza.toString()));
xmpp.on("disconnect", ({ clean }) => {
  if (online) report("offline", clean ? "clean" : "dirty");
  online = false;
});
xmpp.on("error", (error) => report("note", String(error).replaceAll("\n", " ")));
xmpp.on("stanza", (stanza) => {
  const body = stanza.is("message") && stanza.getChildText("body");
  if (!body) return;
  if (stanza.attrs.type === "error") return report("note came back as an error:", body);
  report("received", stanza.getChild("delay", "urn:xmpp:delay")?.attrs.stamp ?? "-", body);
});

createInterface({ input: process.stdin }).on("line", async (line) => {
  const [word, number, ...text] = line.split(" ");
  if (word === "send" && online) speak(number, text.join(" "));
  else if (word === "send") keep(number, text.join(" "));
  else if (word === "stop") {
    xmpp.socket?.pause();
    report("stopped");
  }
  else if (word === "go") xmpp.socket?.resume();
  else if (word === "quit") {
    xmpp.reconnect.stop();
    await xmpp.stop().catch(() => {});
    process.exit(0);
  }
});

xmpp.start().catch((error) => report("note", String(error)));
