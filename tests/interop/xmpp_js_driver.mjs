// xmpp.js behind the line protocol of driver.rs: HOST PORT JID PASSWORD PARTNER

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { createInterface } from "node:readline";

// The packages are installed beside the other peers, not beside this file.
const require = createRequire(process.env.XMPP_JS_PACKAGES + "/");
const { client, xml, jid } = await import(pathToFileURL(require.resolve("@xmpp/client")));
// Node before 22 has none.
globalThis.WebSocket ??= require("ws");

const SM = "urn:xmpp:sm:3";
const SASL2 = "urn:xmpp:sasl:2";
const BIND2 = "urn:xmpp:bind:0";
const [host, port, address, password, partner] = process.argv.slice(2);
const me = jid(address);
const xmpp = client({
  service: process.env.XMPP_JS_SERVICE ?? `xmpp://${host}:${port}`,
  domain: me.domain,
  resource: me.resource,
  username: me.local,
  password,
});
xmpp.reconnect.delay = 10;

// A WebSocket is in a wrapper.
const connection = () => xmpp.socket?.socket ?? xmpp.socket;

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

const present = () => xmpp.send(xml("presence")).catch(() => {});
let inline = false;
xmpp.on("online", () => {
  if (!inline) present();
});
xmpp.on("nonza", (element) => {
  inline ||= element.is("success", SASL2);
  const bound = element.getChild("bound", BIND2);
  const among = (parent, name) => (parent.is(name, SM) ? parent : parent.getChild(name, SM));
  const failed = among(element, "failed");
  if (failed) report("failed", failed.attrs.h ?? "-");
  if (!among(bound || element, "enabled")) return;
  // Stream management sees it only after this. What is sent before is not counted.
  setImmediate(() => {
    report("online", xmpp.jid.toString());
    if (inline) present();
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
// Nobody waits for what is sent again after an inline <resumed/>: a cut in the middle of it would end the program.
process.on("unhandledRejection", (error) => report("note", String(error).replaceAll("\n", " ")));
// The listener of a SASL2 exchange that was cut stays, and would answer the next challenge, too, with a response that is
// wrong by then: xmpp.js 0.14 could not authenticate any more.
const lasting = xmpp.listeners("nonza");
xmpp.on("disconnect", ({ clean }) => {
  for (const listener of xmpp.listeners("nonza")) {
    if (!lasting.includes(listener)) xmpp.removeListener("nonza", listener);
  }
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
    connection()?.pause();
    report("stopped");
  }
  else if (word === "go") connection()?.resume();
  else if (word === "quit") {
    xmpp.reconnect.stop();
    await xmpp.stop().catch(() => {});
    process.exit(0);
  }
});

xmpp.start().catch((error) => report("note", String(error)));
