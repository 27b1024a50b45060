/* SPDX-License-Identifier: MIT */
/* See author.h. */
#include "broker/auth/author.h"

#include "broker/auth/access.h"

#include <stdlib.h>

static struct author *author_new(const struct session *session)
{
    struct author *author = malloc(sizeof *author + session->client_id_len);
    if (!author)
        return NULL;
    atomic_init(&author->refs, 1);
    author->principal = principal_ref(session->principal);
    author->client_id_len = session->client_id_len;
    memcpy(author->client_id, session->client_id, session->client_id_len);
    return author;
}

struct author *author_of(struct session *session)
{
    if (!session->author)
        session->author = author_new(session);
    if (session->author)
        atomic_fetch_add_explicit(&session->author->refs, 1, memory_order_relaxed);
    return session->author;
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
    struct acl_client client = access_client(author->principal,
                                             span_of(author->client_id, author->client_id_len));
    return acl_allows(access_rules(worker, author->principal), &client, ACL_WRITE, topic);
}
