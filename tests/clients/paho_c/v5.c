/* What 5.0 added. */
#include "client.h"
#include "v5.h"

void run_message_properties(const char *unused)
{
	struct client *subscriber = connected("s"), *publisher = connected("p");
	(void)unused;
	EQUAL(subscribe_with(subscriber, "p/x", 2, NULL, 268435455), 2);
	for (int qos = 0; qos < 3; qos++) {
		MQTTProperties properties = MQTTProperties_initializer;
		add_number(&properties, MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR, 1);
		add_number(&properties, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, 1000);
		add_text(&properties, MQTTPROPERTY_CODE_CONTENT_TYPE, "text/plain");
		add_text(&properties, MQTTPROPERTY_CODE_RESPONSE_TOPIC, "answers/x");
		add_text(&properties, MQTTPROPERTY_CODE_CORRELATION_DATA, "first");
		add_pair(&properties, "b", "2");
		add_pair(&properties, "a", "1");
		add_pair(&properties, "b", "2");
		send_bytes(publisher, "p/x", "payload", 7, qos, false, &properties);
		MQTTProperties_free(&properties);

		struct message message = next(subscriber);
		MQTTProperties *got = &message.content->properties;
		CHECK(is(message, "p/x", "payload", qos, false));
		EQUAL(MQTTProperties_getNumericValue(got, MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR), 1);
		int left = MQTTProperties_getNumericValue(got, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL);
		CHECK(left > 0 && left <= 1000);
		CHECK(has_text(got, MQTTPROPERTY_CODE_CONTENT_TYPE, "text/plain"));
		CHECK(has_text(got, MQTTPROPERTY_CODE_RESPONSE_TOPIC, "answers/x"));
		CHECK(has_text(got, MQTTPROPERTY_CODE_CORRELATION_DATA, "first"));
		EQUAL(MQTTProperties_getNumericValue(got, MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER), 268435455);
		EQUAL(MQTTProperties_propertyCount(got, MQTTPROPERTY_CODE_USER_PROPERTY), 3);
		for (int at = 0; at < 3; at++) {
			MQTTProperty *pair = MQTTProperties_getPropertyAt(got, MQTTPROPERTY_CODE_USER_PROPERTY, at);
			CHECK(is_text(&pair->value.data, at == 1 ? "a" : "b") && is_text(&pair->value.value, at == 1 ? "1" : "2"));
		}
		let_go(message);
	}
}

void run_subscription_options(const char *unused)
{
	struct client *client = connected("c"), *other = connected("o");
	MQTTSubscribe_options options = MQTTSubscribe_options_initializer;
	(void)unused;
	send_text(other, "o/kept", "kept", 1, true);
	/* Retain handling: 2 sends nothing, 1 only what is new, 0 always. */
	options.retainHandling = 2;
	EQUAL(subscribe_with(client, "o/kept", 1, &options, 0), 1);
	options.retainHandling = 1;
	EQUAL(subscribe_with(client, "o/kept", 1, &options, 0), 1);
	EQUAL(waiting(client), 0);
	options.retainHandling = 0;
	options.retainAsPublished = 1;
	EQUAL(subscribe_with(client, "o/kept", 1, &options, 0), 1);
	EXPECT(client, "o/kept", "kept", 1, true);
	send_text(other, "o/kept", "live", 1, true);
	EXPECT(client, "o/kept", "live", 1, true);
	options.noLocal = 1;
	EQUAL(subscribe_with(client, "o/own", 1, &options, 0), 1);
	send_text(client, "o/own", "mine", 1, false);
	send_text(other, "o/own", "another's", 1, false);
	EXPECT(client, "o/own", "another's", 1, false);
	send_text(other, "o/kept", "", 1, true);
}

void run_shared(const char *unused)
{
	struct client *members[] = {connected("a"), connected("b"), connected("c")}, *publisher = connected("p");
	bool seen[30] = {false};
	(void)unused;
	for (int member = 0; member < 3; member++)
		subscribe(members[member], "$share/workers/jobs/+", 1);
	for (int number = 0; number < 30; number++) {
		char payload[16];
		snprintf(payload, sizeof payload, "%d", number);
		send_text(publisher, "jobs/x", payload, 1, false);
	}
	for (int member = 0, sum = 0; member < 3; member++) {
		unsigned share = waiting(members[member]);
		CHECK(share > 0);
		for (; share > 0; share--, sum++) {
			struct message message = next(members[member]);
			char payload[16] = "";
			memcpy(payload, message.content->payload, (size_t)message.content->payloadlen);
			CHECK(!seen[atoi(payload)]);
			seen[atoi(payload)] = true;
			let_go(message);
		}
		CHECK(member < 2 || sum == 30);
	}
}

void run_aliases(const char *unused)
{
	struct client *subscriber = connect_with("s", (struct options){.alias_maximum = 1}), *publisher = connected("p");
	(void)unused;
	CHECK(publisher->alias_maximum > 0);
	subscribe(subscriber, "alias/+", 1);
	for (int round = 0; round < 3; round++) {
		MQTTProperties properties = MQTTProperties_initializer;
		add_number(&properties, MQTTPROPERTY_CODE_TOPIC_ALIAS, (unsigned)publisher->alias_maximum);
		send_bytes(publisher, round == 0 ? "alias/x" : "", "x", 1, 1, false, &properties);
		MQTTProperties_free(&properties);
		struct message message = next(subscriber);
		/* The library hands over what arrived: the topic once, then the alias that came with it. */
		EQUAL(MQTTProperties_getNumericValue(&message.content->properties, MQTTPROPERTY_CODE_TOPIC_ALIAS), 1);
		CHECK(is(message, round == 0 ? "alias/x" : "", "x", 1, false));
		let_go(message);
	}
}

void run_maximum_packet_size(const char *unused)
{
	struct client *subscriber = connect_with("s", (struct options){.packet_maximum = 100}), *publisher = connected("p");
	char large[200];
	(void)unused;
	memset(large, 'x', sizeof large);
	subscribe(subscriber, "m", 1);
	send_bytes(publisher, "m", large, sizeof large, 1, false, NULL);
	send_text(publisher, "m", "small", 1, false);
	EXPECT(subscriber, "m", "small", 1, false);
}

void run_reason_codes(const char *unused)
{
	struct client *client = connected("c"), *other = connected("same");
	MQTTProperties properties = MQTTProperties_initializer;
	(void)unused;
	EQUAL(acknowledgement(client, "nobody/wants/this"), MQTTREASONCODE_NO_MATCHING_SUBSCRIBERS);
	subscribe(client, "wanted", 0);
	EQUAL(acknowledgement(client, "wanted"), MQTTREASONCODE_SUCCESS);
	EQUAL(acknowledgement(client, "$SYS/broker/uptime"), MQTTREASONCODE_NOT_AUTHORIZED);
	EQUAL(unsubscribe(client, "wanted"), MQTTREASONCODE_SUCCESS);
	EQUAL(unsubscribe(client, "wanted"), MQTTREASONCODE_NO_SUBSCRIPTION_FOUND);
	EQUAL(subscribe_with(client, "a/#/b", 1, NULL, 0), MQTTREASONCODE_TOPIC_FILTER_INVALID);
	connected("same");
	EQUAL(goodbye(other), MQTTREASONCODE_SESSION_TAKEN_OVER);
	add_number(&properties, MQTTPROPERTY_CODE_TOPIC_ALIAS, 65535);
	send_bytes(client, "beyond/the/maximum", "x", 1, 0, false, &properties);
	MQTTProperties_free(&properties);
	EQUAL(goodbye(client), MQTTREASONCODE_TOPIC_ALIAS_INVALID);
}

void run_goodbyes(const char *unused)
{
	struct options mortal = {.keep = true, .will = true};
	struct client *watcher = connected("watcher"), *client = connect_with("back", mortal);
	MQTTProperties properties = MQTTProperties_initializer;
	time_t deadline;
	(void)unused;
	subscribe(watcher, "will/+", 1);
	subscribe(client, "kept/x", 1);
	EQUAL(MQTTClient_disconnect5(client->handle, 1000, MQTTREASONCODE_DISCONNECT_WITH_WILL_MESSAGE, NULL), 0);
	EXPECT(watcher, "will/back", "back", 1, false);
	client = connect_with("back", mortal);
	send_text(watcher, "kept/x", "x", 1, false);
	EXPECT(client, "kept/x", "x", 1, false);
	/* DISCONNECT may shorten what CONNECT asked for. */
	add_number(&properties, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, 0);
	EQUAL(MQTTClient_disconnect5(client->handle, 1000, MQTTREASONCODE_SUCCESS, &properties), 0);
	MQTTProperties_free(&properties);
	/* The watcher's shard hears of the end a moment later. */
	deadline = time(NULL) + PATIENCE;
	while (acknowledgement(watcher, "kept/x") != MQTTREASONCODE_NO_MATCHING_SUBSCRIBERS)
		CHECK(time(NULL) < deadline);
	EQUAL(waiting(watcher), 0);
}
