/* SPDX-License-Identifier: MIT */
/* See author.h. */
#include "broker/auth/author.h"

#include "broker/auth/access.h"
#include "broker/auth/token_rules.h"
#include "broker/store/bytes.h"
#include "broker/store/record.h"

#include <stdlib.h>

/* A record that is longer is not kept beside every message. */
enum { RECORD_MAX = 1024 };

/* The reference to the principal is given away. */
static struct author *author_new(struct principal *principal, struct span client_id,
                                 struct span record)
{
    struct author *author = malloc(sizeof *author + client_id.len + record.len);
    if (!author) {
        principal_unref(principal);
        return NULL;
    }
    atomic_init(&author->refs, 1);
    author->principal = principal;
    author->client_id_len = (uint32_t)client_id.len;
    author->record_len = (uint32_t)record.len;
    put_span(put_span(author->bytes, client_id), record);
    return author;
}

static uint8_t *describe(const struct session *session, size_t *ret_len)
{
    struct session_record owner = { .owned = false };
    uint8_t *topics;
    access_describe(session, &owner, &topics);
    uint8_t *record = author_record_encode(
        &(struct author_record){ .client_id = session_client_id(session),
                                 .owned = owner.owned,
                                 .named = owner.named,
                                 .user = owner.user,
                                 .port = owner.port,
                                 .restricted = owner.restricted,
                                 .topics = owner.topics },
        ret_len);
    free(topics);
    return record;
}

struct author *author_of(struct session *session)
{
    if (!session->author) {
        size_t len = 0;
        uint8_t *record = describe(session, &len);
        session->author = author_new(principal_ref(session->principal), session_client_id(session),
                                     span_of(record, record && len <= RECORD_MAX ? len : 0));
        free(record);
    }
    return author_ref(session->author);
}

struct author *author_restore(const struct worker *worker, struct span record)
{
    struct author_record author;
    struct principal *principal = NULL;
    if (!author_record_decode(record, &author))
        return NULL;
    if (author.owned) {
        principal = principal_restore(worker, author.user, author.named, author.port);
        if (!principal)
            return NULL;
        principal->own = author.restricted ? token_rules_read(author.topics) : NULL;
    }
    return author_new(principal, author.client_id, record);
}

struct author *author_ref(struct author *author)
{
    if (author)
        atomic_fetch_add_explicit(&author->refs, 1, memory_order_relaxed);
    return author;
}

void author_unref(struct author *author)
{
    if (!author || atomic_fetch_sub_explicit(&author->refs, 1, memory_order_acq_rel) != 1)
        return;
    principal_unref(author->principal);
    free(author);
}

bool author_may_publish(const struct worker *worker, const struct author *author, struct span topic)
{
    struct acl_client client = access_client(author->principal, author_client_id(author));
    return acl_allows(access_rules(worker, author->principal), &client, ACL_WRITE, topic);
}
