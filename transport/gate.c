/* SPDX-License-Identifier: MIT */
/*
 * See gate.h. Owns one small entry an address, for as long as it says something: while connections
 * are open, failures are recent or a ban lasts. There are at most ENTRIES_MAX; beyond that an address
 * that nothing is known about is let in untracked, since refusing it would let a crowd of addresses
 * lock everybody else out.
 */
#include "transport/gate.h"

#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "broker/config.h"
#include "transport/bucket.h"

enum {
    FIRST_BUCKETS = 64,
    ENTRIES_MAX = 262144,
    SWEEP_EVERY = 1000, /* milliseconds */
    SAY_EVERY = 1000,
    KEY_SIZE = 16,
};

struct gate_entry {
    struct gate_entry *next; /* in its bucket */
    uint8_t key[KEY_SIZE];
    uint32_t connections;
    uint32_t failures;     /* since failed_at */
    uint64_t failed_at;    /* milliseconds: the first of them */
    uint64_t banned_until; /* milliseconds, 0 not */
    struct bucket bucket;  /* connections that may come now */
    uint64_t said_at;      /* when a refusal was last worth a line */
};

bool gate_init(struct gate *gate, uint64_t seed)
{
    *gate = (struct gate){ .room = FIRST_BUCKETS, .seed = seed };
    gate->buckets = calloc(gate->room, sizeof(struct gate_entry *));
    return gate->buckets && pthread_mutex_init(&gate->lock, NULL) == 0;
}

void gate_done(struct gate *gate)
{
    for (size_t i = 0; gate->buckets && i < gate->room; i++)
        for (struct gate_entry *entry = gate->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            free(entry);
        }
    if (gate->buckets)
        pthread_mutex_destroy(&gate->lock);
    free(gate->buckets);
    gate->buckets = NULL;
}

/* False for what has no address. IPv4 in IPv6 is the same as IPv4. */
static bool key_of(const struct sockaddr *address, uint8_t key[KEY_SIZE])
{
    memset(key, 0, KEY_SIZE);
    if (address->sa_family == AF_INET) {
        memcpy(key + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
        key[10] = key[11] = 0xff;
        return true;
    }
    if (address->sa_family != AF_INET6)
        return false;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    memcpy(key, six, IN6_IS_ADDR_V4MAPPED(six) ? KEY_SIZE : KEY_SIZE / 2);
    return true;
}

/* ---- the table ------------------------------------------------------------------------------- */

static struct gate_entry **bucket_of(const struct gate *gate, const uint8_t key[KEY_SIZE])
{
    return &gate->buckets[XXH3_64bits_withSeed(key, KEY_SIZE, gate->seed) & (gate->room - 1)];
}

static void grow(struct gate *gate)
{
    struct gate grown = *gate;
    grown.room = gate->room * 2;
    grown.buckets = calloc(grown.room, sizeof(struct gate_entry *));
    if (!grown.buckets)
        return; /* the chains become longer */
    for (size_t i = 0; i < gate->room; i++)
        for (struct gate_entry *entry = gate->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            struct gate_entry **head = bucket_of(&grown, entry->key);
            entry->next = *head;
            *head = entry;
        }
    free(gate->buckets);
    gate->buckets = grown.buckets;
    gate->room = grown.room;
}

static uint64_t ban_of(const struct config *config)
{
    return (uint64_t)config->ban_time * 1000;
}

/* A second's worth. */
static uint64_t full(const struct config *config)
{
    return (uint64_t)config->accept_rate * BUCKET_ONE;
}

static void refill(struct gate_entry *entry, const struct config *config, uint64_t now)
{
    bucket_fill(&entry->bucket, config->accept_rate, full(config), now);
}

static bool says_nothing(struct gate_entry *entry, const struct config *config, uint64_t now)
{
    refill(entry, config, now);
    return entry->connections == 0 && entry->banned_until <= now &&
           (entry->failures == 0 || entry->failed_at + ban_of(config) <= now) &&
           entry->bucket.credit >= full(config);
}

static void sweep(struct gate *gate, const struct config *config, uint64_t now)
{
    gate->swept = now;
    for (size_t i = 0; i < gate->room; i++)
        for (struct gate_entry **link = &gate->buckets[i], *entry; (entry = *link);) {
            if (!says_nothing(entry, config, now)) {
                link = &entry->next;
                continue;
            }
            *link = entry->next;
            free(entry);
            gate->count--;
        }
}

static struct gate_entry *find(const struct gate *gate, const uint8_t key[KEY_SIZE])
{
    struct gate_entry *entry = *bucket_of(gate, key);
    while (entry && memcmp(entry->key, key, KEY_SIZE) != 0)
        entry = entry->next;
    return entry;
}

/* NULL: there are too many, or no memory. */
static struct gate_entry *add(struct gate *gate, const uint8_t key[KEY_SIZE],
                              const struct config *config, uint64_t now)
{
    if (gate->count >= gate->room && gate->swept + SWEEP_EVERY <= now)
        sweep(gate, config, now);
    if (gate->count >= ENTRIES_MAX)
        return NULL;
    struct gate_entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    if (gate->count >= gate->room)
        grow(gate);
    memcpy(entry->key, key, KEY_SIZE);
    struct gate_entry **head = bucket_of(gate, key);
    entry->next = *head;
    *head = entry;
    gate->count++;
    return entry;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static const char *judge(struct gate_entry *entry, const struct config *config, uint64_t now)
{
    if (entry->banned_until > now)
        return "its address was refused too often (ban_time)";
    if (config->max_connections_per_ip && entry->connections >= config->max_connections_per_ip)
        return "too many connections from its address (max_connections_per_ip)";
    if (config->accept_rate) {
        refill(entry, config, now);
        if (entry->bucket.credit < BUCKET_ONE)
            return "connections come too fast from its address (accept_rate)";
        entry->bucket.credit -= BUCKET_ONE;
    }
    return NULL;
}

static bool has_limits(const struct config *config)
{
    return config->accept_rate || config->max_connections_per_ip || config->ban_time;
}

const char *gate_enter(struct gate *gate, const struct sockaddr *address,
                       const struct config *config, uint64_t now, struct gate_entry **ret_entry,
                       bool *ret_say)
{
    uint8_t key[KEY_SIZE];
    const char *why = NULL;
    *ret_entry = NULL;
    *ret_say = false;
    if (!has_limits(config) || !key_of(address, key))
        return NULL;
    pthread_mutex_lock(&gate->lock);
    struct gate_entry *entry = find(gate, key);
    if (!entry)
        entry = add(gate, key, config, now);
    if (entry)
        why = judge(entry, config, now);
    if (entry && !why) {
        entry->connections++;
        *ret_entry = entry;
    } else if (entry && (!entry->said_at || entry->said_at + SAY_EVERY <= now)) {
        entry->said_at = now;
        *ret_say = true;
    }
    pthread_mutex_unlock(&gate->lock);
    return why;
}

void gate_leave(struct gate *gate, struct gate_entry *entry)
{
    if (!entry)
        return;
    pthread_mutex_lock(&gate->lock);
    entry->connections--;
    pthread_mutex_unlock(&gate->lock);
}

bool gate_fail(struct gate *gate, struct gate_entry *entry, const struct config *config,
               uint64_t now)
{
    bool banned = false;
    if (!entry || !config->ban_time)
        return false;
    pthread_mutex_lock(&gate->lock);
    if (entry->failures == 0 || entry->failed_at + ban_of(config) <= now) {
        entry->failures = 0;
        entry->failed_at = now;
    }
    if (++entry->failures >= config->ban_failures && entry->banned_until <= now) {
        entry->banned_until = now + ban_of(config);
        entry->failures = 0;
        banned = true;
    }
    pthread_mutex_unlock(&gate->lock);
    return banned;
}
