/* SPDX-License-Identifier: MIT */
/*
 * The subscriptions of a session, found by their filter. A client may have a hundred thousand of
 * them, so each is a few bytes in an array, its filter is text behind others', and from some number on
 * there is an index. They belong to the session's owner.
 *
 *     at:     [0] [1] [2] …           twelve bytes each
 *     text:   a/b│membership│$share/g/c│d/+/e…        of a shared one, its membership before it
 *     index:  open addressing by the hash of the filter: place in `at` + 1, 0 free
 */
#pragma once

#include "broker/err.h"
#include "mqtt/span.h"

struct membership;
struct session;

/* One subscription. The tree has an entry for it (for a shared one, the group has). */
struct subscription {
    uint32_t text;   /* where its filter begins, as subscribed, $share included */
    uint32_t sub_id; /* 0 none */
    uint16_t len;    /* of the filter */
    uint8_t options;
    uint8_t mark; /* what the rules say of the filter, see auth/access.h */
};

/* What is returned is valid until the next one is added or removed. */
struct subscription *session_subscription(struct session *session,
                                          struct span filter); /* NULL: none */
struct subscription *session_subscription_at(const struct session *session, uint32_t place);
/* One that it does not have yet, of a valid filter. NULL: no memory. */
MUST_USE struct subscription *session_subscription_add(struct session *session, struct span filter);
void session_subscription_remove(struct session *session, struct subscription *subscription);
void session_subscriptions_done(struct session *session);

struct span subscription_filter(const struct session *session,
                                const struct subscription *subscription);
/* Of a shared one; NULL for the others, and until it is set. */
struct membership *subscription_member(const struct session *session,
                                       const struct subscription *subscription);
void subscription_set_member(struct session *session, const struct subscription *subscription,
                             struct membership *member);
