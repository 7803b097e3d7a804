"""slixmpp behind the line protocol of driver.rs: HOST PORT JID PASSWORD PARTNER"""

import logging
import os
import sys

from slixmpp import ClientXMPP


def report(*words):
    print(*words, flush=True)


class Driver(ClientXMPP):
    def __init__(self, host, port, jid, password, partner):
        clear = {"unencrypted_scram": True, "unencrypted_plain": True}
        super().__init__(jid, password, plugin_config={"feature_mechanisms": clear})
        self.address = (host, int(port))
        self.partner = partner
        self.enable_direct_tls = False
        self.enable_starttls = False
        self.enable_plaintext = True
        self.online = False
        self.quitting = False
        self.kept = []
        self.rest = b""
        self.register_plugin("xep_0198")
        self.register_plugin("xep_0203")
        # session_start comes before stream management is on.
        self.add_event_handler("sm_enabled", self.started)
        self.add_event_handler("session_resumed", self.resumed)
        self.add_event_handler("sm_failed", self.refused)
        self.add_event_handler("stanza_acked", self.acked)
        self.add_event_handler("message", self.received)
        self.add_event_handler("disconnected", self.gone)

    def started(self, _):
        self.send_presence()
        report("online", self.boundjid.full)
        self.flush()

    def resumed(self, _):
        report("resumed")
        self.flush()

    def flush(self):
        self.online = True
        for number, text in self.kept:
            self.speak(number, text)
        self.kept = []

    def refused(self, failed):
        report("failed", failed.xml.get("h", "-"))

    def acked(self, stanza):
        if stanza.name == "message":
            report("acked", stanza["id"].removeprefix("m"))

    def received(self, message):
        if message["type"] == "error":
            report("note came back as an error:", message["body"])
            return
        delay = message.xml.find("{urn:xmpp:delay}delay")
        stamp = "-" if delay is None else delay.get("stamp")
        report("received", stamp, message["body"])

    def gone(self, reason):
        if self.online:
            self.online = False
            report("offline", reason)
        if self.quitting:
            self.loop.stop()
        else:
            self.loop.call_later(0.01, self.dial)

    def dial(self):
        self.connect(*self.address)

    def speak(self, number, text):
        message = self.make_message(mto=self.partner, mbody=text, mtype="chat")
        message["id"] = f"m{number}"
        message.send()

    def read_commands(self):
        data = os.read(0, 65536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.command(line.decode())
        if not data:
            self.command("quit")

    def command(self, line):
        words = line.split(" ", 2)
        match words[0]:
            case "send" if self.online:
                self.speak(words[1], words[2])
            case "send":
                self.kept.append((words[1], words[2]))
            case "stop" if self.transport:
                self.transport.pause_reading()
                report("stopped")
            case "go" if self.transport:
                self.transport.resume_reading()
            case "quit":
                self.quitting = True
                self.loop.remove_reader(0)
                if self.transport is None:
                    self.loop.stop()
                self.disconnect(wait=0.5)


def main():
    logging.basicConfig(level=os.environ.get("LEVEL", "INFO"), format="%(relativeCreated)d %(levelname)s %(message)s")
    driver = Driver(*sys.argv[1:6])
    driver.loop.add_reader(0, driver.read_commands)
    driver.dial()
    driver.loop.run_forever()


main()
