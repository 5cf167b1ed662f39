/* A client whose messages and events can be waited for, on the C client of Eclipse Paho.
 *
 * Messages arrive on the library's own thread and are kept in a queue until a scenario asks for them. What is not as it
 * should be ends the program. */
#ifndef CLIENT_H
#define CLIENT_H

#define _GNU_SOURCE
#include <MQTTClient.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A bound for what never comes, in seconds. */
#define PATIENCE 30
#define ROOM 64

extern const char *program, *port, *version;
extern bool v5;
/* Begins the names of a scenario's clients, so that none meets one of an earlier scenario. */
extern const char *running;

#define CHECK(holds) ((holds) ? (void)0 : fail(__LINE__, "%s", #holds))
#define EQUAL(a, b) equal(__LINE__, #a, (long)(a), (long)(b))
#define EXPECT(client, ...) expect(__LINE__, client, __VA_ARGS__)

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
	/* The payload is the client's name, the topic `will/` and the name. */
	bool will;
	unsigned will_delay;
	unsigned packet_maximum, alias_maximum;
};

void fail(int line, const char *what, ...);
void equal(int line, const char *what, long seen, long expected);
void add_number(MQTTProperties *properties, enum MQTTPropertyCodes id, unsigned value);
void add_text(MQTTProperties *properties, enum MQTTPropertyCodes id, const char *value);
void add_pair(MQTTProperties *properties, const char *name, const char *value);
bool is_text(const MQTTLenString *seen, const char *expected);
bool has_text(MQTTProperties *properties, enum MQTTPropertyCodes id, const char *expected);
struct client *connect_with(const char *name, struct options options);
struct client *connected(const char *name);
void leave(struct client *client);

/* Subscribes, and returns the code that was granted. 3.x has no options. */
int subscribe_with(struct client *client, const char *filter, int qos, MQTTSubscribe_options *options, int identifier);
void subscribe(struct client *client, const char *filter, int qos);
int unsubscribe(struct client *client, const char *filter);
void send_bytes(struct client *client, const char *topic, const void *bytes, int len, int qos, bool retain,
	MQTTProperties *properties);
void send_text(struct client *client, const char *topic, const char *payload, int qos, bool retain);

/* Publishes with QoS 1, and returns the code of the acknowledgement. */
int acknowledgement(struct client *client, const char *topic);
int goodbye(struct client *client);
struct message next(struct client *client);
void let_go(struct message message);
bool is(struct message message, const char *topic, const char *payload, int qos, bool retained);
void expect(int line, struct client *client, const char *topic, const char *payload, int qos, bool retained);

/* What was sent before the answer to a SUBSCRIBE has arrived before it. */
unsigned waiting(struct client *client);

/* A client in a process of its own that is killed once it is connected. */
void killed(const char *scenario);

#endif
