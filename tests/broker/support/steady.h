/* SPDX-License-Identifier: MIT */
/*
 * A client as the specification wants it, which keeps its own state over any crash of the broker:
 * what it has not finished is sent again with the same identifier, what it has received at QoS 2 is
 * received once. Version 5. It acts only when the test says so, packet by packet, and ends the test
 * when the broker does what it must not.
 */
#pragma once

#include "broker/link.h"
#include "tests/broker/support/world.h"

enum { STEADY_IDS = 4, STEADY_SENT = 1200, STEADY_PUBLISHERS = 4 };

enum steady_state { STEADY_NEW, STEADY_SENDING, STEADY_RELEASING, STEADY_DONE, STEADY_GIVEN_UP };

struct steady_message { /* what it publishes */
    uint16_t id;
    uint8_t qos;
    bool retain, tried; /* tried: has been sent at least once */
    bool acked;         /* PUBACK or PUBREC has come */
    enum steady_state state;
};

struct steady_line; /* one connection */

struct steady {
    const char *name; /* one letter; what it publishes has the topics t/<name> and r/<name> */
    unsigned number;  /* of a publisher, < STEADY_PUBLISHERS */
    bool clean;
    uint16_t window;    /* receive maximum, 0: the default */
    const char *filter; /* what it subscribes to, NULL nothing */
    bool will;          /* has one: QoS 2, topic w/<name>, no delay */
    uint8_t granted;    /* QoS of it */
    struct world *world;

    struct steady_line *line; /* NULL: not connected */
    bool welcome;             /* CONNACK has come on this line */
    bool known;               /* CONNACK has come once: the session must be there */
    bool subscribed;          /* SUBACK has come */
    struct steady_message sent[STEADY_SENT];
    unsigned sent_count, first_open;
    uint16_t last_id;

    bool *inbound; /* by identifier: received at QoS 2, PUBREL is awaited */
    struct {       /* acknowledgements that it has yet to send */
        uint8_t type;
        uint16_t id;
    } todo[256];
    unsigned todo_count;
    uint8_t *got[STEADY_PUBLISHERS];      /* how often each message has been received */
    int last[STEADY_PUBLISHERS][3];       /* the newest that was received, by QoS as published */
    int last_retained[STEADY_PUBLISHERS]; /* with the retain flag */
    unsigned wills;                       /* that it has received */
    unsigned ends;                        /* of its connections, or crashes while it had one */
    bool refusable; /* the store may fail: then what it sends is refused, or its connection ends */
    unsigned ordered; /* a bit a publisher whose messages must come in their order */
};

void steady_init(struct steady *steady, struct world *world);
void steady_done(struct steady *steady);

void steady_connect(struct steady *steady, unsigned worker); /* takes over its own connection */
void steady_disconnect(struct steady *steady);
void steady_lose(struct steady *steady);  /* the network goes; what was on its way is lost */
void steady_crash(struct steady *steady); /* the broker goes; then steady_reap_all() */
/* Takes the next packet that has come; sends what it has to acknowledge. False: nothing to do. */
bool steady_receive(struct steady *steady);
bool steady_answer(struct steady *steady);
/* Publishes its next message, when an identifier is free. */
void steady_publish(struct steady *steady, uint8_t qos, bool retain);
/* Nothing is left to be finished by this client. */
bool steady_quiet(const struct steady *steady);
/* Frees the connections that the broker has finished with. */
void steady_reap(void);
void steady_reap_all(void); /* all connections */
