#!/usr/bin/env python3
"""How many instructions a message costs Prosody: with xmpp-sm, with its own stream management, and with neither.

    examples/prosody/instructions.py

It needs valgrind. Each figure is the difference between a run with few messages and one with more, divided: what a
start costs is not in it. A client without stream management is what most of the table is about.
"""
import base64, os, re, signal, socket, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.realpath(__file__))
FEW, MORE = 500, 4500
SM = "xmlns='urn:xmpp:sm:3'"


class Client:
    def __init__(self, port, user, sm):
        self.buffer, self.h = b'', 0
        self.socket = socket.create_connection(('127.0.0.1', port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.header()
        credentials = base64.b64encode(f'\0{user}\0secret'.encode()).decode()
        self.write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{credentials}</auth>")
        self.until(b'<success')
        self.header()
        bind = f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{user}</resource></bind>"
        self.write(f"<iq type='set' id='b'>{bind}</iq>")
        self.until(b'</iq>')
        if sm:
            self.write(f"<enable {SM} resume='true'/>")
            self.until(b'<enabled')
        self.write('<presence/>')
        self.until(b'<presence')
        if sm:
            self.answer()

    def header(self):
        self.write("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
                   "to='localhost' version='1.0'>")
        self.until(b'</stream:features>')

    def write(self, text):
        self.socket.sendall(text.encode())

    def answer(self):
        """Acknowledges one stanza more, when it is asked to, and waits until the server knows."""
        self.until(b'<r ')
        self.h += 1
        self.write(f"<a {SM} h='{self.h}'/><r {SM}/>")
        self.until(b'<a ')

    def until(self, text):
        while text not in self.buffer:
            read = self.socket.recv(65536)
            if not read:
                sys.exit(f'closed while waiting for {text}')
            self.buffer += read
        at = self.buffer.index(text) + len(text)
        before, self.buffer = self.buffer[:at], self.buffer[at:]
        return before


def run(smacks, sm, messages):
    """Returns the instructions of a server that passes on so many messages, one at a time."""
    port = socket.socket()
    port.bind(('127.0.0.1', 0))
    number = port.getsockname()[1]
    port.close()
    with tempfile.TemporaryDirectory() as data:
        counts = os.path.join(data, 'counts')
        env = dict(os.environ, SMACKS=smacks, PROSODY_LOG='warn',
                   PROSODY_WITH=f'valgrind --tool=callgrind --callgrind-out-file={counts}')
        command = [f'{HERE}/run.sh', str(number), data, 'romeo:secret', 'juliet:secret']
        server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(('127.0.0.1', number)).close()
                break
            except OSError:
                if server.poll() is not None:
                    sys.exit('Prosody does not start: try run.sh by itself')
                time.sleep(0.5)
        juliet, romeo = Client(number, 'juliet', sm), Client(number, 'romeo', False)
        for n in range(messages):
            romeo.write(f"<message to='juliet@localhost/juliet' type='chat' id='{n}'><body>Wherefore art thou?</body></message>")
            juliet.until(b'</message>')
            if sm:
                juliet.answer()
        server.send_signal(signal.SIGTERM)
        server.wait()
        with open(counts) as file:
            return int(re.search(r'^(?:totals|summary): (\d+)', file.read(), re.M)[1])


def cost(smacks, sm):
    return (run(smacks, sm, MORE) - run(smacks, sm, FEW)) / (MORE - FEW)


print('| client | none | stock | ours |\n| --- | --: | --: | --: |')
none = cost('none', False)
print(f'| without stream management | {none:.0f} | {cost("stock", False):.0f} | {cost("ours", False):.0f} |')
print(f'| with, an `<r/>` each way | | {cost("stock", True):.0f} | {cost("ours", True):.0f} |')
