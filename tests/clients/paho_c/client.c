#include "client.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

const char *program, *port, *version, *running = "";
bool v5;

void fail(int line, const char *what, ...)
{
	va_list values;
	va_start(values, what);
	fprintf(stderr, "%s: line %d: ", running, line);
	vfprintf(stderr, what, values);
	fputc('\n', stderr);
	exit(1);
}

void equal(int line, const char *what, long seen, long expected)
{
	if (seen != expected)
		fail(line, "%s is %ld and not %ld", what, seen, expected);
}

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

void add_number(MQTTProperties *properties, enum MQTTPropertyCodes id, unsigned value)
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

void add_text(MQTTProperties *properties, enum MQTTPropertyCodes id, const char *value)
{
	MQTTProperty property = {.identifier = id};
	property.value.data = text(value);
	EQUAL(MQTTProperties_add(properties, &property), 0);
}

void add_pair(MQTTProperties *properties, const char *name, const char *value)
{
	MQTTProperty property = {.identifier = MQTTPROPERTY_CODE_USER_PROPERTY};
	property.value.data = text(name);
	property.value.value = text(value);
	EQUAL(MQTTProperties_add(properties, &property), 0);
}

bool is_text(const MQTTLenString *seen, const char *expected)
{
	return seen->len == (int)strlen(expected) && memcmp(seen->data, expected, strlen(expected)) == 0;
}

bool has_text(MQTTProperties *properties, enum MQTTPropertyCodes id, const char *expected)
{
	MQTTProperty *property = MQTTProperties_getProperty(properties, id);
	return property != NULL && is_text(&property->value.data, expected);
}

struct client *connect_with(const char *name, struct options options)
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
	connect.keepAliveInterval = 60;
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

struct client *connected(const char *name)
{
	return connect_with(name, (struct options){0});
}

void leave(struct client *client)
{
	if (v5)
		EQUAL(MQTTClient_disconnect5(client->handle, 1000, MQTTREASONCODE_SUCCESS, NULL), 0);
	else
		EQUAL(MQTTClient_disconnect(client->handle, 1000), 0);
	MQTTClient_destroy(&client->handle);
}

int subscribe_with(struct client *client, const char *filter, int qos, MQTTSubscribe_options *options, int identifier)
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

void subscribe(struct client *client, const char *filter, int qos)
{
	EQUAL(subscribe_with(client, filter, qos, NULL, 0), qos);
}

int unsubscribe(struct client *client, const char *filter)
{
	MQTTResponse answer = MQTTClient_unsubscribe5(client->handle, filter, NULL);
	int code = answer.reasonCode;
	MQTTResponse_free(answer);
	return code;
}

void send_bytes(struct client *client, const char *topic, const void *bytes, int len, int qos, bool retain,
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

void send_text(struct client *client, const char *topic, const char *payload, int qos, bool retain)
{
	send_bytes(client, topic, payload, (int)strlen(payload), qos, retain, NULL);
}

int acknowledgement(struct client *client, const char *topic)
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

int goodbye(struct client *client)
{
	pthread_mutex_lock(&client->lock);
	UNTIL(client, client->goodbye != 0);
	pthread_mutex_unlock(&client->lock);
	return client->goodbye;
}

struct message next(struct client *client)
{
	pthread_mutex_lock(&client->lock);
	UNTIL(client, client->taken != client->arrived);
	struct message message = client->messages[client->taken++ % ROOM];
	pthread_mutex_unlock(&client->lock);
	return message;
}

void let_go(struct message message)
{
	MQTTClient_freeMessage(&message.content);
	MQTTClient_free(message.topic);
}

bool is(struct message message, const char *topic, const char *payload, int qos, bool retained)
{
	MQTTLenString seen = {message.content->payloadlen, message.content->payload};
	return strcmp(message.topic, topic) == 0 && is_text(&seen, payload) && message.content->qos == qos &&
		message.content->retained == retained;
}

void expect(int line, struct client *client, const char *topic, const char *payload, int qos, bool retained)
{
	struct message message = next(client);
	if (!is(message, topic, payload, qos, retained))
		fail(line, "%s %.*s qos %d retained %d and not %s %s %d %d", message.topic, message.content->payloadlen,
			(char *)message.content->payload, message.content->qos, message.content->retained, topic, payload, qos,
			retained);
	let_go(message);
}

unsigned waiting(struct client *client)
{
	subscribe(client, "fence", 0);
	pthread_mutex_lock(&client->lock);
	unsigned count = client->arrived - client->taken;
	pthread_mutex_unlock(&client->lock);
	return count;
}

void killed(const char *scenario)
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
