/* SPDX-License-Identifier: MIT */
/*
 * Who has published a retained message, so that the rules can be asked again when somebody fetches
 * it (check_retain_source). One for all messages of a session; kept only where there are rules. Any
 * thread.
 */
#pragma once

#include "broker/auth/acl.h"

#include <stdatomic.h>

struct principal;
struct session;
struct worker;

struct author {
    atomic_uint refs;            /* (a) */
    struct principal *principal; /* (i) one reference; NULL as in access.h */
    uint32_t client_id_len;      /* (i) */
    uint8_t client_id[];         /* (i) */
};

/* The session as an author, with a reference for the caller. Its owner only. NULL: no memory. */
struct author *author_of(struct session *session);
void author_unref(struct author *author); /* accepts NULL */

/* Whether the author may still publish to that topic, under the rules of this worker. */
bool author_may_publish(const struct worker *worker, const struct author *author,
                        struct span topic);
