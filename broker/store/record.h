/* SPDX-License-Identifier: MIT */
/*
 * What is kept of a session and of a subscription, as bytes: versioned, times absolute. Written by
 * whoever owns the thing, read when the broker starts. Pure: no I/O, no clock. Any thread.
 */
#pragma once

#include "broker/err.h"
#include "mqtt/span.h"

struct message;

/* The head of a session; subscriptions and messages are records of their own. */
struct session_record {
    struct span client_id;
    bool owned;         /* it belongs to somebody in particular: */
    bool named;         /* there is a user name, maybe an empty one */
    struct span user;   /* it */
    uint16_t port;      /* of the listener through which he came; 0: a Unix socket */
    bool restricted;    /* by a token, which allows these topics alone: */
    struct span topics; /* see session_topic_take() */
    uint64_t epoch;
    uint32_t expiry;      /* seconds after the connection ends; 0: only its will is kept */
    bool connected;       /* as of the last change: after a crash its time starts at the start */
    uint64_t ends_at;     /* milliseconds since 1970 while offline, UINT64_MAX never */
    struct message *will; /* borrowed when encoding, owned by the caller after decoding; NULL */
    uint32_t will_delay;  /* seconds */
    uint64_t will_at;     /* milliseconds since 1970 when it is due, 0: the connection stands */
};

struct subscription_record {
    struct span filter; /* as subscribed, $share included */
    uint32_t sub_id;    /* 0 none */
    uint8_t options;    /* MQTT_SUB_*: granted QoS, no local, … */
};

/* One topic filter after the other, each with what may be done there (1 read, 2 write, 3 both): its
 * size, writing one (returns what is behind it), and taking the first one; false at the end. */
size_t session_topic_size(struct span filter);
uint8_t *session_topic_put(uint8_t *at, unsigned access, struct span filter);
bool session_topic_take(struct span *topics, unsigned *ret_access, struct span *ret_filter);

/* Encode into malloc'ed memory, which the caller owns; NULL: no memory. */
uint8_t *session_record_encode(const struct session_record *record, size_t *ret_len);
uint8_t *subscription_record_encode(const struct subscription_record *record, size_t *ret_len);

/* 0; -EBADMSG: damaged or not understood; -ENOMEM. The views point into `bytes`. */
MUST_USE int session_record_decode(struct span bytes, struct session_record *ret_record);
MUST_USE int subscription_record_decode(struct span bytes, struct subscription_record *ret_record);

/* A message: topic, properties, payload, QoS, retain flag, expiry. */
size_t message_record_size(const struct message *message);
/* message_size() of the one whose record is so long. */
uint32_t message_record_holds(size_t len);
void message_record_encode(const struct message *message, uint8_t *out);
/* The length of its payload, without a look at the rest; 0: it is damaged. */
uint32_t message_record_payload(struct span bytes);
bool message_record_valid(struct span bytes);
/* NULL: damaged, or no memory (errno says which). */
struct message *message_record_decode(struct span bytes);
/* Its topic, and whether it has no payload, without looking at anything else. */
MUST_USE bool message_record_topic(struct span bytes, struct span *ret_topic, bool *ret_empty);

/* Who has published a retained message. */
struct author_record {
    struct span client_id;
    bool owned; /* as in a session record, and what follows */
    bool named;
    struct span user;
    uint16_t port;
    bool restricted;
    struct span topics;
};

/* As those above. */
uint8_t *author_record_encode(const struct author_record *record, size_t *ret_len);
MUST_USE bool author_record_decode(struct span bytes, struct author_record *ret_record);
