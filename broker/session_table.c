/* SPDX-License-Identifier: MIT */
/*
 * See session_table.h. A chained hash table whose links stand in the sessions. It owns the sessions
 * that are in it when the broker ends; until then their workers do. Any thread; of a session it
 * reads and writes only what is immutable or its own (table_next).
 */
#include "broker/session_table.h"

#include "broker/alloc.h"
#include "broker/err.h"
#include "broker/locks.h"
#include "broker/retained.h"
#include "broker/session.h"

#include <stdlib.h>
#include <xxhash.h>

enum { FIRST_BUCKETS = 64 };

struct session_table {
    pthread_mutex_t lock;
    uint64_t seed;            /* (i) */
    struct session **buckets; /* (L) */
    size_t room, count;       /* (L) room is a power of two */
};

struct session_table *session_table_new(uint64_t seed)
{
    struct session_table *table = must_have(calloc(1, sizeof *table));
    table->seed = seed;
    table->room = FIRST_BUCKETS;
    table->buckets = must_have(calloc(table->room, sizeof(struct session *)));
    CHECK(pthread_mutex_init(&table->lock, NULL) == 0);
    return table;
}

void session_table_free(struct session_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->room; i++)
        for (struct session *session = table->buckets[i], *next; session; session = next) {
            next = session->table_next;
            retained_cancel(session, (struct span){ 0 });
            session_free(session);
        }
    pthread_mutex_destroy(&table->lock);
    free(table->buckets);
    free(table);
}

static struct session **bucket(const struct session_table *table, uint64_t hash)
{
    return &table->buckets[hash & (table->room - 1)];
}

/* Without memory the chains just become longer. */
static void grow(struct session_table *table)
{
    struct session_table grown = { .room = table->room * 2 };
    if (!(grown.buckets = calloc(grown.room, sizeof(struct session *))))
        return;
    for (size_t i = 0; i < table->room; i++)
        for (struct session *session = table->buckets[i], *next; session; session = next) {
            next = session->table_next;
            struct session **head = bucket(&grown, session->hash);
            session->table_next = *head;
            *head = session;
        }
    free(table->buckets);
    table->buckets = grown.buckets;
    table->room = grown.room;
}

static struct session *find(const struct session_table *table, struct span client_id, uint64_t hash)
{
    struct session *session = *bucket(table, hash);
    while (session && (session->hash != hash || !span_equal(session_client_id(session), client_id)))
        session = session->table_next;
    return session;
}

static struct session *add(struct session_table *table, struct worker *worker,
                           struct span client_id, uint64_t hash)
{
    struct session *session = session_new(worker, client_id, hash);
    if (!session)
        return NULL;
    if (table->count >= table->room)
        grow(table);
    struct session **head = bucket(table, hash);
    session->table_next = *head;
    *head = session;
    table->count++;
    return session;
}

struct session *session_table_claim(struct session_table *table, struct worker *worker,
                                    struct span client_id, bool *ret_created)
{
    uint64_t hash = XXH3_64bits_withSeed(client_id.data, client_id.len, table->seed);
    lock_take(&table->lock, RANK_SESSION_TABLE);
    struct session *session = find(table, client_id, hash);
    bool created = !session;
    if (created)
        session = add(table, worker, client_id, hash);
    lock_drop(&table->lock, RANK_SESSION_TABLE);
    if (session)
        *ret_created = created;
    return session;
}

bool session_table_has(struct session_table *table, struct span client_id)
{
    uint64_t hash = XXH3_64bits_withSeed(client_id.data, client_id.len, table->seed);
    lock_take(&table->lock, RANK_SESSION_TABLE);
    bool has = find(table, client_id, hash) != NULL;
    lock_drop(&table->lock, RANK_SESSION_TABLE);
    return has;
}

void session_table_remove(struct session_table *table, struct session *session)
{
    lock_take(&table->lock, RANK_SESSION_TABLE);
    struct session **link = bucket(table, session->hash);
    while (*link && *link != session)
        link = &(*link)->table_next;
    CHECK(*link);
    *link = session->table_next;
    session->table_next = NULL;
    table->count--;
    lock_drop(&table->lock, RANK_SESSION_TABLE);
}

size_t session_table_count(struct session_table *table)
{
    lock_take(&table->lock, RANK_SESSION_TABLE);
    size_t count = table->count;
    lock_drop(&table->lock, RANK_SESSION_TABLE);
    return count;
}
