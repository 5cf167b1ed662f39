/* The C client of Eclipse Paho against the broker: paho_c PORT VERSION SCENARIO...
 *
 * Exits with 0 when all is as it should be. A scenario is a name, or name=argument. */
#include "client.h"
#include "v5.h"

#include <unistd.h>

static void run_qos(const char *unused)
{
	struct client *subscriber = connected("s"), *publisher = connected("p");
	(void)unused;
	for (int qos = 0; qos < 3; qos++) {
		char topic[16], payload[16];
		snprintf(topic, sizeof topic, "qos/%d", qos);
		subscribe(subscriber, topic, qos);
		for (int number = 0; number < ROOM; number++) {
			snprintf(payload, sizeof payload, "%d", number);
			send_text(publisher, topic, payload, qos, false);
		}
		for (int number = 0; number < ROOM; number++) {
			snprintf(payload, sizeof payload, "%d", number);
			EXPECT(subscriber, topic, payload, qos, false);
		}
	}
	leave(subscriber);
	leave(publisher);
}

static void run_retained(const char *unused)
{
	struct client *publisher = connected("p"), *subscriber = connected("s");
	(void)unused;
	send_text(publisher, "kept/a", "old", 1, true);
	send_text(publisher, "kept/a", "new", 1, true);
	subscribe(subscriber, "kept/+", 1);
	EXPECT(subscriber, "kept/a", "new", 1, true);
	send_text(publisher, "kept/a", "", 1, true);
	EXPECT(subscriber, "kept/a", "", 1, false);
}

/* Stays until it is killed; its argument is the delay of its will. */
static void run_mortal(const char *delay)
{
	connect_with(delay, (struct options){.keep = v5, .will = true, .will_delay = (unsigned)atoi(delay)});
	printf("ready");
	fflush(stdout);
	for (;;)
		pause();
}

static void run_will(const char *unused)
{
	struct client *watcher = connected("watcher");
	(void)unused;
	subscribe(watcher, "will/#", 1);
	leave(connect_with("polite", (struct options){.will = true}));
	killed("mortal=1");
	struct message will = next(watcher);
	CHECK(is(will, "will/1", "1", 1, false));
	if (v5)
		CHECK(has_text(&will.content->properties, MQTTPROPERTY_CODE_CONTENT_TYPE, "text/plain"));
	let_go(will);
}

static void run_persistent(const char *unused)
{
	struct options keep = {.keep = true};
	struct client *first = connect_with("s", keep), *publisher = connected("p");
	(void)unused;
	CHECK(!first->session_present);
	subscribe(first, "away/#", 1);
	leave(first);
	send_text(publisher, "away/x", "one", 1, false);
	send_text(publisher, "away/x", "two", 2, false);
	struct client *second = connect_with("s", keep);
	CHECK(second->session_present || strcmp(version, "3.1.1") != 0);
	EXPECT(second, "away/x", "one", 1, false);
	EXPECT(second, "away/x", "two", 1, false);
	leave(second);
	second = connected("s");
	CHECK(!second->session_present);
	send_text(publisher, "away/x", "three", 1, false);
	EQUAL(waiting(second), 0);
}

static void run_large(const char *unused)
{
	struct client *subscriber = connected("s"), *publisher = connected("p");
	static char payload[256 * 1024];
	(void)unused;
	for (size_t at = 0; at < sizeof payload; at++)
		payload[at] = (char)(at % 251);
	subscribe(subscriber, "large", 2);
	for (int qos = 0; qos < 3; qos++) {
		send_bytes(publisher, "large", payload, sizeof payload, qos, false, NULL);
		struct message message = next(subscriber);
		EQUAL(message.content->payloadlen, sizeof payload);
		CHECK(memcmp(message.content->payload, payload, sizeof payload) == 0);
		let_go(message);
	}
}

/* Passes each message of one hop on to the next, until one says stop. */
static void run_relay(const char *hop)
{
	struct client *client = connected(hop);
	char from[32], to[32];
	bool stop = false;
	snprintf(from, sizeof from, "hop/%s", hop);
	snprintf(to, sizeof to, "hop/%d", atoi(hop) + 1);
	subscribe(client, from, 2);
	printf("ready\n");
	fflush(stdout);
	while (!stop) {
		struct message message = next(client);
		MQTTLenString payload = {message.content->payloadlen, message.content->payload};
		stop = is_text(&payload, "stop");
		send_bytes(client, to, payload.data, payload.len, message.content->qos, false, NULL);
		let_go(message);
	}
	leave(client);
}

static const struct {
	const char *name;
	void (*run)(const char *argument);
} scenarios[] = {
	{"qos", run_qos},
	{"retained", run_retained},
	{"will", run_will},
	{"mortal", run_mortal},
	{"persistent", run_persistent},
	{"large", run_large},
	{"message_properties", run_message_properties},
	{"subscription_options", run_subscription_options},
	{"shared", run_shared},
	{"aliases", run_aliases},
	{"maximum_packet_size", run_maximum_packet_size},
	{"reason_codes", run_reason_codes},
	{"goodbyes", run_goodbyes},
	{"relay", run_relay},
};

int main(int count, char **words)
{
	CHECK(count >= 3);
	program = words[0], port = words[1], version = words[2];
	v5 = strcmp(version, "5") == 0;
	for (int word = 3; word < count; word++) {
		char *name = strdup(words[word]), *argument = strchr(name, '=');
		size_t at = 0, known = sizeof scenarios / sizeof *scenarios;
		if (argument != NULL)
			*argument++ = '\0';
		running = name;
		while (at < known && strcmp(scenarios[at].name, name) != 0)
			at++;
		CHECK(at < known);
		scenarios[at].run(argument != NULL ? argument : "");
	}
	return 0;
}
