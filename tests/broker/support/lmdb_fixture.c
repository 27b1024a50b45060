/* SPDX-License-Identifier: MIT */
/* See lmdb_fixture.h. */
#include "tests/broker/support/lmdb_fixture.h"

#include "broker/delivery.h"
#include "broker/store/lmdb_walk.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static _Atomic uint64_t the_time = 1000000, time_step;
static pthread_mutex_t wake_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static unsigned long wakes;

void lmdb_clock_set(uint64_t now)
{
    atomic_store(&the_time, now);
}

uint64_t lmdb_clock(void)
{
    return atomic_fetch_add(&the_time, atomic_load(&time_step));
}

void lmdb_clock_step(uint64_t milliseconds)
{
    atomic_store(&time_step, milliseconds);
}

static void not_random(void *bytes, size_t len)
{
    memset(bytes, 7, len);
}

static void wake(void *ctx, unsigned worker)
{
    (void)ctx, (void)worker;
    pthread_mutex_lock(&wake_lock);
    wakes++;
    pthread_cond_broadcast(&woken);
    pthread_mutex_unlock(&wake_lock);
}

unsigned long lmdb_wakes(void)
{
    pthread_mutex_lock(&wake_lock);
    unsigned long count = wakes;
    pthread_mutex_unlock(&wake_lock);
    return count;
}

void lmdb_set_room(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

void lmdb_look(const struct lmdb_fixture *f, struct walk *walk)
{
    *walk = (struct walk){ .env = f->lmdb->env, .meta = f->lmdb->meta };
    memcpy(walk->dbi, f->lmdb->dbi, sizeof walk->dbi);
    assert_int_equal(mdb_txn_begin(walk->env, NULL, MDB_RDONLY, &walk->txn), 0);
}

void lmdb_look_away(struct walk *walk)
{
    mdb_txn_abort(walk->txn);
}

void lmdb_wait_wake(unsigned long seen)
{
    pthread_mutex_lock(&wake_lock);
    while (wakes == seen)
        pthread_cond_wait(&woken, &wake_lock);
    pthread_mutex_unlock(&wake_lock);
}

void lmdb_fixture_init(struct lmdb_fixture *f)
{
    memset(f, 0, sizeof *f);
    snprintf(f->path, sizeof f->path, "/tmp/noctule-store-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    f->options = (struct lmdb_store_options){ .path = f->path,
                                              .workers = LMDB_WORKERS,
                                              .clock = lmdb_clock,
                                              .random = not_random,
                                              .full_timeout = 30000,
                                              .retry = 1 };
}

static void drop_restored(struct lmdb_fixture *f)
{
    while (f->restored_count)
        message_unref(f->restored[--f->restored_count]);
}

void lmdb_fixture_done(struct lmdb_fixture *f)
{
    char path[512];
    struct dirent *entry;
    if (f->store)
        lmdb_close(f);
    DIR *folder = opendir(f->path);
    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        snprintf(path, sizeof path, "%s/%s", f->path, entry->d_name);
        (void)unlink(path);
    }
    closedir(folder);
    assert_int_equal(rmdir(f->path), 0);
}

/* ---- the loader ---- */

__attribute__((format(printf, 2, 3))) static void note(struct lmdb_fixture *f, const char *format,
                                                       ...)
{
    size_t len = strlen(f->loaded);
    va_list args;
    va_start(args, format);
    vsnprintf(f->loaded + len, sizeof f->loaded - len, format, args);
    va_end(args);
}

static bool on_group(void *ctx, uint32_t slot, struct span filter)
{
    note(ctx, "group %u %.*s\n", slot, (int)filter.len, (const char *)filter.data);
    return true;
}

static bool on_session(void *ctx, uint32_t slot, const struct session_record *record)
{
    note(ctx, "session %u %.*s", slot, (int)record->client_id.len,
         (const char *)record->client_id.data);
    if (record->will)
        note(ctx, " will %.*s", (int)record->will->topic_len,
             (const char *)message_topic(record->will).data);
    note(ctx, "\n");
    return true;
}

static bool on_subscription(void *ctx, uint32_t slot, const struct subscription_record *record)
{
    note(ctx, "sub %u %.*s options %u id %u\n", slot, (int)record->filter.len,
         (const char *)record->filter.data, record->options, record->sub_id);
    return true;
}

static bool on_inbound(void *ctx, uint32_t slot, uint16_t packet_id)
{
    note(ctx, "inbound %u id %u\n", slot, packet_id);
    return true;
}

static void keep(struct lmdb_fixture *f, struct message *message)
{
    if (f->restored_count < sizeof f->restored / sizeof *f->restored)
        f->restored[f->restored_count++] = message_ref(message);
}

static void note_message(struct lmdb_fixture *f, const char *what, const struct message *message)
{
    struct span topic = message_topic(message), payload = message_payload(message);
    note(f, "%s %.*s=%.*s", what, (int)topic.len, (const char *)topic.data, (int)payload.len,
         (const char *)payload.data);
}

static bool on_message(void *ctx, struct loaded_message *loaded,
                       const struct loaded_outbound *outbound, size_t outbound_count)
{
    struct message *message = loaded->body(loaded);
    assert_non_null(message);
    const struct stored *stored = message->stored;
    assert_int_equal(loaded->size, message_size(message));
    assert_int_equal(loaded->sequence, stored->sequence);
    assert_int_equal(loaded->count, stored->count);
    note_message(ctx, "message", message);
    assert_int_equal(stored->left, stored->count);
    assert_true(stored->written && stored->routed);
    for (uint32_t i = 0; i < stored->count; i++) {
        const struct receiver *receiver = &stored->receivers[i];
        assert_int_equal(loaded->receivers[i].slot, receiver->slot);
        assert_int_equal(loaded->receivers[i].qos, receiver->qos);
        note(ctx, " to %u/%u%s", receiver->slot, receiver->qos, receiver->retain ? "r" : "");
        if (receiver->sub_id)
            note(ctx, "/%u", receiver->sub_id);
        for (uint32_t id = 1; receiver->ids && id < receiver->ids->count; id++)
            note(ctx, ",%u", receiver->ids->ids[id]);
    }
    for (size_t i = 0; i < outbound_count; i++)
        note(ctx, " [%u group %u id %u state %u order %lu]", outbound[i].slot, outbound[i].group,
             outbound[i].packet_id, outbound[i].state, (unsigned long)outbound[i].order);
    note(ctx, "\n");
    keep(ctx, message);
    return true;
}

static bool on_unrouted(void *ctx, struct message *message, uint32_t slot)
{
    note_message(ctx, "unrouted", message);
    note(ctx, " from %u\n", slot);
    keep(ctx, message);
    return true;
}

static bool on_outbound(void *ctx, const struct loaded_outbound *outbound)
{
    note(ctx, "outbound %u group %u id %u state %u\n", outbound->slot, outbound->group,
         outbound->packet_id, outbound->state);
    return true;
}

static bool on_retained(void *ctx, struct message *message, uint64_t number, struct span author)
{
    struct author_record record;
    note_message(ctx, message->payload_len ? "retained" : "cleared", message);
    note(ctx, " number %lu", (unsigned long)number);
    if (author.len) {
        assert_true(author_record_decode(author, &record));
        note(ctx, " by %.*s", (int)record.client_id.len, (const char *)record.client_id.data);
    }
    note(ctx, "\n");
    return true;
}

static bool on_end(void *ctx)
{
    (void)ctx;
    return true;
}

static const struct store_loader loader = {
    .group = on_group,
    .session = on_session,
    .subscription = on_subscription,
    .inbound = on_inbound,
    .message = on_message,
    .unrouted = on_unrouted,
    .outbound = on_outbound,
    .retained = on_retained,
    .end = on_end,
};

void lmdb_open_unread(struct lmdb_fixture *f)
{
    assert_int_equal(lmdb_store_open(&f->options, &f->store), 0);
    f->lmdb = (struct lmdb_store *)(void *)((char *)f->store - offsetof(struct lmdb_store, store));
}

void lmdb_open(struct lmdb_fixture *f)
{
    lmdb_open_unread(f);
    f->loaded[0] = '\0';
    memset(f->position, 0, sizeof f->position);
    assert_int_equal(f->store->ops->load(f->store, &loader, f), 0);
    lmdb_store_start(f->store, wake, NULL);
}

void lmdb_close(struct lmdb_fixture *f)
{
    drop_restored(f);
    f->store->ops->free(f->store);
    f->store = NULL;
}

void lmdb_expect(struct lmdb_fixture *f, const char *loaded)
{
    lmdb_close(f);
    lmdb_open(f);
    assert_string_equal(f->loaded, loaded);
}

/* ---- batches ---- */

void lmdb_add(struct lmdb_fixture *f, unsigned worker, const struct store_op *op)
{
    struct store_batch *batch = f->batch[worker];
    if (!batch) {
        batch = f->batch[worker] = calloc(1, sizeof *batch);
        assert_non_null(batch);
        batch->position = f->position[worker] + 1;
    }
    if (batch->count == batch->room) {
        batch->room = batch->room ? batch->room * 2 : 16;
        batch->ops = realloc(batch->ops, batch->room * sizeof *batch->ops);
        assert_non_null(batch->ops);
    }
    batch->ops[batch->count++] = *op;
    batch->bytes += sizeof *op + op->record_len;
    if (op->kind == STORE_MESSAGE && op->message)
        batch->bytes += message_size(op->message);
}

uint64_t lmdb_submit(struct lmdb_fixture *f, unsigned worker)
{
    struct store_batch *batch = f->batch[worker];
    assert_non_null(batch);
    f->batch[worker] = NULL;
    f->position[worker] = batch->position;
    f->store->ops->submit(f->store, worker, batch);
    return f->position[worker];
}

bool lmdb_wait(struct lmdb_fixture *f, unsigned worker, uint64_t position)
{
    bool failed = false;
    for (;;) {
        unsigned long seen = lmdb_wakes();
        if (f->store->ops->collect(f->store, worker, &failed) >= position)
            return failed;
        lmdb_wait_wake(seen);
    }
}

void lmdb_commit(struct lmdb_fixture *f, unsigned worker)
{
    assert_false(lmdb_wait(f, worker, lmdb_submit(f, worker)));
}

/* ---- reading back ---- */

struct store_fetch *lmdb_answer(struct lmdb_fixture *f, unsigned worker)
{
    for (;;) {
        unsigned long seen = lmdb_wakes();
        struct store_fetch *fetch = f->store->ops->fetched(f->store, worker);
        if (fetch)
            return fetch;
        lmdb_wait_wake(seen);
    }
}

void lmdb_ask(struct lmdb_fixture *f, unsigned worker, uint32_t slot, const uint64_t *sequences)
{
    uint32_t count = 0;
    while (sequences[count])
        count++;
    struct store_fetch *fetch = store_fetch_new(count);
    fetch->slot = slot;
    for (uint32_t i = 0; i < count; i++)
        fetch->items[i].sequence = sequences[i];
    f->store->ops->fetch(f->store, worker, fetch);
}

/* ---- what goes into them ---- */

static struct message *plain(const char *topic, const char *payload)
{
    struct mqtt_publish publish = { .qos = 1, .payload = span_str(payload) };
    struct message *message = message_new(&publish, span_str(topic), 0);
    assert_non_null(message);
    return message;
}

struct message *lmdb_message(struct lmdb_fixture *f, const char *topic, const char *payload,
                             const uint32_t *slots)
{
    struct message *message = plain(topic, payload);
    uint32_t count = 0;
    while (slots[count])
        count++;
    message->stored = stored_new(store_new_sequence(f->store), 1000, count);
    assert_non_null(message->stored);
    for (uint32_t i = 0; i < count; i++)
        message->stored->receivers[i] = (struct receiver){ .slot = slots[i], .qos = 1 };
    return message;
}

static void add_record(struct lmdb_fixture *f, unsigned worker, enum store_op_kind kind,
                       uint32_t slot, uint8_t *record, size_t len)
{
    assert_non_null(record);
    lmdb_add(f, worker,
             &(struct store_op){ .kind = kind, .slot = slot, .record = record, .record_len = len });
}

void lmdb_add_session(struct lmdb_fixture *f, unsigned worker, uint32_t slot, const char *id)
{
    size_t len;
    struct session_record record = { .client_id = span_str(id), .expiry = 60 };
    uint8_t *bytes = session_record_encode(&record, &len);
    add_record(f, worker, STORE_SESSION, slot, bytes, len);
}

void lmdb_add_subscription(struct lmdb_fixture *f, unsigned worker, uint32_t slot,
                           const char *filter)
{
    size_t len;
    struct subscription_record record = { .filter = span_str(filter), .options = 1, .sub_id = 5 };
    uint8_t *bytes = subscription_record_encode(&record, &len);
    add_record(f, worker, STORE_SUBSCRIBED, slot, bytes, len);
}

void lmdb_add_group(struct lmdb_fixture *f, unsigned worker, uint32_t slot, const char *filter)
{
    add_record(f, worker, STORE_GROUP, slot, (uint8_t *)strdup(filter), strlen(filter));
}

void lmdb_add_unsubscribed(struct lmdb_fixture *f, unsigned worker, uint32_t slot,
                           const char *filter)
{
    add_record(f, worker, STORE_UNSUBSCRIBED, slot, (uint8_t *)strdup(filter), strlen(filter));
}

void lmdb_add_message(struct lmdb_fixture *f, unsigned worker, enum store_op_kind kind,
                      struct message *message, uint32_t slot)
{
    lmdb_add(f, worker,
             &(struct store_op){ .kind = kind, .message = message_ref(message), .slot = slot });
}

void lmdb_add_exchange(struct lmdb_fixture *f, unsigned worker, enum store_op_kind kind,
                       uint32_t slot, uint16_t packet_id, uint8_t state, struct message *message)
{
    lmdb_add(f, worker,
             &(struct store_op){ .kind = kind,
                                 .slot = slot,
                                 .packet_id = packet_id,
                                 .state = state,
                                 .message = message ? message_ref(message) : NULL });
}

void lmdb_add_retained(struct lmdb_fixture *f, unsigned worker, const char *topic,
                       const char *payload, uint64_t number)
{
    lmdb_add(f, worker,
             &(struct store_op){
                 .kind = STORE_RETAINED, .message = plain(topic, payload), .number = number });
}

/* ---- for cmocka ---- */

int lmdb_setup(void **state)
{
    struct lmdb_fixture *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    lmdb_fixture_init(f);
    lmdb_open(f);
    *state = f;
    return 0;
}

int lmdb_teardown(void **state)
{
    lmdb_fixture_done(*state);
    free(*state);
    return 0;
}
