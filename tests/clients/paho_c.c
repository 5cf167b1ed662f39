/* The C client of Eclipse Paho against the broker: paho_c PORT VERSION SCENARIO...
 *
 * Exits with 0 when all is as it should be. A scenario is a name, or name=argument. Messages arrive on the library's own
 * thread and are kept in a queue until a scenario asks for them. */
#define _GNU_SOURCE
#include <MQTTClient.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A bound for what never comes, in seconds. */
#define PATIENCE 30
#define ROOM 64

static const char *program, *port, *version;
static bool v5;
/* Begins the names of a scenario's clients, so that none meets one of an earlier scenario. */
static const char *running = "";

static void fail(int line, const char *what, ...)
{
	va_list values;
	va_start(values, what);
	fprintf(stderr, "%s: line %d: ", running, line);
	vfprintf(stderr, what, values);
	fputc('\n', stderr);
	exit(1);
}

#define CHECK(holds) ((holds) ? (void)0 : fail(__LINE__, "%s", #holds))
#define EQUAL(a, b) equal(__LINE__, #a, (long)(a), (long)(b))

static void equal(int line, const char *what, long seen, long expected)
{
	if (seen != expected)
		fail(line, "%s is %ld and not %ld", what, seen, expected);
}

struct message {
	char *topic;
	MQTTClient_message *content;
};

struct client {
	MQTTClient handle;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* A ring: `taken` and `arrived` only grow. */
	struct message messages[ROOM];
	unsigned taken, arrived;
	/* How many messages with QoS 1 and 2 are through. */
	unsigned delivered;
	/* The code of the last acknowledgement, and how many there were. */
	int acknowledged;
	unsigned acknowledgements;
	/* The code of the server's DISCONNECT. */
	int goodbye;
	/* The library tells it in 3.1.1 only. */
	bool session_present;
	int alias_maximum;
};

struct options {
	bool keep;
	int keep_alive;
	/* The payload is the client's name, the topic `will/` and the name. */
	bool will;
	unsigned will_delay;
	unsigned packet_maximum, alias_maximum;
};

static int on_message(void *context, char *topic, int len, MQTTClient_message *content)
{
	struct client *client = context;
	(void)len;
	pthread_mutex_lock(&client->lock);
	CHECK(client->arrived - client->taken < ROOM);
	client->messages[client->arrived++ % ROOM] = (struct message){topic, content};
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
	return 1;
}

/* Waiting for this is quicker than the library's own wait, which looks every tenth of a second. */
static void on_delivered(void *context, MQTTClient_deliveryToken token)
{
	struct client *client = context;
	(void)token;
	pthread_mutex_lock(&client->lock);
	client->delivered++;
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
}

static void on_published(void *context, int token, int packet, MQTTProperties *properties, enum MQTTReasonCodes code)
{
	struct client *client = context;
	(void)token, (void)packet, (void)properties;
	pthread_mutex_lock(&client->lock);
	client->acknowledged = code;
	client->acknowledgements++;
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
}

static void on_goodbye(void *context, MQTTProperties *properties, enum MQTTReasonCodes code)
{
	struct client *client = context;
	(void)properties;
	pthread_mutex_lock(&client->lock);
	client->goodbye = code;
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
}

static void add_number(MQTTProperties *properties, enum MQTTPropertyCodes id, unsigned value)
{
	MQTTProperty property = {.identifier = id};
	switch (MQTTProperty_getType(id)) {
	case MQTTPROPERTY_TYPE_BYTE:
		property.value.byte = (unsigned char)value;
		break;
	case MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER:
		property.value.integer2 = (unsigned short)value;
		break;
	default:
		property.value.integer4 = value;
	}
	EQUAL(MQTTProperties_add(properties, &property), 0);
}

static MQTTLenString text(const char *value)
{
	return (MQTTLenString){(int)strlen(value), (char *)value};
}

static void add_text(MQTTProperties *properties, enum MQTTPropertyCodes id, const char *value)
{
	MQTTProperty property = {.identifier = id};
	property.value.data = text(value);
	EQUAL(MQTTProperties_add(properties, &property), 0);
}

static void add_pair(MQTTProperties *properties, const char *name, const char *value)
{
	MQTTProperty property = {.identifier = MQTTPROPERTY_CODE_USER_PROPERTY};
	property.value.data = text(name);
	property.value.value = text(value);
	EQUAL(MQTTProperties_add(properties, &property), 0);
}

static bool is_text(const MQTTLenString *seen, const char *expected)
{
	return seen->len == (int)strlen(expected) && memcmp(seen->data, expected, strlen(expected)) == 0;
}

static bool has_text(MQTTProperties *properties, enum MQTTPropertyCodes id, const char *expected)
{
	MQTTProperty *property = MQTTProperties_getProperty(properties, id);
	return property != NULL && is_text(&property->value.data, expected);
}

static struct client *connect_with(const char *name, struct options options)
{
	static const MQTTClient_connectOptions of3 = MQTTClient_connectOptions_initializer;
	static const MQTTClient_connectOptions of5 = MQTTClient_connectOptions_initializer5;
	MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
	MQTTClient_connectOptions connect = v5 ? of5 : of3;
	MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
	MQTTProperties properties = MQTTProperties_initializer, will_properties = MQTTProperties_initializer;
	struct client *client = calloc(1, sizeof *client);
	char address[64], id[128], topic[128];

	pthread_mutex_init(&client->lock, NULL);
	pthread_cond_init(&client->changed, NULL);
	snprintf(address, sizeof address, "tcp://127.0.0.1:%s", port);
	snprintf(id, sizeof id, "c-%s-%s-%s", version, running, name);
	create.MQTTVersion = connect.MQTTVersion =
		v5 ? MQTTVERSION_5 : strcmp(version, "3.1") == 0 ? MQTTVERSION_3_1 : MQTTVERSION_3_1_1;
	EQUAL(MQTTClient_createWithOptions(&client->handle, address, id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create), 0);
	EQUAL(MQTTClient_setCallbacks(client->handle, client, NULL, on_message, on_delivered), 0);
	connect.keepAliveInterval = options.keep_alive ? options.keep_alive : 60;
	if (v5)
		connect.cleanstart = !options.keep;
	else
		connect.cleansession = !options.keep;
	if (options.will) {
		snprintf(topic, sizeof topic, "will/%s", name);
		will.topicName = topic;
		will.message = name;
		will.qos = 1;
		connect.will = &will;
	}
	if (v5) {
		MQTTClient_setPublished(client->handle, client, on_published);
		MQTTClient_setDisconnected(client->handle, client, on_goodbye);
		if (options.keep)
			add_number(&properties, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, 100);
		if (options.packet_maximum)
			add_number(&properties, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, options.packet_maximum);
		if (options.alias_maximum)
			add_number(&properties, MQTTPROPERTY_CODE_TOPIC_ALIAS_MAXIMUM, options.alias_maximum);
		if (options.will) {
			add_number(&will_properties, MQTTPROPERTY_CODE_WILL_DELAY_INTERVAL, options.will_delay);
			add_text(&will_properties, MQTTPROPERTY_CODE_CONTENT_TYPE, "text/plain");
		}
		MQTTResponse answer =
			MQTTClient_connect5(client->handle, &connect, &properties, options.will ? &will_properties : NULL);
		EQUAL(answer.reasonCode, MQTTREASONCODE_SUCCESS);
		client->alias_maximum =
			MQTTProperties_getNumericValue(answer.properties, MQTTPROPERTY_CODE_TOPIC_ALIAS_MAXIMUM);
		MQTTResponse_free(answer);
	} else {
		EQUAL(MQTTClient_connect(client->handle, &connect), MQTTCLIENT_SUCCESS);
	}
	client->session_present = connect.returned.sessionPresent;
	MQTTProperties_free(&properties);
	MQTTProperties_free(&will_properties);
	return client;
}

static struct client *connected(const char *name)
{
	return connect_with(name, (struct options){0});
}

static void leave(struct client *client)
{
	if (v5)
		EQUAL(MQTTClient_disconnect5(client->handle, 1000, MQTTREASONCODE_SUCCESS, NULL), 0);
	else
		EQUAL(MQTTClient_disconnect(client->handle, 1000), 0);
	MQTTClient_destroy(&client->handle);
}

/* Subscribes, and returns the code that was granted. 3.x has no options. */
static int subscribe_with(struct client *client, const char *filter, int qos, MQTTSubscribe_options *options, int identifier)
{
	if (!v5)
		return MQTTClient_subscribe(client->handle, filter, qos) == 0 ? qos : -1;
	MQTTProperties properties = MQTTProperties_initializer;
	if (identifier)
		add_number(&properties, MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER, (unsigned)identifier);
	MQTTResponse answer = MQTTClient_subscribe5(client->handle, filter, qos, options, &properties);
	int code = answer.reasonCode;
	MQTTResponse_free(answer);
	MQTTProperties_free(&properties);
	return code;
}

static void subscribe(struct client *client, const char *filter, int qos)
{
	EQUAL(subscribe_with(client, filter, qos, NULL, 0), qos);
}

static int unsubscribe(struct client *client, const char *filter)
{
	MQTTResponse answer = MQTTClient_unsubscribe5(client->handle, filter, NULL);
	int code = answer.reasonCode;
	MQTTResponse_free(answer);
	return code;
}

/* Waits until something holds that the library's thread brings about; `lock` is held. */
#define UNTIL(client, holds)                                                                                \
	do {                                                                                                \
		struct timespec end;                                                                        \
		clock_gettime(CLOCK_REALTIME, &end);                                                        \
		end.tv_sec += PATIENCE;                                                                     \
		while (!(holds))                                                                            \
			if (pthread_cond_timedwait(&(client)->changed, &(client)->lock, &end) != 0)         \
				fail(__LINE__, "waited in vain: %s", #holds);                               \
	} while (0)

static void send_bytes(struct client *client, const char *topic, const void *bytes, int len, int qos, bool retain,
	MQTTProperties *properties)
{
	MQTTClient_deliveryToken token = 0;
	pthread_mutex_lock(&client->lock);
	unsigned before = client->delivered;
	pthread_mutex_unlock(&client->lock);
	if (v5) {
		MQTTResponse answer =
			MQTTClient_publish5(client->handle, topic, len, bytes, qos, retain, properties, &token);
		EQUAL(answer.reasonCode, 0);
		MQTTResponse_free(answer);
	} else {
		EQUAL(MQTTClient_publish(client->handle, topic, len, bytes, qos, retain, &token), 0);
	}
	pthread_mutex_lock(&client->lock);
	UNTIL(client, qos == 0 || client->delivered > before);
	pthread_mutex_unlock(&client->lock);
}

static void send_text(struct client *client, const char *topic, const char *payload, int qos, bool retain)
{
	send_bytes(client, topic, payload, (int)strlen(payload), qos, retain, NULL);
}

/* Publishes with QoS 1, and returns the code of the acknowledgement. */
static int acknowledgement(struct client *client, const char *topic)
{
	pthread_mutex_lock(&client->lock);
	unsigned before = client->acknowledgements;
	pthread_mutex_unlock(&client->lock);
	send_text(client, topic, "x", 1, false);
	pthread_mutex_lock(&client->lock);
	UNTIL(client, client->acknowledgements > before);
	int code = client->acknowledged;
	pthread_mutex_unlock(&client->lock);
	return code;
}

static int goodbye(struct client *client)
{
	pthread_mutex_lock(&client->lock);
	UNTIL(client, client->goodbye != 0);
	pthread_mutex_unlock(&client->lock);
	return client->goodbye;
}

static struct message next(struct client *client)
{
	pthread_mutex_lock(&client->lock);
	UNTIL(client, client->taken != client->arrived);
	struct message message = client->messages[client->taken++ % ROOM];
	pthread_mutex_unlock(&client->lock);
	return message;
}

static void let_go(struct message message)
{
	MQTTClient_freeMessage(&message.content);
	MQTTClient_free(message.topic);
}

static bool is(struct message message, const char *topic, const char *payload, int qos, bool retained)
{
	MQTTLenString seen = {message.content->payloadlen, message.content->payload};
	return strcmp(message.topic, topic) == 0 && is_text(&seen, payload) && message.content->qos == qos &&
		message.content->retained == retained;
}

#define EXPECT(client, ...) expect(__LINE__, client, __VA_ARGS__)

static void expect(int line, struct client *client, const char *topic, const char *payload, int qos, bool retained)
{
	struct message message = next(client);
	if (!is(message, topic, payload, qos, retained))
		fail(line, "%s %.*s qos %d retained %d and not %s %s %d %d", message.topic, message.content->payloadlen,
			(char *)message.content->payload, message.content->qos, message.content->retained, topic, payload, qos,
			retained);
	let_go(message);
}

/* What was sent before the answer to a SUBSCRIBE has arrived before it. */
static unsigned waiting(struct client *client)
{
	subscribe(client, "fence", 0);
	pthread_mutex_lock(&client->lock);
	unsigned count = client->arrived - client->taken;
	pthread_mutex_unlock(&client->lock);
	return count;
}

/* A client in a process of its own that is killed once it is connected. */
static void killed(const char *scenario)
{
	int out[2];
	char ready[6] = "";
	CHECK(pipe(out) == 0);
	pid_t child = fork();
	if (child == 0) {
		dup2(out[1], STDOUT_FILENO);
		execl(program, program, port, version, scenario, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	CHECK(child > 0 && read(out[0], ready, sizeof ready - 1) == 5 && strcmp(ready, "ready") == 0);
	close(out[0]);
	kill(child, SIGKILL);
	CHECK(waitpid(child, NULL, 0) == child);
}

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

static void run_message_properties(const char *unused)
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

static void run_subscription_options(const char *unused)
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

static void run_shared(const char *unused)
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

static void run_aliases(const char *unused)
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

static void run_maximum_packet_size(const char *unused)
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

static void run_reason_codes(const char *unused)
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

static void run_goodbyes(const char *unused)
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
