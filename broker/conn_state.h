/* SPDX-License-Identifier: MIT */
/*
 * What a connection consists of, for the files of broker/ alone. All of it belongs to the
 * connection's worker.
 *
 * conn.c      life: bytes to packets, closing, timers          conn_connect.c  CONNECT and its
 * claim
 * conn_in.c   PUBLISH, SUBSCRIBE and what else arrives         conn_out.c      replies and
 * deliveries, encoded on demand
 */
#pragma once

#include "broker/conn.h"
#include "broker/delivery.h"
#include "broker/list.h"
#include "broker/router.h"
#include "broker/wheel.h"
#include "mqtt/encode.h"
#include "mqtt/packet.h"

struct acl;
struct claim;
struct login;
struct config;
struct principal;
struct quota;
struct access_memory;
struct session;

enum conn_phase {
    CONN_NEW,      /* CONNECT is awaited */
    CONN_CLAIMING, /* who it is is being found out, then its session is on its way; what arrives is
                      held */
    CONN_OPEN,
    CONN_CLOSED, /* nothing is read any more, what waits is flushed */
};

/* Why a connection ends, for the will (broker/will.c). */
enum conn_end {
    END_DISCONNECT,           /* DISCONNECT with reason 0x00 */
    END_DISCONNECT_WITH_WILL, /* DISCONNECT with 0x04, or with any reason of 0x80 and above */
    END_NETWORK,              /* the network or the peer closed it */
    END_SERVER,               /* the server closed it: protocol error, keep-alive, a limit */
    END_TAKEN_OVER,
    END_SHUTDOWN,
    CONN_ENDS,
};

/*
 * A packet that answers: its place in line was taken when its request arrived; it leaves when
 * everything before it has left and the store has come to `wait`. Acknowledgements are these 24
 * bytes alone, other packets are encoded beforehand.
 */
struct reply {
    uint64_t wait;   /* store position, 0 none */
    uint8_t *packet; /* owned; NULL for an acknowledgement */
    uint32_t len;
    uint16_t id;
    uint8_t type; /* enum mqtt_type */
    uint8_t reason;
};

/* A ring that grows by doubling. Most connections have one thing to answer at a time: the place for
 * that is here, and all that is more is given back when the line is empty. */
struct reply_line {
    struct reply *ring; /* `one`, or from the slab */
    uint32_t head, count, room;
    uint32_t sent; /* bytes of the first one that have left: it was larger than the room */
    struct reply one;
};

/* Whom a CONNECT claims to come from, for the line about a refusal. */
struct conn_names {
    struct span client_id, user;
};

struct topic_alias {
    uint8_t *topic; /* owned; NULL: not set */
    uint32_t len;
};

/* Bytes that wait for what comes behind them. */
struct partial {
    size_t len, room;
    uint8_t bytes[];
};

static inline struct span partial_bytes(const struct partial *partial) /* NULL: none */
{
    return partial ? span_of(partial->bytes, partial->len) : span_of(NULL, 0);
}

/* A PUBLISH that was larger than the room: the rest of it. */
struct unfinished {
    struct mqtt_delivery out; /* its views point into `message`, `ids` and `one_id` */
    struct message *message;
    struct sub_ids *ids;
    uint32_t one_id;
    size_t offset, size;
};

struct conn {
    struct link *link;
    struct worker *worker;
    const struct listener_config *listener;
    struct config *config; /* one reference */
    struct list worker_node, ready_node, waiting_node;

    enum conn_phase phase;
    uint8_t version; /* 0 before CONNECT */
    bool bridge, clean_start, connack_sent, counted;
    bool problem_information; /* reason strings may be sent */
    bool publishes;           /* has sent a PUBLISH */
    bool stopping;            /* ends when its output has left */
    bool paused, choked;
    bool assigned;             /* the client identifier is ours */
    bool lost;                 /* nothing can be sent any more */
    bool certified;            /* `user` is what its certificate proves */
    uint16_t keep_alive;       /* seconds, 0 none */
    uint16_t asked_keep_alive; /* what CONNECT said */
    uint32_t asked_expiry;     /* what CONNECT said, 0 when nothing */
    uint32_t
        window; /* PUBLISH packets of QoS 1 and 2 that may be unacknowledged towards the client */
    uint32_t max_packet;     /* the client's maximum packet size, MQTT_MAX_REMAINING + 5 if none */
    uint32_t unacknowledged; /* inbound QoS 1 and 2 publishes that we have not answered in full */
    uint64_t last_in;        /* milliseconds: the last packet; keep-alive counts from here */
    uint64_t choked_since;   /* milliseconds, 0 not choked */
    struct timer timer;

    char *user;              /* owned, ends in NUL; from conn_admitted() on; NULL: anonymous */
    uint64_t expires_at;     /* milliseconds: its token is good until then; 0: it has none */
    struct acl *token_rules; /* one reference: what its token allows; NULL: it does not say */
    uint64_t credential;     /* fingerprint of the stored password or key that let it in; 0 none */
    struct principal
        *principal; /* who the session will belong to; from conn_admitted() on, owned */
    struct access_memory *access_memory; /* of its publishes, see auth/access.h; owned */
    struct quota *quota;                 /* when there are rates, see quota.h; owned */
    const struct conn_names *names;      /* while CONNECT is looked at, borrowed */
    struct topic_place last_topic;       /* that it has published to */
    struct session *session;             /* attached in CONN_OPEN */
    struct login *login;                 /* in CONN_CLAIMING, until it is known who it is; then */
    struct claim *claim;                 /* until the session is here */
    struct message *will;                /* owned */
    uint32_t will_delay;                 /* seconds */
    uint32_t session_expiry;             /* seconds, as granted */

    struct partial *partial; /* the beginning of a packet, or in CONN_CLAIMING whatever arrived */
    struct braked *braked;   /* what follows, while a receiver must catch up; see brake.h */

    struct reply_line replies;
    struct unfinished *unfinished;
    uint64_t resend;     /* inflight places from here on are still to be sent (again) */
    uint32_t ended_slot; /* the session before, which is deleted: CONNACK waits for that; 0 none */

    struct topic_alias *aliases_in;  /* listener->max_topic_alias entries, on first use */
    struct topic_alias *aliases_out; /* alias_out_max entries, on first use */
    uint16_t aliases_out_count, aliases_out_max;

    uint32_t address_len;
    char address[]; /* NUL-terminated */
};

/* conn.c */
void conn_end(struct conn *conn, enum conn_end end, enum mqtt_reason reason, const char *why,
              uint64_t now);
/* Appends to the line of replies; closes the connection without memory. conn_reply_packet()
 * takes `packet` (malloc) over. */
void conn_reply_ack(struct conn *conn, enum mqtt_type type, uint16_t id, enum mqtt_reason reason,
                    uint64_t wait);
void conn_reply_packet(struct conn *conn, uint8_t *packet, size_t len, enum mqtt_type type,
                       uint64_t wait);
/* The broker stops: ends the connection as soon as what is queued for it has been taken by its
 * socket. */
void conn_stop(struct conn *conn, uint64_t now);
/* Sets the user name, unless its data is NULL; false without memory. */
bool conn_take_user(struct conn *conn, struct span user);
void conn_set_timer(struct conn *conn);
void conn_watch_backlog(struct conn *conn, uint64_t now); /* pause or go on reading */
void conn_durable(struct conn *conn); /* the store has come further: see what may leave */
/* What waits for the store to come to a position above `after`, up to `upto`, is refused. Returns
 * how many answers that are. */
unsigned conn_fail_waiting(struct conn *conn, uint64_t after, uint64_t upto, uint64_t now);
void conn_feed_held(struct conn *conn, uint64_t now); /* after the claim */
/* After it was braked. */
void conn_go_on(struct conn *conn, struct span bytes, uint64_t now);

/* conn_connect.c */
void on_connect(struct conn *conn, struct span body, uint64_t now);
void conn_take_config(struct conn *conn); /* the one that holds now */
/* It is known who it is: conn->user is set, and this is to be its client identifier. */
void conn_admitted(struct conn *conn, struct span client_id, uint64_t now);
void conn_claimed(struct conn *conn, struct session *session, bool present, uint64_t now);
void conn_refuse(struct conn *conn, enum mqtt_reason reason, const char *why, uint64_t now);

/* conn_in.c: a handler checks and acts; it returns what to close the connection with, or
 * MQTT_SUCCESS. */
typedef enum mqtt_reason packet_fn(struct conn *conn, const struct mqtt_frame *frame,
                                   struct span body, uint64_t now);
struct packet_rule {
    packet_fn *handle; /* NULL: a client may not send it */
    const char *why;   /* what is said of a packet that its handler does not accept */
};
extern const struct packet_rule packet_rules[16]; /* by type */
bool topic_is_ours(struct span topic);            /* $SYS and below */

/* conn_out.c */
/* Forgets the replies that wait for the store: the connection ends, they would not be true. */
void replies_drop_waiting(struct conn *conn);
/* Whether the session has something that could be sent now, but for a busy socket. */
bool conn_has_output(const struct conn *conn);
/* What the answer to this identifier's PUBLISH of QoS 2 waits for; 0 nothing any more. */
uint64_t conn_pubrec_wait(const struct conn *conn, uint16_t id);
/* Whether so many publishes are unacknowledged because of us that the connection is left unread. */
bool conn_is_behind(const struct conn *conn);
void replies_init(struct reply_line *line);
void replies_done(struct reply_line *line); /* drops all */
void unfinished_free(struct unfinished *unfinished);
