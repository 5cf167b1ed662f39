"""gmqtt against the broker: gmqtt_client.py PORT VERSION SCENARIO... Exits with 0 when all is as it should be."""

import asyncio
import sys

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

PORT, VERSION, SCENARIOS = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
V5 = VERSION == "5"
# A bound for what never comes.
PATIENCE = 30
# Begins the names of a scenario's clients, so that none meets one of an earlier scenario.
running = ""


def soon(awaitable):
    return asyncio.wait_for(awaitable, PATIENCE)


class Client:
    """A client whose messages and events can be waited for."""

    def __init__(self, name, clean=True, will=None, held=False, **properties):
        # Messages are acknowledged when `release` is called, if they are held, and at once otherwise.
        self.messages, self.granted, self.removed, self.gone = (asyncio.Queue() for _ in range(4))
        self.releases = asyncio.Queue() if held else None
        if V5 and not clean:
            properties["session_expiry_interval"] = 100
        self.client = gmqtt.Client(
            f"gmqtt-{VERSION}-{running}-{name}",
            clean_session=clean,
            will_message=will,
            optimistic_acknowledgement=not held,
            **(properties if V5 else {}),
        )
        # A connection that is gone stays gone: gmqtt would come back and take over.
        self.client.set_config({"reconnect_delay": 3_600})
        self.client.on_message = self._on_message
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda client, mid, codes, properties: self.granted.put_nowait(codes)
        self.client.on_unsubscribe = lambda client, mid, codes: self.removed.put_nowait(codes)
        self.client.on_disconnect = lambda client, packet, *more: self.gone.put_nowait(packet)

    async def connect(self):
        await soon(self.client.connect("127.0.0.1", PORT, version=MQTTv50 if V5 else MQTTv311))
        return self

    def _on_connect(self, client, flags, code, properties):
        self.present, self.server = bool(flags & 1), properties

    async def _on_message(self, client, topic, payload, qos, properties):
        self.messages.put_nowait((topic, payload, qos, properties))
        if self.releases is not None:
            await self.releases.get()
        return 0

    def release(self):
        self.releases.put_nowait(None)

    async def subscribe(self, topic, qos=1, **options):
        self.client.subscribe(topic, qos, **options)
        codes = await soon(self.granted.get())
        assert codes == (qos,), codes

    async def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        [code] = await soon(self.removed.get())
        return code

    def publish(self, topic, payload=b"", qos=1, retain=False, **properties):
        self.client.publish(topic, payload, qos, retain, **properties)

    async def acknowledged(self):
        """Waits until everything that was published with QoS 1 and 2 is through."""
        await soon(self.client._persistent_storage.wait_empty())

    async def expect(self, topic, payload, qos, retain=False):
        got = await soon(self.messages.get())
        seen = (*got[:3], bool(got[3]["retain"]))
        assert seen == (topic, payload, qos, retain), seen
        return got[3]

    async def expect_nothing(self):
        """What was sent before the answer to a SUBSCRIBE has arrived before it."""
        await self.subscribe("fence", 0)
        assert self.messages.empty(), self.messages.get_nowait()

    async def leave(self, **reason):
        await soon(self.client.disconnect(**reason))

    def vanish(self):
        self.client._connection._transport.abort()


async def qos():
    for level in (0, 1, 2):
        subscriber, publisher = await Client(f"s{level}").connect(), await Client(f"p{level}").connect()
        await subscriber.subscribe(f"qos/{level}", level)
        for number in range(100):
            publisher.publish(f"qos/{level}", b"%d" % number, level)
        for number in range(100):
            await subscriber.expect(f"qos/{level}", b"%d" % number, level)
        await publisher.acknowledged()


async def retained():
    publisher, subscriber = await Client("p").connect(), await Client("s").connect()
    for payload in (b"old", b"new"):
        publisher.publish("kept/a", payload, retain=True)
    await publisher.acknowledged()
    await subscriber.subscribe("kept/+")
    await subscriber.expect("kept/a", b"new", 1, True)
    publisher.publish("kept/a", b"", retain=True)
    await subscriber.expect("kept/a", b"", 1)


async def will():
    watcher = await Client("watcher").connect()
    await watcher.subscribe("will")
    polite = await Client("polite", will=gmqtt.Message("will", b"polite", qos=1)).connect()
    await polite.leave()
    rude = await Client("rude", will=gmqtt.Message("will", b"rude", qos=1)).connect()
    rude.vanish()
    await watcher.expect("will", b"rude", 1)


async def persistent():
    first, publisher = await Client("s", clean=False).connect(), await Client("p").connect()
    assert not first.present
    await first.subscribe("away/#", 2)
    await first.leave()
    for number in range(20):
        publisher.publish("away/x", b"%d" % number, 1 + number % 2)
    await publisher.acknowledged()
    second = await Client("s", clean=False).connect()
    assert second.present
    for number in range(20):
        await second.expect("away/x", b"%d" % number, 1 + number % 2)
    await second.leave()
    assert not (await Client("s").connect()).present


async def message_properties():
    subscriber, publisher = await Client("s").connect(), await Client("p").connect()
    await subscriber.subscribe("p/x", 2, subscription_identifier=268_435_455)
    user = [("b", "2"), ("a", "1"), ("b", "2")]
    for level in (0, 1, 2):
        publisher.publish(
            "p/x",
            "grüße",
            level,
            payload_format_id=1,
            message_expiry_interval=1_000,
            content_type="text/plain",
            response_topic="answers/x",
            correlation_data=b"\x00\xff",
            user_property=user,
        )
        got = await subscriber.expect("p/x", "grüße".encode(), level)
        assert 0 < got["message_expiry_interval"][0] <= 1_000, got
        assert got["payload_format_id"] == [1] and got["content_type"] == ["text/plain"], got
        assert got["response_topic"] == ["answers/x"] and got["correlation_data"] == [b"\x00\xff"], got
        assert got["user_property"] == user and got["subscription_identifier"] == [268_435_455], got


async def subscription_options():
    client, other = await Client("c").connect(), await Client("o").connect()
    other.publish("o/kept", b"kept", retain=True)
    await other.acknowledged()
    # Retain handling: 2 sends nothing, 1 only what is new, 0 always.
    for handling in (2, 1):
        await client.subscribe("o/kept", retain_handling_options=handling)
        await client.expect_nothing()
    await client.subscribe("o/kept", retain_as_published=True)
    await client.expect("o/kept", b"kept", 1, True)
    other.publish("o/kept", b"", retain=True)
    await client.expect("o/kept", b"", 1, True)
    await client.subscribe("o/own", no_local=True)
    client.publish("o/own", b"mine")
    await client.acknowledged()
    other.publish("o/own", b"another's")
    await client.expect("o/own", b"another's", 1)


async def shared():
    members = [await Client(f"m{number}").connect() for number in range(3)]
    publisher = await Client("p").connect()
    for member in members:
        await member.subscribe("$share/workers/jobs/+")
    for number in range(30):
        publisher.publish(f"jobs/{number % 3}", b"%d" % number)
    await publisher.acknowledged()
    shares = []
    for member in members:
        await member.subscribe("fence", 0)
        shares.append([member.messages.get_nowait()[1] for _ in range(member.messages.qsize())])
    assert all(shares), "one got nothing"
    assert sorted(sum(shares, []), key=int) == [b"%d" % number for number in range(30)], shares


async def aliases():
    """gmqtt resolves the broker's aliases; its own are up to its users."""
    subscriber, publisher = await Client("s", topic_alias_maximum=2).connect(), await Client("p").connect()
    assert publisher.server["topic_alias_maximum"][0] > 0
    await subscriber.subscribe("alias/+")
    for turn in range(12):
        topic = f"alias/{turn // 2 % 3}"
        publisher.publish(topic if turn % 2 == 0 else "", b"%d" % turn, topic_alias=1)
        got = await subscriber.expect(topic, b"%d" % turn, 1)
        assert got["topic_alias"][0] in (1, 2), got


async def receive_maximum():
    subscriber, publisher = await Client("s", held=True, receive_maximum=2).connect(), await Client("p").connect()
    await subscriber.subscribe("r", 2)
    for number in range(6):
        publisher.publish("r", b"%d" % number, 1 + number % 2)
    await publisher.acknowledged()
    for number in range(0, 6, 2):
        await subscriber.expect("r", b"%d" % number, 1)
        await subscriber.expect("r", b"%d" % (number + 1), 2)
        # A message on this subscription would be waiting for its release as well.
        await subscriber.expect_nothing()
        subscriber.release()
        subscriber.release()


async def reason_codes():
    client = await Client("c").connect()
    await client.subscribe("wanted")
    assert await client.unsubscribe("wanted") == 0
    assert await client.unsubscribe("wanted") == 0x11
    client.client.subscribe("a/#/b")
    assert await soon(client.granted.get()) == (0x8F,)
    client.client.subscribe("$share/workers/x", no_local=True)
    # The first byte of the packet is the reason.
    assert (await soon(client.gone.get()))[0] == 0x82


async def session_expiry():
    first = await Client("s", clean=False).connect()
    await first.subscribe("e")
    await first.leave()
    second = await Client("s", clean=False).connect()
    assert second.present
    # DISCONNECT may shorten what CONNECT asked for.
    await second.leave(session_expiry_interval=0)
    assert not (await Client("s", clean=False).connect()).present


async def wills():
    watcher = await Client("watcher").connect()
    await watcher.subscribe("will/+")

    def mortal(name, delay):
        values = {"will_delay_interval": delay, "content_type": "text/plain", "user_property": [("a", "b")]}
        return Client(name, clean=False, will=gmqtt.Message(f"will/{name}", name, qos=1, **values)).connect()

    # Comes back in time, and then says that the will is wanted after all.
    (await mortal("back", 3_600)).vanish()
    back = await mortal("back", 0)
    assert back.present
    await watcher.expect_nothing()
    await back.leave(reason_code=4)
    await watcher.expect("will/back", b"back", 1)
    # Does not come back.
    (await mortal("gone", 1)).vanish()
    got = await watcher.expect("will/gone", b"gone", 1)
    assert got["content_type"] == ["text/plain"] and got["user_property"] == [("a", "b")], got


async def relay(hop):
    """Passes each message of one hop on to the next, until one says stop."""
    client, payload = await Client(hop).connect(), b""
    await client.subscribe(f"hop/{hop}", 2)
    print("ready", flush=True)
    while payload != b"stop":
        _, payload, level, _ = await soon(client.messages.get())
        client.publish(f"hop/{int(hop) + 1}", payload, level)
    await client.acknowledged()
    await client.leave()


async def main():
    global running
    # A scenario is a name, or name=argument.
    for scenario in SCENARIOS:
        running, *arguments = scenario.split("=")
        await globals()[running](*arguments)


asyncio.run(main())
