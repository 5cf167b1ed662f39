"""paho-mqtt against the broker: paho_client.py PORT VERSION SCENARIO... Exits with 0 when all is as it should be.

In the environment, TRANSPORT is tls, ws or wss instead of tcp, and CA the file of the authority to trust; CERT and KEY
are the client's own, and with UNCHECKED it trusts everybody.
"""

import os
import queue
import ssl
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, VERSION, SCENARIOS = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
PROTOCOL = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[VERSION]
TRANSPORT, CA = os.environ.get("TRANSPORT", "tcp"), os.environ.get("CA")
# A bound for what never comes.
PATIENCE = 30
# Begins the names of a scenario's clients, so that none meets one of an earlier scenario.
running = ""


def properties(kind, **values):
    """5.0's properties for one type of packet."""
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


def client(**arguments):
    """A client of paho's on the transport that the environment names."""
    made = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        protocol=PROTOCOL,
        transport="websockets" if TRANSPORT in ("ws", "wss") else "tcp",
        **arguments,
    )
    if TRANSPORT in ("ws", "wss"):
        made.ws_set_options(path="/mqtt")
    if TRANSPORT in ("tls", "wss"):
        checks = ssl.CERT_NONE if "UNCHECKED" in os.environ else ssl.CERT_REQUIRED
        made.tls_set(CA, os.environ.get("CERT"), os.environ.get("KEY"), cert_reqs=checks)
        made.tls_insecure_set(checks == ssl.CERT_NONE)
    return made


class Client:
    """A client whose messages and events can be waited for. It expects to be accepted."""

    def __init__(self, name, clean=True, will=None, keep_alive=60, manual_ack=False, connect=None):
        """`connect` are 5.0's properties of CONNECT."""
        v5 = PROTOCOL == mqtt.MQTTv5
        arguments = {} if v5 else {"clean_session": clean}
        name = f"paho-{VERSION}-{running}-{name}"
        self.client = client(client_id=name, manual_ack=manual_ack, **arguments)
        self.messages, self.granted, self.connected, self.gone = (queue.Queue() for _ in range(4))
        self.pongs = queue.Queue()
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_subscribe = lambda client, data, mid, codes, properties: self.granted.put(codes)
        self.client.on_connect = lambda client, data, *answer: self.connected.put(answer)
        self.client.on_disconnect = lambda client, data, flags, code, properties: self.gone.put(code)
        # A log line is all that tells of it.
        self.client.on_log = lambda client, data, level, line: self.pongs.put(line) if "PINGRESP" in line else None
        if will:
            self.client.will_set(*will)
        options = {}
        if v5:
            options["clean_start"] = clean
            kept = {} if clean else {"SessionExpiryInterval": 100}
            options["properties"] = properties(PacketTypes.CONNECT, **{**kept, **(connect or {})})
        self.client.connect("127.0.0.1", PORT, keepalive=keep_alive, **options)
        self.client.loop_start()
        flags, code, self.server = self.connected.get(timeout=PATIENCE)
        assert not code.is_failure, code
        self.session_present = flags.session_present

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        codes = self.granted.get(timeout=PATIENCE)
        assert [code.value for code in codes] == [qos], codes

    def publish(self, topic, payload, qos, retain=False):
        self.await_published(self.client.publish(topic, payload, qos, retain))

    def await_published(self, sent):
        sent.wait_for_publish(PATIENCE)
        assert sent.is_published(), "no acknowledgement"

    def expect(self, topic, payload, qos, retain=False):
        got = self.messages.get(timeout=PATIENCE)
        seen = (got.topic, got.payload, got.qos, got.retain)
        assert seen == (topic, payload, qos, retain), seen

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self):
        self.client.loop_stop()
        self.client._sock_close()


def qos():
    for level in (0, 1, 2):
        subscriber, publisher = Client(f"s{level}"), Client(f"p{level}")
        subscriber.subscribe(f"qos/{level}", level)
        sent = [publisher.client.publish(f"qos/{level}", b"%d" % number, level) for number in range(100)]
        for number in range(100):
            subscriber.expect(f"qos/{level}", b"%d" % number, level)
        for one in sent:
            publisher.await_published(one)


def retained():
    publisher = Client("p")
    publisher.publish("kept/a", b"old", 1, True)
    publisher.publish("kept/a", b"new", 1, True)
    publisher.publish("kept/b", b"gone", 1, True)
    publisher.publish("kept/b", b"", 1, True)
    subscriber = Client("s")
    subscriber.subscribe("kept/+", 1)
    subscriber.expect("kept/a", b"new", 1, True)
    publisher.publish("kept/a", b"live", 1, True)
    subscriber.expect("kept/a", b"live", 1, False)
    publisher.publish("kept/a", b"", 1, True)
    subscriber.expect("kept/a", b"", 1, False)


def will():
    watcher = Client("watcher")
    watcher.subscribe("will", 1)
    polite = Client("polite", will=("will", b"polite", 1, False))
    polite.leave()
    Client("rude", will=("will", b"rude", 1, False)).vanish()
    watcher.expect("will", b"rude", 1)


def persistent():
    subscriber = Client("s", clean=False)
    assert not subscriber.session_present
    subscriber.subscribe("away/#", 2)
    subscriber.leave()
    publisher = Client("p")
    # paho hands a QoS 2 message over when it is released, after QoS 1 messages that came later.
    levels = [1] * 10 + [2] * 10
    for number, level in enumerate(levels):
        publisher.publish("away/x", b"%d" % number, level)
    subscriber = Client("s", clean=False)
    assert subscriber.session_present
    for number, level in enumerate(levels):
        subscriber.expect("away/x", b"%d" % number, level)
    subscriber.leave()
    assert not Client("s", clean=True).session_present


def wildcards():
    subscriber, publisher = Client("s"), Client("p")
    subscriber.subscribe("w/+/x", 0)
    subscriber.subscribe("w/#", 1)
    for topic in ("v/1/x", "w/1/x", "w/1/y", "w"):
        publisher.publish(topic, topic.encode(), 1)
    subscriber.expect("w/1/x", b"w/1/x", 1)
    subscriber.expect("w/1/y", b"w/1/y", 1)
    subscriber.expect("w", b"w", 1)


def system():
    everything, watcher, publisher = Client("e"), Client("w"), Client("p")
    everything.subscribe("#", 0)
    watcher.subscribe("$SYS/broker/uptime", 0)
    # The first may be the retained one; the second is published now.
    for _ in range(2):
        assert watcher.messages.get(timeout=PATIENCE).topic == "$SYS/broker/uptime"
    publisher.publish("system", b"the first that # matches", 1)
    everything.expect("system", b"the first that # matches", 0)


def large():
    subscriber, publisher = Client("s"), Client("p")
    subscriber.subscribe("large", 2)
    payload = bytes(number % 251 for number in range(256 * 1024))
    for level in (0, 1, 2):
        publisher.publish("large", payload, level)
        subscriber.expect("large", payload, level)


def take_over():
    for number in range(8):
        first = Client(f"same{number}", clean=False)
        # It would come back, and take over in its turn.
        first.client.reconnect_delay_set(3_600, 3_600)
        first.subscribe(f"same/{number}", 1)
        second = Client(f"same{number}", clean=False)
        assert second.session_present
        # paho-mqtt 2.1 does not read the reason of a DISCONNECT without properties, so there is nothing to compare.
        first.gone.get(timeout=PATIENCE)
        Client(f"p{number}").publish(f"same/{number}", b"x", 1)
        second.expect(f"same/{number}", b"x", 1)


def pings():
    client = Client("c", keep_alive=1)
    for _ in range(2):
        client.pongs.get(timeout=PATIENCE)


def turned_away():
    """Is not let in, or leaves at once."""
    events, made = queue.Queue(), client(client_id="turned-away")
    made.on_connect = lambda *_: events.put("connected")
    made.on_disconnect = lambda *_: events.put("disconnected")
    try:
        made.connect("127.0.0.1", PORT)
    except (OSError, mqtt.WebsocketConnectionError):
        return
    made.loop_start()
    assert events.get(timeout=PATIENCE) == "disconnected"
    made.disconnect()


def mortal():
    """Connects with a will and a short keep alive, and is stopped from outside."""
    client = Client("c", will=("will/mortal", VERSION.encode(), 1, False), keep_alive=1)
    print("ready", flush=True)
    client.messages.get()


def relay(hop):
    """Passes each message of one hop on to the next, until one says stop."""
    client, payload = Client(hop), b""
    client.subscribe(f"hop/{hop}", 2)
    print("ready", flush=True)
    while payload != b"stop":
        message = client.messages.get(timeout=PATIENCE)
        payload = message.payload
        client.publish(f"hop/{int(hop) + 1}", payload, message.qos)
    client.leave()


def main(scenarios):
    """Runs the scenarios that the command line names. One is a name, or name=argument."""
    global running
    for scenario in SCENARIOS:
        running, *arguments = scenario.split("=")
        scenarios[running](*arguments)


if __name__ == "__main__":
    main(globals())
