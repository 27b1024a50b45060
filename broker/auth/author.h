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
    atomic_uint refs;                   /* (a) */
    struct principal *principal;        /* (i) one reference; NULL as in access.h */
    uint32_t client_id_len, record_len; /* (i) */
    uint8_t bytes[];                    /* (i) the client identifier, and the record */
};

static inline struct span author_client_id(const struct author *author)
{
    return span_of(author->bytes, author->client_id_len);
}

/* As it is stored (store/record.h); empty when that would be too long. */
static inline struct span author_record(const struct author *author)
{
    return span_of(author->bytes + author->client_id_len, author->record_len);
}

/* The session as an author, with a reference for the caller. Its owner only. NULL: no memory. */
struct author *author_of(struct session *session);
struct author *author_ref(struct author *author); /* returns its argument; accepts NULL */
void author_unref(struct author *author);         /* accepts NULL */

/* The same after a restart. NULL: no memory, or not a record. */
struct author *author_restore(const struct worker *worker, struct span record);

/* Whether the author may still publish to that topic, under the rules of this worker. */
bool author_may_publish(const struct worker *worker, const struct author *author,
                        struct span topic);
