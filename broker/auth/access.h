/* SPDX-License-Identifier: MIT */
/*
 * The rules in use: who a session belongs to, and what that one may read and write under the rules
 * that hold now. What the rules say of a whole filter is decided once, when it is subscribed to and
 * again after a reload, and stands in the filter's entry in the tree; so a message for somebody who
 * may read all that his filter matches is not looked at again.
 *
 *     entry without a mark   everything may be read
 *     ENTRY_ASK              some of it: the session's worker asks about each message
 *     ENTRY_DENIED           nothing: the router passes the entry over
 *
 * Rules have a number, which a reload that changes them raises; a session decided under another
 * number than its worker's is asked about each message until it has been decided anew. All of it
 * runs on the session's worker.
 */
#pragma once

#include "broker/auth/acl.h"
#include "broker/delivery.h"
#include "broker/session.h"
#include "broker/worker_state.h"

struct conn;
struct session_record;

/* In tree_entry.options, beside those of SUBSCRIBE. */
enum { ENTRY_ASK = 0x40, ENTRY_DENIED = 0x80 };

enum { ACCESS_UNDECIDED = 0 }; /* session.rules, when nothing is decided; numbers begin at 1 */

/* Who a session belongs to. NULL: nobody in particular, who came through the first listener. Any
 * thread. */
struct principal {
    atomic_uint refs;  /* (a) */
    unsigned listener; /* (i) its index: whose rules hold */
    bool named;        /* (i) there is a user name, maybe an empty one */
    uint32_t user_len; /* (i) */
    struct acl
        *own; /* (i) one reference: what its token allows, instead of the listener's rules; NULL */
    char user[]; /* (i) */
};

/* For a connection whose user is known: false without memory. NULL in `ret_principal` when there is
 * nothing to say. */
struct identity {
    const char *user;  /* NULL: anonymous */
    unsigned listener; /* its index */
    bool any_listener; /* all have the same rules */
    struct acl *own;   /* see struct principal; borrowed */
};
MUST_USE bool principal_new(const struct identity *identity, struct principal **ret_principal);
struct principal *principal_ref(struct principal *principal); /* returns its argument */
void principal_unref(struct principal *principal);            /* NULL is fine */
/* One that was stored with the port of its listener. NULL: no memory. */
struct principal *principal_restore(const struct worker *worker, struct span user, bool named,
                                    uint16_t port);

/* Whom a session belongs to, as it is stored, and what record->topics points to, to be freed (NULL is
 * fine); and the same after a restart: false without memory. */
void access_describe(const struct session *session, struct session_record *record,
                     uint8_t **ret_topics);
MUST_USE bool access_restore(struct worker *worker, struct session *session,
                             const struct session_record *record);

/* ---- asking ---- */

struct acl_client access_client(const struct principal *principal, struct span client_id);
/* The rules that hold for it; NULL: everything is allowed. */
const struct acl *access_rules(const struct worker *worker, const struct principal *principal);

bool access_may(const struct worker *worker, const struct session *session, enum acl_access access,
                struct span topic);
/* The mark for a filter (without $share) in the tree: 0, ENTRY_ASK or ENTRY_DENIED. */
uint8_t access_mark(const struct worker *worker, const struct session *session, struct span filter);

/* Whether a delivery must be asked about at all. */
static inline bool access_is_open(const struct worker *worker, const struct session *session,
                                  const struct delivery *delivery)
{
    return session->rules == worker->rules && !(delivery->flags & DELIVERY_ASK);
}

/* PUBLISH: the same, which remembers the connection's last topic. */
bool access_may_publish(struct conn *conn, struct span topic);
/* Says once for each client and topic (or filter of the rule) that something was refused. */
void access_log_refusal(struct conn *conn, enum acl_access access, struct span topic);
/* Whether a refusal with this reason has not been told of this connection yet; it has been then. */
bool access_is_news(struct conn *conn, enum mqtt_reason reason);
void access_forget(struct conn *conn); /* frees what was remembered */

/* ---- what changes ---- */

/* The worker has another configuration, whose rules have this number. */
void access_take_rules(struct worker *worker, uint32_t number);
/* The session has come to this worker. */
void access_adopt(struct worker *worker, struct session *session);
/* It has a connection, and belongs to this one (given away) from now on. */
void access_become(struct worker *worker, struct session *session, struct principal *principal);
/* Decides some filters anew. Called by worker_finish(); returns whether there is more to do. */
bool access_work(struct worker *worker);
