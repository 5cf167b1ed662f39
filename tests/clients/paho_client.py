"""paho-mqtt against the broker: paho_client.py PORT VERSION SCENARIO. Exits with 0 when all is as it should be."""

import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, VERSION, SCENARIO = int(sys.argv[1]), sys.argv[2], sys.argv[3]
PROTOCOL = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[VERSION]
# A bound for what never comes.
PATIENCE = 30


class Client:
    """A client whose messages and events can be waited for."""

    def __init__(self, name, clean=True, will=None):
        v5 = PROTOCOL == mqtt.MQTTv5
        arguments = {} if v5 else {"clean_session": clean}
        name = f"paho-{VERSION}-{name}"
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=PROTOCOL, **arguments)
        self.messages, self.granted, self.connected, self.gone = queue.Queue(), queue.Queue(), queue.Queue(), queue.Queue()
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_subscribe = lambda client, data, mid, codes, properties: self.granted.put(codes)
        self.client.on_connect = lambda client, data, flags, code, properties: self.connected.put((flags, code))
        self.client.on_disconnect = lambda client, data, flags, code, properties: self.gone.put(code)
        if will:
            self.client.will_set(*will)
        options = {}
        if v5:
            options["clean_start"] = clean
            if not clean:
                options["properties"] = Properties(PacketTypes.CONNECT)
                options["properties"].SessionExpiryInterval = 100
        self.client.connect("127.0.0.1", PORT, keepalive=60, **options)
        self.client.loop_start()
        flags, code = self.connected.get(timeout=PATIENCE)
        assert not code.is_failure, code
        self.session_present = flags.session_present

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        codes = self.granted.get(timeout=PATIENCE)
        assert [code.value for code in codes] == [qos], codes

    def publish(self, topic, payload, qos, retain=False):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(PATIENCE)

    def expect(self, topic, payload, qos, retain=False):
        got = self.messages.get(timeout=PATIENCE)
        seen = (got.topic, got.payload, got.qos, got.retain)
        assert seen == (topic, payload, qos, retain), seen

    def silent(self):
        """Nothing came before what is published now."""
        self.client.publish(f"silence/{id(self)}", b"", 0)
        self.subscribe(f"silence/{id(self)}/more", 0)
        assert self.messages.empty(), self.messages.get().topic

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
        for number in range(100):
            publisher.publish(f"qos/{level}", b"%d" % number, level)
        for number in range(100):
            subscriber.expect(f"qos/{level}", b"%d" % number, level)


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
        first.client.reconnect_delay_set(PATIENCE, PATIENCE)
        first.subscribe(f"same/{number}", 1)
        second = Client(f"same{number}", clean=False)
        assert second.session_present
        # paho-mqtt 2.1 does not read the reason of a DISCONNECT without properties, so there is nothing to compare.
        first.gone.get(timeout=PATIENCE)
        first.client.loop_stop()
        Client(f"p{number}").publish(f"same/{number}", b"x", 1)
        second.expect(f"same/{number}", b"x", 1)


def serve():
    """Answers each message on ask/# on answer/#, for clients of other kinds, until one says stop."""
    client, done = Client("server"), threading.Event()
    client.subscribe("ask/#", 2)
    print("ready", flush=True)
    while not done.is_set():
        message = client.messages.get(timeout=PATIENCE)
        client.publish(message.topic.replace("ask/", "answer/"), message.payload, message.qos)
        if message.payload == b"stop":
            done.set()
    client.leave()


globals()[SCENARIO]()
