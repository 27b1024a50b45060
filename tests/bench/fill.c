/* SPDX-License-Identifier: MIT */
/*
 * What ./dev bench store begins with: it makes stores that would take clients minutes to make, with
 * the store's own writer. No broker and no socket.
 *
 *   fill DIR SESSIONS MESSAGES RECEIVERS HEAVY
 *        Sessions that are away ("s1", "s2", …, each with a subscription of its own), and messages of
 *        200 bytes for RECEIVERS of them in turn. Of each fifty messages one is for s1 instead, until
 *        it has HEAVY of them: they lie all over the file.
 *   fill --churn DIR MESSAGES KEPT
 *        Messages of which nine of ten are acknowledged soon, and the tenth when KEPT others have
 *        stayed after it, picked by chance. Prints the size of the file over what is in it, ten times.
 *
 * One thread, beside the store's own. What it prints is JSON, an object a line.
 */
#include <assert.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <time.h>

#include "broker/store/lmdb.h"
#include "broker/store/lmdb_format.h"
#include "mqtt/packet.h"

enum {
    BATCH = 1000,     /* operations handed over at once */
    UNDER_WAY = 8,    /* batches that are not committed */
    PAYLOAD = 200,    /* bytes */
    SOON = 2000,      /* messages after which nine of ten are acknowledged */
    HEAVY_EVERY = 50, /* messages, one of which is for the first session */
    STEPS = 10,
};

static sem_t woken;
static const char *program = "fill";

#define NEED(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "%s:%d: not so: %s\n", program, line, what);
    exit(1);
}

static uint64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The same each time, so that two stores are comparable. */
static uint64_t chance(void)
{
    static uint64_t state = 88172645463325252;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void chance_bytes(void *bytes, size_t len)
{
    uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)chance();
}

static void wake(void *ctx, unsigned worker)
{
    (void)ctx, (void)worker;
    sem_post(&woken);
}

/* ---- a store, and batches for it ---- */

struct filler {
    struct store *store;
    struct store_batch *batch;
    uint64_t position, finished;
};

static bool take_session(void *ctx, uint32_t slot, const struct session_record *record)
{
    (void)ctx, (void)slot, (void)record;
    fprintf(stderr, "%s: there is a store already\n", program);
    exit(1);
}

static bool take_end(void *ctx)
{
    (void)ctx;
    return true;
}

static void filler_open(struct filler *filler, const char *path)
{
    static const struct store_loader loader = { .session = take_session, .end = take_end };
    const struct lmdb_store_options options = { .path = path,
                                                .workers = 1,
                                                .clock = milliseconds,
                                                .random = chance_bytes,
                                                .full_timeout = 30000 };
    NEED(lmdb_store_open(&options, &filler->store) == 0);
    NEED(filler->store->ops->load(filler->store, &loader, NULL) == 0);
    lmdb_store_start(filler->store, wake, NULL);
}

/* Until no more than so many batches are not committed. */
static void filler_wait(struct filler *filler, uint64_t most)
{
    bool failed = false;
    while (filler->position - filler->finished > most) {
        filler->finished = filler->store->ops->collect(filler->store, 0, &failed);
        NEED(!failed);
        if (filler->position - filler->finished > most)
            sem_wait(&woken);
    }
}

static void filler_submit(struct filler *filler)
{
    if (!filler->batch)
        return;
    filler->batch->position = ++filler->position;
    filler->store->ops->submit(filler->store, 0, filler->batch);
    filler->batch = NULL;
    filler_wait(filler, UNDER_WAY);
}

static void filler_add(struct filler *filler, const struct store_op *op)
{
    struct store_batch *batch = filler->batch;
    if (!batch) {
        batch = filler->batch = calloc(1, sizeof *batch);
        NEED(batch);
        batch->ops = calloc(BATCH, sizeof *batch->ops);
        NEED(batch->ops);
        batch->room = BATCH;
    }
    batch->ops[batch->count++] = *op;
    batch->bytes += sizeof *op + op->record_len + (op->message ? message_size(op->message) : 0);
    batch->by_number = batch->by_number || (op->kind == STORE_DONE && !op->message);
    if (batch->count == BATCH)
        filler_submit(filler);
}

static void filler_close(struct filler *filler)
{
    filler_submit(filler);
    filler_wait(filler, 0);
    filler->store->ops->stop(filler->store);
    filler->store->ops->free(filler->store);
}

/* ---- what goes into it ---- */

static void add_session(struct filler *filler, uint32_t slot)
{
    char id[32], filter[64];
    snprintf(id, sizeof id, "s%u", slot);
    snprintf(filter, sizeof filter, "bench/away/%u", slot);
    const struct session_record session = {
        .client_id = span_str(id), .epoch = 1, .expiry = UINT32_MAX, .ends_at = UINT64_MAX
    };
    const struct subscription_record subscription = { .filter = span_str(filter), .options = 1 };
    struct store_op op = { .kind = STORE_SESSION, .slot = slot };
    op.record = session_record_encode(&session, &op.record_len);
    NEED(op.record);
    filler_add(filler, &op);
    op.kind = STORE_SUBSCRIBED;
    op.record = subscription_record_encode(&subscription, &op.record_len);
    NEED(op.record);
    filler_add(filler, &op);
}

/* For `count` sessions from this slot on, which go round. Its size on disk. */
static size_t add_message(struct filler *filler, uint32_t slot, uint32_t count, uint32_t sessions)
{
    char topic[64];
    uint8_t payload[PAYLOAD];
    snprintf(topic, sizeof topic, "bench/away/%u", slot);
    chance_bytes(payload, sizeof payload);
    const struct mqtt_publish publish = { .qos = 1, .payload = span_of(payload, sizeof payload) };
    struct message *message = message_new(&publish, span_str(topic), 0);
    NEED(message);
    message->stored = stored_new(store_new_sequence(filler->store), 1, count);
    NEED(message->stored);
    for (uint32_t i = 0; i < count; i++)
        message->stored->receivers[i] = (struct receiver){ .slot = (slot + i - 1) % sessions + 1,
                                                           .qos = 1 };
    size_t size = ROW_HEAD + message_row_size(message, false);
    filler_add(filler, &(struct store_op){ .kind = STORE_MESSAGE, .message = message });
    return size;
}

static void add_done(struct filler *filler, uint64_t sequence)
{
    filler_add(filler, &(struct store_op){ .kind = STORE_DONE, .slot = 1, .number = sequence });
}

/* ---- the two that it does ---- */

static int queued(const char *path, uint32_t sessions, uint64_t messages, uint32_t receivers,
                  uint64_t heavy)
{
    struct filler filler = { .store = NULL };
    uint64_t began = milliseconds();
    uint32_t slot = 1;
    NEED(sessions > 0);
    filler_open(&filler, path);
    for (uint32_t i = 0; i < sessions; i++)
        add_session(&filler, store_new_slot(filler.store));
    for (uint64_t i = 0; i < messages; i++) {
        if (i % HEAVY_EVERY == 0 && i / HEAVY_EVERY < heavy) {
            (void)add_message(&filler, 1, 1, sessions);
            continue;
        }
        (void)add_message(&filler, slot, receivers, sessions);
        slot = (slot + receivers - 1) % sessions + 1;
    }
    filler_close(&filler);
    printf("{\"seconds\": %.3f}\n", (double)(milliseconds() - began) / 1000);
    return 0;
}

static double file_size(const char *path)
{
    char name[4096];
    struct stat file;
    snprintf(name, sizeof name, "%s/data.mdb", path);
    NEED(stat(name, &file) == 0);
    return (double)file.st_size;
}

/* One of ten stays, in the place of one that has stayed long enough. */
static uint64_t one_goes(uint64_t *kept, uint64_t count, uint64_t sequence)
{
    uint64_t *place = &kept[chance() % count], goes = *place;
    *place = sequence;
    return goes;
}

static int churn(const char *path, uint64_t messages, uint64_t count)
{
    struct filler filler = { .store = NULL };
    uint64_t *kept = calloc(count, sizeof *kept), kept_count = 0;
    double size = 0;
    NEED(count && kept);
    filler_open(&filler, path);
    add_session(&filler, store_new_slot(filler.store));
    for (uint64_t i = 1; i <= messages; i++) {
        size = (double)add_message(&filler, 1, 1, 1);
        uint64_t soon = i > SOON ? i - SOON : 0;
        if (soon && soon % 10 == 0 && kept_count < count)
            kept[kept_count++] = soon, soon = 0;
        else if (soon && soon % 10 == 0)
            soon = one_goes(kept, count, soon);
        if (soon)
            add_done(&filler, soon);
        if (i % (messages / STEPS) != 0)
            continue;
        filler_submit(&filler);
        filler_wait(&filler, 0);
        printf("{\"messages\": %lu, \"live\": %.0f, \"file\": %.0f}\n", (unsigned long)i,
               size * (double)(kept_count + SOON), file_size(path));
        fflush(stdout);
    }
    filler_close(&filler);
    free(kept);
    return 0;
}

int main(int argc, char **argv)
{
    NEED(sem_init(&woken, 0, 0) == 0);
    if (argc == 5 && strcmp(argv[1], "--churn") == 0)
        return churn(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    if (argc == 6)
        return queued(argv[1], (uint32_t)strtoul(argv[2], NULL, 10), strtoull(argv[3], NULL, 10),
                      (uint32_t)strtoul(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
    fprintf(stderr, "Usage: fill DIR SESSIONS MESSAGES RECEIVERS HEAVY\n"
                    "       fill --churn DIR MESSAGES KEPT\n");
    return 2;
}
