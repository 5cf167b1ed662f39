"""What 5.0 added, with paho-mqtt: paho_v5.py PORT 5 SCENARIO... Exits with 0 when all is as it should be."""

import queue

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

import paho_client
from paho_client import PATIENCE, properties


class Client(paho_client.Client):
    """The same client, with the codes of acknowledgements and a way to say goodbye with a reason."""

    def __init__(self, name, **options):
        self.published, self.unsubscribed = queue.Queue(), queue.Queue()
        super().__init__(name, **options)
        self.client.on_publish = lambda client, data, mid, code, properties: self.published.put(code)
        self.client.on_unsubscribe = lambda client, data, mid, codes, properties: self.unsubscribed.put(codes)
        # A connection that is gone stays gone: paho would come back and take over.
        self.client.reconnect_delay_set(3_600, 3_600)

    def publish_with(self, topic, payload=b"", qos=1, retain=False, **values):
        """Publishes, and returns the code of the acknowledgement."""
        self.client.publish(topic, payload, qos, retain, properties(PacketTypes.PUBLISH, **values))
        return self.published.get(timeout=PATIENCE)

    def subscribe_with(self, topic, identifier=None, **options):
        """Subscribes with options, and returns the code that was granted."""
        values = {} if identifier is None else {"SubscriptionIdentifier": identifier}
        self.client.subscribe(
            topic, options=SubscribeOptions(**options), properties=properties(PacketTypes.SUBSCRIBE, **values)
        )
        [code] = self.granted.get(timeout=PATIENCE)
        return code.value

    def unsubscribe(self, topic):
        """Unsubscribes, and returns the code."""
        self.client.unsubscribe(topic)
        [code] = self.unsubscribed.get(timeout=PATIENCE)
        return code.value

    def next(self):
        return self.messages.get(timeout=PATIENCE)

    def expect_payloads(self, *payloads):
        assert (seen := [self.next().payload for _ in payloads]) == list(payloads), seen

    def expect_nothing(self):
        """What was sent before the answer to a SUBSCRIBE has arrived before it."""
        self.subscribe_with("fence", qos=0)
        assert self.messages.empty(), self.messages.get().payload

    def leave_with(self, reason="Normal disconnection", **values):
        self.client.disconnect(ReasonCode(PacketTypes.DISCONNECT, reason), properties(PacketTypes.DISCONNECT, **values))
        self.client.loop_stop()


def message_properties():
    subscriber, publisher = Client("s"), Client("p")
    assert subscriber.subscribe_with("p/#", identifier=7, qos=2) == 2
    assert subscriber.subscribe_with("p/+", identifier=268_435_455, qos=1) == 1
    user = [("b", "2"), ("a", "1"), ("b", "2"), ("", "ü")]
    for qos in (0, 1, 2):
        publisher.publish_with(
            "p/x",
            "grüße".encode(),
            qos,
            PayloadFormatIndicator=1,
            MessageExpiryInterval=1_000,
            ContentType="text/plain",
            ResponseTopic="answers/x",
            CorrelationData=b"\x00\xff",
            UserProperty=user,
        )
        message = subscriber.next()
        got = message.properties
        assert message.payload.decode() == "grüße"
        assert (got.PayloadFormatIndicator, got.ContentType) == (1, "text/plain"), got
        assert (got.ResponseTopic, got.CorrelationData) == ("answers/x", b"\x00\xff"), got
        assert got.UserProperty == user, got
        assert 0 < got.MessageExpiryInterval <= 1_000, got
        # Two subscriptions: one message for both or one for each, but each identifier once.
        identifiers = list(got.SubscriptionIdentifier)
        while len(identifiers) < 2:
            identifiers += subscriber.next().properties.SubscriptionIdentifier
        assert sorted(identifiers) == [7, 268_435_455], identifiers


def request_and_response():
    asking, answering = Client("asking"), Client("answering")
    asking.subscribe("answers/1", 1)
    answering.subscribe("questions", 1)
    asking.publish_with("questions", b"2+2", ResponseTopic="answers/1", CorrelationData=b"first")
    question = answering.next().properties
    answering.publish_with(question.ResponseTopic, b"4", CorrelationData=question.CorrelationData)
    answer = asking.next()
    assert (answer.payload, answer.properties.CorrelationData) == (b"4", b"first")


def subscription_options():
    client, other = Client("c"), Client("o")
    other.publish_with("o/kept", b"kept", retain=True)
    # Retain handling: 2 sends nothing, 1 only what is new, 0 always.
    client.subscribe_with("o/kept", qos=1, retainHandling=2)
    client.expect_nothing()
    client.subscribe_with("o/kept", qos=1, retainHandling=1)
    client.expect_nothing()
    client.subscribe_with("o/kept", qos=1, retainHandling=0, retainAsPublished=True)
    client.expect("o/kept", b"kept", 1, True)
    other.publish_with("o/kept", b"live", retain=True)
    client.expect("o/kept", b"live", 1, True)
    client.subscribe_with("o/own", qos=1, noLocal=True)
    client.publish_with("o/own", b"mine")
    other.publish_with("o/own", b"another's")
    client.expect("o/own", b"another's", 1)
    other.publish_with("o/kept", b"", retain=True)


def shared():
    members, publisher = [Client(f"m{number}") for number in range(3)], Client("p")
    for member in members:
        assert member.subscribe_with("$share/workers/jobs/+", qos=1) == 1
    for number in range(30):
        publisher.publish_with(f"jobs/{number % 3}", b"%d" % number)
    shares = []
    for member in members:
        member.subscribe_with("fence", qos=0)
        shares.append([member.messages.get().payload for _ in range(member.messages.qsize())])
    assert all(shares), "one got nothing"
    assert sorted(sum(shares, []), key=int) == [b"%d" % number for number in range(30)], shares
    # Who remains gets everything.
    for member in members[1:]:
        assert member.unsubscribe("$share/workers/jobs/+") == 0
    for number in range(3):
        publisher.publish_with("jobs/x", b"%d" % number)
    members[0].expect_payloads(b"0", b"1", b"2")
    # No Local has no meaning for a group.
    wrong = Client("w")
    wrong.client.subscribe("$share/workers/x", options=SubscribeOptions(noLocal=True))
    assert wrong.gone.get(timeout=PATIENCE).value == 0x82


def aliases():
    subscriber, publisher = Client("s", connect={"TopicAliasMaximum": 1}), Client("p")
    assert publisher.server.TopicAliasMaximum >= 2
    subscriber.subscribe("a/+", 1)
    publisher.publish_with("a/one", b"1", TopicAlias=1)
    publisher.publish_with("a/two", b"2", TopicAlias=2)
    for qos in (0, 1, 2):
        publisher.publish_with("", b"1", qos, TopicAlias=1)
    publisher.publish_with("a/three", b"3", TopicAlias=1)
    publisher.publish_with("", b"3", TopicAlias=1)
    # paho shows what arrived, and leaves it to its users to keep the names of aliases.
    names, seen, short = {}, [], 0
    for _ in range(7):
        message = subscriber.next()
        alias = getattr(message.properties, "TopicAlias", None)
        if alias is not None and message.topic:
            names[alias] = message.topic
        short += not message.topic
        seen.append((message.topic or names[alias], message.payload))
        assert alias in (None, 1), alias
    expected = ["one", "two", "one", "one", "one", "three", "three"]
    payloads = [b"1", b"2", b"1", b"1", b"1", b"3", b"3"]
    assert sorted(seen) == sorted(zip([f"a/{name}" for name in expected], payloads)), seen
    assert short > 0, "the broker's one alias was never used"
    # Above what the server announced.
    publisher.client.publish("a", b"", 0, False, properties(PacketTypes.PUBLISH, TopicAlias=65_535))
    assert publisher.gone.get(timeout=PATIENCE).value == 0x94


def receive_maximum():
    subscriber = Client("s", manual_ack=True, connect={"ReceiveMaximum": 2})
    publisher = Client("p")
    subscriber.subscribe("r/#", 1)
    for number in range(6):
        publisher.publish_with("r/x", b"%d" % number)
    for number in range(0, 6, 2):
        pair = [subscriber.next(), subscriber.next()]
        assert [message.payload for message in pair] == [b"%d" % number, b"%d" % (number + 1)]
        subscriber.expect_nothing()
        for message in pair:
            subscriber.client.ack(message.mid, message.qos)


def maximum_packet_size():
    subscriber, publisher = Client("s", connect={"MaximumPacketSize": 100}), Client("p")
    subscriber.subscribe("m", 1)
    for payload in (b"x" * 200, b"small", b"y" * 200, b"last"):
        publisher.publish_with("m", payload)
    subscriber.expect_payloads(b"small", b"last")


def reason_codes():
    client = Client("c")
    assert client.publish_with("nobody/wants/this").value == 0x10
    client.subscribe("wanted", 1)
    assert client.publish_with("wanted").value == 0
    assert client.publish_with("$SYS/broker/uptime").value == 0x87
    assert client.unsubscribe("wanted") == 0
    assert client.unsubscribe("wanted") == 0x11
    # paho would not let it pass.
    client.client._send_subscribe(False, [(b"a/#/b", SubscribeOptions())], None)
    assert [code.value for code in client.granted.get(timeout=PATIENCE)] == [0x8F]


def limited():
    """Against a broker that does without what the standard leaves to it."""
    client = Client("c")
    server = client.server
    assert (server.MaximumQoS, server.RetainAvailable, server.WildcardSubscriptionAvailable) == (1, 0, 0), server
    assert (server.SubscriptionIdentifierAvailable, server.SharedSubscriptionAvailable) == (0, 0), server
    assert not hasattr(server, "TopicAliasMaximum"), server
    assert client.subscribe_with("plain", qos=2) == 1
    assert client.subscribe_with("wild/#", qos=1) == 0xA2
    assert client.subscribe_with("numbered", identifier=7, qos=1) == 0xA1
    assert client.subscribe_with("$share/group/x", qos=1) == 0x9E
    assert client.publish_with("plain", b"x").value == 0
    client.expect("plain", b"x", 1)
    for name, options, reason in (("qos", {"qos": 2}, 0x9B), ("retain", {"retain": True}, 0x9A)):
        wrong = Client(name)
        wrong.client.publish("plain", b"", **options)
        assert wrong.gone.get(timeout=PATIENCE).value == reason


def assigned_id():
    client = paho_client.client()
    answers = queue.Queue()
    client.on_connect = lambda client, data, *answer: answers.put(answer)
    client.connect("127.0.0.1", paho_client.PORT)
    client.loop_start()
    _, code, given = answers.get(timeout=PATIENCE)
    assert not code.is_failure and given.AssignedClientIdentifier, given
    client.disconnect()


def session_expiry():
    keep = {"SessionExpiryInterval": 100}
    first = Client("s", clean=False, connect=keep)
    first.subscribe("e", 1)
    first.leave()
    second = Client("s", clean=False, connect=keep)
    assert second.session_present
    # DISCONNECT may shorten what CONNECT asked for.
    second.leave_with(SessionExpiryInterval=0)
    assert not Client("s", clean=False, connect=keep).session_present


def wills():
    watcher = Client("watcher")
    watcher.subscribe("will/+", 1)
    values = {"WillDelayInterval": 1, "ContentType": "text/plain", "UserProperty": [("a", "b")]}

    def mortal(name, delay):
        will = properties(PacketTypes.WILLMESSAGE, **{**values, "WillDelayInterval": delay})
        return Client(name, clean=False, will=(f"will/{name}", name.encode(), 1, False, will))

    # Comes back in time, and then says that the will is wanted after all.
    mortal("back", 3_600).vanish()
    back = mortal("back", 0)
    assert back.session_present
    watcher.expect_nothing()
    back.leave_with("Disconnect with will message")
    watcher.expect("will/back", b"back", 1)
    # Does not come back.
    mortal("gone", 1).vanish()
    message = watcher.next()
    assert (message.topic, message.properties.ContentType) == ("will/gone", "text/plain")
    assert message.properties.UserProperty == [("a", "b")]


def take_over_is_told():
    first = Client("same")
    second = Client("same")
    assert first.gone.get(timeout=PATIENCE).value == 0x8E
    second.publish("still/here", b"", 1)


if __name__ == "__main__":
    paho_client.main(globals())
