/* SPDX-License-Identifier: MIT */
/*
 * See retained.h. A fetch is a job of the worker that owns the session: slice by slice, as fast as
 * the session's queue takes them, so that neither a million retained messages, nor a slow subscriber,
 * nor one with a hundred thousand filters stalls anybody: the worker goes from session to session,
 * and a session finds the fetch of a filter by its hash. While a slice is read under the shard's
 * lock the worker takes in its mailbox as well: what was set before the slice was read is then
 * handled before the slice.
 */
#include "broker/retained.h"

#include "broker/alloc.h"
#include "broker/auth/access.h"
#include "broker/auth/author.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/durable.h"
#include "broker/locks.h"
#include "broker/session.h"
#include "mqtt/topic.h"

#include <stdlib.h>

enum {
    SHARDS = 64,
    SLICE = 256,       /* messages found a slice */
    LOOKED_AT = 4096,  /* topics looked at a slice */
    SHARDS_A_TURN = 8, /* of one fetch */
    TURN_WORK = 16384, /* of all fetches: messages found, and SLICE_WORK for every slice */
    SLICE_WORK = 8,
    EXPIRED_A_TURN = 4096, /* messages removed, and SLICE_WORK for every slice */
    PACE = 1024,           /* stands for the limit of a queue that has none */
    FEW_BUCKETS = 4,       /* for the fetches of most sessions */
    LONG_CHAIN = 2,        /* jobs a bucket, on average; then there are more buckets */
};

struct retained_shard {
    pthread_mutex_t lock;   /* rank 2 */
    struct topic_map *map;  /* (L) of struct message */
    _Atomic uint64_t bytes; /* (L) of all of them; read by any thread */
};

struct retained {
    uint64_t seed; /* (i) */
    struct retained_shard shards[SHARDS];
    _Atomic uint64_t count, feed; /* (a) */
};

/* One fetch. */
struct retained_job {
    struct list node;           /* in jobs */
    struct retained_job *chain; /* in its bucket */
    uint64_t hash;
    struct topic_cursor cursor;
    unsigned shard, last; /* the one to scan, and behind the last one */
    uint32_t sub_id;
    uint8_t qos;
    bool ask; /* about each message, whether the client may read it */
    uint32_t filter_len;
    uint8_t filter[];
};

/* All fetches of a session, while there are any. */
struct retained_fetches {
    struct list worker_node; /* in worker.fetching */
    struct session *session;
    struct list jobs; /* the next one first */
    struct retained_job **buckets;
    uint32_t count, room; /* of jobs; of buckets, a power of two */
    struct retained_job *few[FEW_BUCKETS];
};

struct slice {
    struct message *found[SLICE];
    struct message *expired[SLICE]; /* still the map's */
    size_t count, expired_count;
    uint64_t now, bytes, max_bytes;
};

struct retained *retained_new(uint64_t seed)
{
    struct retained *retained = must_have(calloc(1, sizeof *retained));
    retained->seed = seed;
    for (unsigned i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&retained->shards[i].lock, NULL);
        retained->shards[i].map = topic_map_new(seed);
        CHECK(retained->shards[i].map);
    }
    return retained;
}

/* ---- one topic ---- */

struct topic_key retained_key(const struct retained *retained, struct span topic)
{
    return topic_key(retained->seed, topic);
}

static unsigned shard_of(struct topic_key key)
{
    return (unsigned)(key.hash >> 32) % SHARDS; /* not the bits that the map looks at */
}

struct retained_shard *retained_lock(struct retained *retained, struct topic_key key)
{
    struct retained_shard *shard = &retained->shards[shard_of(key)];
    lock_take(&shard->lock, RANK_RETAINED);
    return shard;
}

void retained_unlock(struct retained_shard *shard)
{
    lock_drop(&shard->lock, RANK_RETAINED);
}

/* Both under the shard's lock: a plain sum, but for those who look at it without. */
static void count_bytes(struct retained_shard *shard, uint64_t bytes)
{
    uint64_t sum = atomic_load_explicit(&shard->bytes, memory_order_relaxed) + bytes;
    atomic_store_explicit(&shard->bytes, sum, memory_order_relaxed);
}

/* One that is no longer in the map. */
static void forget(struct retained *retained, struct retained_shard *shard, struct message *old)
{
    atomic_fetch_sub_explicit(&retained->count, 1, memory_order_relaxed);
    count_bytes(shard, -(uint64_t)message_size(old));
    message_unref(old);
}

static bool set(struct retained *retained, struct retained_shard *shard, struct topic_key key,
                struct message *message)
{
    void *value = NULL;
    key.topic = message_topic(message); /* the map borrows it */
    if (!topic_map_set(shard->map, key, message_ref(message), &value)) {
        message_unref(message);
        return false;
    }
    if (message->expires) /* without memory it is removed when somebody meets it */
        (void)!topic_map_set_due(shard->map, key, message->expires);
    count_bytes(shard, message_size(message));
    atomic_fetch_add_explicit(&retained->count, 1, memory_order_relaxed);
    if (value)
        forget(retained, shard, value);
    return true;
}

uint64_t retained_set(struct retained *retained, struct retained_shard *shard, struct topic_key key,
                      struct message *message)
{
    if (message->payload_len == 0) { /* [MQTT5-3.3.1-6], [MQTT5-3.3.1-7] */
        struct message *old = topic_map_remove(shard->map, key);
        if (old)
            forget(retained, shard, old);
    } else if (!set(retained, shard, key, message)) {
        return 0;
    }
    return atomic_fetch_add_explicit(&retained->feed, 1, memory_order_relaxed) + 1;
}

bool retained_restore(struct retained *retained, struct message *message, uint64_t number)
{
    struct topic_key key = retained_key(retained, message_topic(message));
    struct retained_shard *shard = retained_lock(retained, key);
    bool set = retained_set(retained, shard, key, message) != 0;
    if (atomic_load_explicit(&retained->feed, memory_order_relaxed) < number)
        atomic_store_explicit(&retained->feed, number, memory_order_relaxed);
    retained_unlock(shard);
    return set;
}

bool retained_has(struct retained *retained, struct span topic)
{
    struct topic_key key = retained_key(retained, topic);
    struct retained_shard *shard = retained_lock(retained, key);
    bool has = topic_map_get(shard->map, key) != NULL;
    retained_unlock(shard);
    return has;
}

uint64_t retained_count(const struct retained *retained)
{
    return atomic_load_explicit(&retained->count, memory_order_relaxed);
}

uint64_t retained_bytes(const struct retained *retained)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < SHARDS; i++)
        bytes += atomic_load_explicit(&retained->shards[i].bytes, memory_order_relaxed);
    return bytes;
}

static bool visit_unref(void *ctx, struct span topic, void *value)
{
    (void)ctx, (void)topic;
    message_unref(value);
    return true;
}

void retained_free(struct retained *retained)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        topic_map_each(retained->shards[i].map, visit_unref, NULL);
        topic_map_free(retained->shards[i].map);
        pthread_mutex_destroy(&retained->shards[i].lock);
    }
    free(retained);
}

/* ---- what expires ---- */

/* A worker sets a timer for what it has set itself, and when that fires looks into all shards. */
static void expiry_due(struct timer *timer, uint64_t now)
{
    (void)now;
    retained_look_for_expired(CONTAINER_OF(timer, struct worker, expiry_timer));
}

void retained_look_for_expired(struct worker *worker)
{
    worker->expiring = SHARDS;
    worker->next_expiry = UINT64_MAX;
}

void retained_expire_at(struct worker *worker, uint64_t when)
{
    struct timer *timer = &worker->expiry_timer;
    if (when == UINT64_MAX || (timer_armed(timer) && timer->due <= when))
        return;
    timer->fire = expiry_due;
    wheel_set(&worker->wheel, timer, when);
}

/* A change like any other, under the shard's lock. */
static void record_expired(struct worker *worker, const struct message *message)
{
    _Atomic uint64_t *feed = &worker->broker->retained->feed;
    uint64_t number = atomic_fetch_add_explicit(feed, 1, memory_order_relaxed) + 1;
    durable_retained_expired(worker, message_topic(message), number);
}

/* Up to one slice of the shard whose turn it is. Returns how much work it was. */
static size_t expire_slice(struct worker *worker, uint64_t now)
{
    struct retained *retained = worker->broker->retained;
    struct retained_shard *shard = &retained->shards[worker->expiring - 1];
    struct message *gone;
    size_t count = 0;
    lock_take(&shard->lock, RANK_RETAINED);
    for (; count < SLICE && (gone = topic_map_take_due(shard->map, now)); count++) {
        record_expired(worker, gone);
        forget(retained, shard, gone);
    }
    uint64_t next = topic_map_next_due(shard->map);
    lock_drop(&shard->lock, RANK_RETAINED);
    if (next > now) {
        worker->expiring--;
        if (next < worker->next_expiry)
            worker->next_expiry = next;
    }
    return SLICE_WORK + count;
}

/* Returns whether there is more to do at once. */
static bool expire(struct worker *worker, uint64_t now)
{
    size_t work = 0;
    while (worker->expiring > 0 && work < EXPIRED_A_TURN)
        work += expire_slice(worker, now);
    if (worker->expiring > 0)
        return true;
    retained_expire_at(worker, worker->next_expiry);
    return false;
}

/* ---- the fetches of a session ---- */

static uint64_t hash_of(const struct session *session, struct span filter)
{
    return topic_key(session->hash, filter).hash;
}

/* Where the link to the filter's job is, or would be. */
static struct retained_job **link_to(struct retained_fetches *fetches, struct span filter,
                                     uint64_t hash)
{
    struct retained_job **link = &fetches->buckets[hash & (fetches->room - 1)];
    while (*link && ((*link)->hash != hash ||
                     !span_equal(span_of((*link)->filter, (*link)->filter_len), filter)))
        link = &(*link)->chain;
    return link;
}

/* Without memory the chains become longer. */
static void grow(struct retained_fetches *fetches)
{
    uint32_t room = fetches->room * 4;
    struct retained_job **buckets = calloc(room, sizeof *buckets);
    if (!buckets)
        return;
    for (struct list *node = fetches->jobs.next; node != &fetches->jobs; node = node->next) {
        struct retained_job *job = CONTAINER_OF(node, struct retained_job, node);
        struct retained_job **bucket = &buckets[job->hash & (room - 1)];
        job->chain = *bucket;
        *bucket = job;
    }
    if (fetches->buckets != fetches->few)
        free(fetches->buckets);
    fetches->buckets = buckets;
    fetches->room = room;
}

static void add(struct worker *worker, struct session *session, struct retained_job *job)
{
    struct retained_fetches *fetches = session->fetches;
    if (!fetches) {
        fetches = must_have(calloc(1, sizeof *fetches));
        list_init(&fetches->jobs);
        fetches->buckets = fetches->few;
        fetches->room = FEW_BUCKETS;
        fetches->session = session;
        session->fetches = fetches;
        list_append(&worker->fetching, &fetches->worker_node);
    }
    if (fetches->count >= fetches->room * LONG_CHAIN)
        grow(fetches);
    *link_to(fetches, span_of(job->filter, job->filter_len), job->hash) = job;
    list_append(&fetches->jobs, &job->node);
    fetches->count++;
}

static void job_free(struct session *session, struct retained_job *job)
{
    struct retained_fetches *fetches = session->fetches;
    *link_to(fetches, span_of(job->filter, job->filter_len), job->hash) = job->chain;
    list_remove(&job->node);
    topic_cursor_done(&job->cursor);
    free(job);
    if (--fetches->count > 0)
        return;
    list_remove(&fetches->worker_node);
    session->fetches = NULL;
    if (fetches->buckets != fetches->few)
        free(fetches->buckets);
    free(fetches);
}

static struct retained_job *first_job(const struct session *session)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it forgets that removal unlinks */
    return CONTAINER_OF(session->fetches->jobs.next, struct retained_job, node);
}

void retained_fetch(struct worker *worker, struct session *session, struct span filter,
                    uint8_t options, uint32_t sub_id)
{
    struct retained *retained = worker->broker->retained;
    struct retained_job *job = must_have(calloc(1, sizeof *job + filter.len));
    retained_cancel(session, filter); /* subscribed again: from the beginning */
    memcpy(job->filter, filter.data, filter.len);
    job->filter_len = (uint32_t)filter.len;
    job->hash = hash_of(session, filter);
    job->qos = options & MQTT_SUB_QOS;
    job->ask = options & ENTRY_ASK;
    job->sub_id = sub_id;
    job->last = SHARDS;
    if (!mqtt_filter_has_wildcard(filter)) {
        job->shard = shard_of(retained_key(retained, filter));
        job->last = job->shard + 1;
    }
    add(worker, session, job);
}

void retained_ask(struct session *session)
{
    struct list *jobs = session->fetches ? &session->fetches->jobs : NULL;
    for (struct list *node = jobs ? jobs->next : NULL; node != jobs; node = node->next)
        CONTAINER_OF(node, struct retained_job, node)->ask = true;
}

void retained_leave(struct session *session)
{
    if (session->fetches)
        list_remove(&session->fetches->worker_node);
}

void retained_arrive(struct worker *worker, struct session *session)
{
    if (session->fetches)
        list_append(&worker->fetching, &session->fetches->worker_node);
}

void retained_cancel(struct session *session, struct span filter)
{
    if (session->fetches && filter.data) {
        struct retained_job **link = link_to(session->fetches, filter, hash_of(session, filter));
        if (*link)
            job_free(session, *link);
        return;
    }
    while (session->fetches)
        job_free(session, first_job(session));
}

/* ---- fetching ---- */

static bool visit_collect(void *ctx, struct span topic, void *value)
{
    struct slice *slice = ctx;
    struct message *message = value;
    (void)topic;
    if (message_expired(message, slice->now)) {
        slice->expired[slice->expired_count++] = message; /* the map must not change yet */
        return true;
    }
    slice->found[slice->count++] = message_ref(message);
    slice->bytes += message_size(message);
    return slice->bytes < slice->max_bytes;
}

/*
 * How many messages the session may be given now. A fetch begins only into a queue that is at most
 * half full, and fills it no further than its limit: nothing of it is dropped unless what is
 * published meanwhile takes the rest, or a single message is larger than a quarter of
 * max_queued_bytes.
 */
static size_t room_of(const struct worker *worker, const struct session *session)
{
    const struct config *config = worker->config;
    const struct queue *queue = &session->queue;
    uint32_t limit = config->max_queued_messages ? config->max_queued_messages : PACE;
    const struct tail *tail = session_tail(session);
    uint64_t waiting = session_waiting(session);
    if (waiting > limit / 2 ||
        (memory_level(&worker->broker->memory) != MEMORY_PLENTY && queue->count > 0) ||
        (config->max_queued_bytes &&
         queue->bytes + (tail ? tail->bytes : 0) > config->max_queued_bytes / 2))
        return 0;
    uint32_t room = limit - (uint32_t)waiting;
    return room < SLICE ? room : SLICE;
}

/* Whether whoever has published it may no longer do so. */
static bool is_disowned(const struct worker *worker, const struct message *message)
{
    return worker->guarded && worker->config->check_retain_source && message->author &&
           !author_may_publish(worker, message->author, message_topic(message));
}

static void offer_slice(struct worker *worker, struct session *session,
                        const struct retained_job *job, struct slice *slice, uint64_t now)
{
    bool upgrade = worker->config->upgrade_outgoing_qos;
    for (size_t i = 0; i < slice->count; i++) {
        struct message *message = slice->found[i];
        if (is_disowned(worker, message)) {
            message_unref(message);
            continue;
        }
        struct delivery delivery = { .message = message,
                                     .sub_id = job->sub_id,
                                     .qos = upgrade || job->qos < message->qos ? job->qos
                                                                               : message->qos,
                                     .flags = DELIVERY_RETAIN };
        if (job->ask)
            delivery.flags |= DELIVERY_ASK;
        durable_adopt(worker, session, &delivery);
        session_offer(worker, session, &delivery, now);
    }
}

static void remove_expired(struct worker *worker, struct retained_shard *shard,
                           const struct slice *slice)
{
    struct retained *retained = worker->broker->retained;
    for (size_t i = 0; i < slice->expired_count; i++) {
        struct message *message = slice->expired[i];
        record_expired(worker, message);
        (void)topic_map_remove(shard->map, retained_key(retained, message_topic(message)));
        forget(retained, shard, message);
    }
}

/* One slice of one shard. Returns how much work it was. */
static size_t run_slice(struct worker *worker, struct session *session, struct retained_job *job,
                        size_t room, uint64_t now)
{
    struct retained *retained = worker->broker->retained;
    struct retained_shard *shard = &retained->shards[job->shard];
    uint64_t max_bytes = worker->config->max_queued_bytes;
    struct slice slice;
    slice.count = slice.expired_count = 0;
    slice.now = now;
    slice.bytes = 0;
    slice.max_bytes = max_bytes ? max_bytes / 4 : UINT64_MAX;
    struct topic_scan scan = { .filter = span_of(job->filter, job->filter_len),
                               .max_found = room,
                               .max_looked_at = LOOKED_AT,
                               .visit = visit_collect,
                               .ctx = &slice };

    lock_take(&shard->lock, RANK_RETAINED);
    enum topic_scan_end end = topic_map_scan(shard->map, &scan, &job->cursor);
    remove_expired(worker, shard, &slice);
    worker_take_in(worker);
    lock_drop(&shard->lock, RANK_RETAINED);

    worker_offer_taken(worker);
    offer_slice(worker, session, job, &slice, now);
    if (end == TOPIC_SCAN_COMPLETE) {
        topic_cursor_done(&job->cursor);
        job->shard++;
    }
    return SLICE_WORK + slice.count + slice.expired_count;
}

/*
 * The queue is full. Its connection may be flushed at the end of this turn already, without any
 * event afterwards: then there is to be another turn. Else an acknowledgement or the socket brings
 * one.
 */
static bool comes_again(const struct session *session)
{
    return session->conn && list_linked(&session->conn->ready_node);
}

/* One turn of one fetch; it may have ended then. */
static void run(struct worker *worker, struct session *session, struct retained_job *job,
                size_t *work, uint64_t now)
{
    size_t room;
    for (unsigned turns = 0;
         turns < SHARDS_A_TURN && job->shard < job->last && (room = room_of(worker, session)) > 0;
         turns++)
        *work += run_slice(worker, session, job, room, now);
    if (job->shard == job->last) {
        job_free(session, job);
        return;
    }
    list_remove(&job->node);
    list_append(&session->fetches->jobs, &job->node);
}

/* One turn of all fetches of a session, until there is no room. Returns whether they could go on at
 * once. */
static bool run_all(struct worker *worker, struct session *session, size_t *work, uint64_t now)
{
    for (uint32_t left = session->fetches->count; left > 0 && *work < TURN_WORK; left--) {
        if (room_of(worker, session) == 0)
            return comes_again(session);
        run(worker, session, first_job(session), work, now);
        if (!session->fetches)
            return false;
    }
    return true;
}

bool retained_work(struct worker *worker, uint64_t now)
{
    struct list batch, *node;
    size_t work = 0;
    bool more = worker->expiring > 0 && expire(worker, now);
    if (list_empty(&worker->fetching))
        return more;
    list_init(&batch);
    list_move(&batch, &worker->fetching);
    while (work < TURN_WORK && (node = list_take(&batch))) {
        list_append(&worker->fetching, node);
        more |= run_all(worker, CONTAINER_OF(node, struct retained_fetches, worker_node)->session,
                        &work, now);
    }
    more |= !list_empty(&batch);
    list_move(&batch, &worker->fetching); /* those that had no turn come first next time */
    list_move(&worker->fetching, &batch);
    return more;
}
