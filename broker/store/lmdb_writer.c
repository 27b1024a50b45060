/* SPDX-License-Identifier: MIT */
/*
 * The writer thread: takes what all workers have submitted, commits it, tells them. While one
 * commit is under way the next batch collects; no timer, unless the operator wants one. Only this
 * thread touches the file once it has started; it must never wait for a worker.
 *
 * When it cannot write it keeps what it has and tries again: acknowledgements are held back. After
 * `full_timeout` what is new in the batches is given up and told as failed, and what arrives fails
 * after one attempt; the rest (who is done with what, sessions) is kept for when there is room.
 */
#include "broker/alloc.h"
#include "broker/store/lmdb_state.h"

#include "broker/log.h"
#include "broker/message.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    RETRY_PRESET = 500, /* milliseconds between attempts */
    BEHIND_MIN = 200,   /* milliseconds: see behind() in lmdb.c */
    LATE_MAX = 1000,    /* milliseconds that what nobody waits for may wait */
    EVIDENCE_MIN = 64,  /* messages before it is known how quick receivers are */
    EVIDENCE_MAX = 4096,
    MOMENT = 200000, /* nanoseconds */
    MOMENTS = 5,     /* for messages whose receivers are quick, for each millisecond of a commit */
    MOMENTS_MAX = 100,
    FEW_BYTES = 16384,
    WRITTEN_EVERY = 1000, /* milliseconds between looks at what was written */
};

/* Alone, because a value beyond int gives its type to all constants of its enum. */
enum { FOREVER = UINT_MAX /* milliseconds */ };

/* Sleeps until `signal` is no longer `seen`, or the time is over. */
static void sleep_while(struct lmdb_store *store, uint32_t seen, unsigned milliseconds)
{
    struct timespec left = { .tv_sec = milliseconds / 1000,
                             .tv_nsec = (long)(milliseconds % 1000) * 1000000 };
    (void)syscall(SYS_futex, &store->signal, FUTEX_WAIT_PRIVATE, seen,
                  milliseconds == FOREVER ? NULL : &left, NULL, 0);
}

static bool is_stopping(struct lmdb_store *store)
{
    return atomic_load(&store->stopping);
}

/* ---- taking ---- */

/* The list is a stack: what came first is its end. */
static void take_submitted(struct lmdb_store *store)
{
    struct store_batch *batch = atomic_exchange(&store->submitted, NULL), *in_order = NULL;
    while (batch) {
        struct store_batch *next = batch->next;
        store->awaited = store->awaited || !batch->late;
        batch->next = in_order;
        in_order = batch;
        batch = next;
    }
    *store->arrived_end = in_order;
    while (*store->arrived_end)
        store->arrived_end = &(*store->arrived_end)->next;
    /* a worker that submits one later sets it again, and its batch does */
    if (!store->awaited)
        atomic_store(&store->oldest, 0);
    else if (atomic_load(&store->oldest) == 0)
        atomic_store(&store->oldest, store->options.clock());
}

static void hold(struct lmdb_store *store, struct store_batch *batch)
{
    batch_prepare(store, batch);
    batch->next = NULL;
    *store->held_end = batch;
    store->held_end = &batch->next;
}

static void arrived_restart(struct lmdb_store *store, struct store_batch *list)
{
    store->arrived = list;
    store->arrived_end = &store->arrived;
    while (*store->arrived_end)
        store->arrived_end = &(*store->arrived_end)->next;
}

/* One pass over what has arrived; batches of a worker stay in their order. Returns whether it held
 * one that others may have waited for. */
static bool hold_what_may(struct lmdb_store *store)
{
    bool blocked = false, progress = false;
    struct store_batch *kept = NULL, **kept_end = &kept, *batch = store->arrived, *next;
    for (unsigned i = 0; i < store->options.workers; i++)
        store->lanes[i].blocked = false;
    for (; batch; batch = next) {
        struct lane *lane = &store->lanes[batch->worker];
        next = batch->next;
        if (!lane->blocked && (is_stopping(store) || !batch_must_wait(batch))) {
            hold(store, batch);
            progress = true;
            continue;
        }
        lane->blocked = blocked = true;
        batch->next = NULL;
        *kept_end = batch;
        kept_end = &batch->next;
    }
    arrived_restart(store, kept);
    return blocked && progress;
}

static bool asks_by_number(const struct lmdb_store *store)
{
    for (const struct store_batch *batch = store->arrived; batch; batch = batch->next)
        if (batch->by_number)
            return true;
    return false;
}

static void take(struct lmdb_store *store)
{
    take_submitted(store);
    if (asks_by_number(store))
        unwritten_list(store);
    while (store->arrived && hold_what_may(store))
        continue;
}

/* ---- telling ---- */

static void lane_finish(struct lane *lane, uint64_t upto, bool failed)
{
    if (upto <= atomic_load_explicit(&lane->finished, memory_order_relaxed))
        return; /* it was acknowledged before what has failed meanwhile */
    pthread_mutex_lock(&lane->lock);
    lane->ranges = must_have(
        array_grow(lane->ranges, lane->count, &lane->room, sizeof *lane->ranges));
    if (lane->count && lane->ranges[lane->count - 1].failed == failed) {
        lane->ranges[lane->count - 1].upto = upto;
    } else {
        lane->ranges[lane->count++] = (struct lane_range){ .upto = upto, .failed = failed };
    }
    atomic_store_explicit(&lane->finished, upto, memory_order_release);
    pthread_mutex_unlock(&lane->lock);
    lane->wake = true;
}

static void wake_workers(struct lmdb_store *store)
{
    reader_committed(store);
    bool all = atomic_exchange(&store->was_behind, false);
    for (unsigned i = 0; i < store->options.workers; i++) {
        if (store->wake && !is_stopping(store) && (all || store->lanes[i].wake))
            store->wake(store->wake_ctx, i);
        store->lanes[i].wake = false;
    }
}

/* What is not committed any more; `since` is when the oldest of the rest may have come. */
static void count_off(struct lmdb_store *store, uint64_t bytes, uint64_t since)
{
    atomic_fetch_sub(&store->waiting, bytes);
    atomic_store(&store->oldest, store->arrived || atomic_load(&store->submitted) ? since : 0);
}

/* Nothing is held any more; what has arrived may still wait for another worker's. */
static void look_who_waits(struct lmdb_store *store)
{
    store->awaited = false;
    for (struct store_batch *batch = store->arrived; batch; batch = batch->next)
        store->awaited = store->awaited || !batch->late;
}

static void finish_held(struct lmdb_store *store, uint64_t taken)
{
    uint64_t bytes = 0;
    struct store_batch *batch = store->held, *next;
    store->held = NULL;
    store->held_end = &store->held;
    look_who_waits(store);
    for (struct store_batch *each = batch; each; each = each->next) {
        bytes += each->bytes;
        if (!each->told)
            lane_finish(&store->lanes[each->worker], each->position, false);
    }
    count_off(store, bytes, taken);
    wake_workers(store); /* before the work of freeing */
    for (; batch; batch = next) {
        next = batch->next;
        store_batch_free(batch);
    }
    message_flush(); /* they go home to their workers, and are counted */
}

/* Only what is kept of a failed batch; returns what it costs. */
static size_t compact(struct store_batch *batch)
{
    size_t count = 0, bytes = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->ops[i].kind == STORE_OP_KINDS) {
            message_unref(batch->ops[i].message);
            free(batch->ops[i].record);
            continue;
        }
        bytes += sizeof *batch->ops + batch->ops[i].record_len;
        batch->ops[count++] = batch->ops[i];
    }
    batch->count = count;
    batch->spared = 0;
    return bytes < batch->bytes ? bytes : batch->bytes;
}

/* With an interval: what was acknowledged at once stays until there is room. */
static void look_what_is_acknowledged(struct lmdb_store *store)
{
    for (struct store_batch *batch = store->held; batch; batch = batch->next) {
        struct lane *lane = &store->lanes[batch->worker];
        pthread_mutex_lock(&lane->lock);
        batch->acknowledged = !batch->told && batch->position <= lane->told;
        pthread_mutex_unlock(&lane->lock);
    }
}

/* Gives up what is new in what is held, and tells it. */
static void fail_held(struct lmdb_store *store, uint64_t now)
{
    uint64_t freed = 0;
    struct store_batch *batch = store->held, *next;
    look_what_is_acknowledged(store);
    held_forget(store);
    store->held = NULL;
    store->held_end = &store->held;
    for (; batch; batch = next) {
        next = batch->next;
        batch->next = NULL;
        if (!batch->told && !batch->acknowledged)
            lane_finish(&store->lanes[batch->worker], batch->position, true);
        batch->told = !batch->acknowledged;
        size_t left = batch->acknowledged ? 0 : compact(batch); /* others need not wait for it */
        freed += batch->bytes - left;
        batch->bytes = left;
        if (batch->count == 0) {
            store_batch_free(batch);
            continue;
        }
        *store->held_end = batch;
        store->held_end = &batch->next;
    }
    look_who_waits(store);
    count_off(store, freed, now);
    wake_workers(store);
}

/* ---- committing ---- */

static int by_number(const void *a, const void *b)
{
    unsigned left = *(const unsigned *)a, right = *(const unsigned *)b;
    return (left > right) - (left < right);
}

static void note_duration(struct lmdb_store *store, uint64_t milliseconds)
{
    unsigned sorted[MEDIAN_OF];
    store->durations[store->duration_count++ % MEDIAN_OF] = (unsigned)milliseconds;
    unsigned count = store->duration_count < MEDIAN_OF ? store->duration_count : MEDIAN_OF;
    if (store->duration_count % 16 != 0 && count == MEDIAN_OF)
        return;
    memcpy(sorted, store->durations, sizeof sorted);
    qsort(sorted, count, sizeof *sorted, by_number);
    uint64_t median = sorted[count / 2];
    atomic_store(&store->median, median);
    atomic_store(&store->patience,
                 store->options.interval + (4 * median > BEHIND_MIN ? 4 * median : BEHIND_MIN));
}

static int try_once(struct lmdb_store *store)
{
    MDB_txn *txn;
    int rc = store_error(mdb_txn_begin(store->env, NULL, 0, &txn));
    if (rc)
        return rc;
    rc = held_apply(store, txn);
    if (rc == 0 && atomic_load(&store->state) != STORE_WRITES)
        rc = meta_write(store, txn); /* an empty transaction would succeed on a full disk */
    if (rc == 0)
        return store_error(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return rc;
}

/* Nobody reads meanwhile. */
static int alone_with_file(struct lmdb_store *store, int (*change)(struct lmdb_store *store))
{
    pthread_mutex_lock(&store->file);
    int rc = change(store);
    pthread_mutex_unlock(&store->file);
    return rc;
}

static int close_file(struct lmdb_store *store)
{
    env_close(store);
    return 0;
}

/* What is kept of batches that have failed is no new data: it may free pages in a file that cannot
 * grow, and is let through when the disk is low. */
static int commit(struct lmdb_store *store, uint64_t now, bool is_rest)
{
    int rc;
    if (!store->env && (rc = alone_with_file(store, env_open)))
        return rc;
    if (!is_rest && folder_is_low(store, now))
        return -ENOSPC;
    while ((rc = try_once(store)) == -EOVERFLOW)
        if ((rc = alone_with_file(store, env_grow)))
            break;
    if (rc == -ENOTRECOVERABLE)
        (void)alone_with_file(store,
                              close_file); /* its head could not be written: it is read again */
    if (rc)
        return rc;
    held_confirm(store, now);
    atomic_fetch_add_explicit(&store->commits, 1, memory_order_relaxed);
    return 0;
}

static void set_state(struct lmdb_store *store, enum store_state state, int rc)
{
    enum store_state before = (enum store_state)atomic_exchange(&store->state, (int)state);
    if (state == before)
        return;
    if (state == STORE_WRITES)
        log_emit(LEVEL_NOTICE, "The store writes again.");
    else if (state == STORE_WAITING)
        log_emit(LEVEL_ERROR,
                 "The store %s cannot be written (%s): acknowledgements wait until it can.",
                 store->path, strerror(-rc));
    else
        log_emit(LEVEL_ERROR,
                 "The store %s still cannot be written: what must be stored is refused.",
                 store->path);
}

static void failed(struct lmdb_store *store, int rc, uint64_t now)
{
    if (store->failing_since == 0)
        store->failing_since = now ? now : 1;
    if (now - store->failing_since < store->options.full_timeout && !is_stopping(store)) {
        set_state(store, STORE_WAITING, rc);
        return;
    }
    set_state(store, STORE_REFUSES, rc);
    fail_held(store, now);
    if (store->held && commit(store, now, true) == 0)
        finish_held(store, now);
}

/* The kernel's count of the bytes that this thread writes. It belongs to root in a process that was
 * started by root and has become another user, for core dumps' sake, so that is suspended for the
 * moment of opening; reading what is one's own is always allowed. */
static void open_count(struct lmdb_store *store)
{
    static const char path[] = "/proc/thread-self/io";
    store->count_file = open(path, O_RDONLY | O_CLOEXEC);
    int dumpable = prctl(PR_GET_DUMPABLE);
    if (store->count_file >= 0 || dumpable == 1 || prctl(PR_SET_DUMPABLE, 1) < 0)
        return;
    store->count_file = open(path, O_RDONLY | O_CLOEXEC);
    (void)prctl(PR_SET_DUMPABLE, 0);
}

static void note_written(struct lmdb_store *store)
{
    char text[512] = "";
    store->noted = atomic_load(&store->commits);
    if (store->count_file < 0 || pread(store->count_file, text, sizeof text - 1, 0) <= 0)
        return;
    const char *line = strstr(text, "wchar: ");
    if (line)
        atomic_store(&store->written, strtoull(line + strlen("wchar: "), NULL, 10));
}

/* ---- the thread ---- */

static void wait_for_work(struct lmdb_store *store)
{
    bool noted = store->noted == atomic_load(&store->commits);
    atomic_store(&store->sleep, SLEEP_UNTIL_ANY);
    uint32_t seen = atomic_load(&store->signal);
    if (!atomic_load(&store->submitted) && !is_stopping(store))
        sleep_while(store, seen, noted ? FOREVER : WRITTEN_EVERY);
    atomic_store(&store->sleep, SLEEP_NOT);
    if (!noted && !atomic_load(&store->submitted))
        note_written(store); /* nothing has come since */
}

/* Collects until `until`, unless what it wants is there already, or the end has come. */
static void collect_more(struct lmdb_store *store, uint64_t until, enum writer_sleep wants)
{
    uint64_t now;
    while ((now = store->options.clock()) < until) {
        atomic_store(&store->sleep, (int)wants);
        uint32_t seen = atomic_load(&store->signal);
        take(store);
        if (is_stopping(store) || atomic_load(&store->waiting) >= STORE_EAGER ||
            (wants == SLEEP_UNTIL_AWAITED && store->awaited))
            break;
        sleep_while(store, seen, (unsigned)(until - now));
    }
    atomic_store(&store->sleep, SLEEP_NOT);
    take(store);
}

/* Sleeps between attempts; what arrives meanwhile does not wake it up. */
static void wait_for_room(struct lmdb_store *store)
{
    uint32_t seen = atomic_load(&store->signal);
    if (!is_stopping(store))
        sleep_while(store, seen, store->options.retry ? store->options.retry : RETRY_PRESET);
}

/* Whether most messages are done with soon after they came: their receivers are connected. */
static bool receivers_are_quick(struct lmdb_store *store)
{
    if (store->offered > EVIDENCE_MAX) {
        store->offered /= 2;
        store->soon_done /= 2;
    }
    return store->offered >= EVIDENCE_MIN && store->soon_done >= store->offered / 4 * 3;
}

/*
 * Some moments for acknowledgements that are on their way: what they arrive for is not written, and
 * when that is all of it there is no commit. It is no longer than a commit takes, and only for those
 * who have used it so far. Few messages wake it up at once; many are looked at a few times.
 */
static void wait_for_receivers(struct lmdb_store *store)
{
    const struct timespec moment = { .tv_nsec = MOMENT };
    if (!receivers_are_quick(store))
        return;
    uint64_t median = atomic_load(&store->median), most = MOMENTS * (median > 1 ? median : 1);
    if (most > MOMENTS_MAX)
        most = MOMENTS_MAX;
    for (uint64_t i = 0; i < most && held_writes(store) && !is_stopping(store) &&
                         atomic_load(&store->waiting) < STORE_EAGER;
         i++) {
        bool few = atomic_load(&store->waiting) < FEW_BYTES;
        uint32_t seen = atomic_load(&store->signal);
        atomic_store(&store->sleep, few ? SLEEP_UNTIL_ANY : SLEEP_NOT);
        if (!atomic_load(&store->submitted))
            (void)syscall(SYS_futex, &store->signal, FUTEX_WAIT_PRIVATE, seen, &moment, NULL, 0);
        atomic_store(&store->sleep, SLEEP_NOT);
        take(store);
    }
}

/* Everybody is done with all of it. Returns whether that is so. */
static bool drop_held(struct lmdb_store *store)
{
    if (!store->held || atomic_load(&store->state) != STORE_WRITES || held_writes(store))
        return false;
    uint64_t now = store->options.clock();
    held_apply_nothing(store);
    held_confirm(store, now);
    finish_held(store, now);
    return true;
}

/* Returns whether there was anything to do. */
static bool pack_some(struct lmdb_store *store)
{
    struct reaper *const all[] = { &store->messages, &store->retained.reaper };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (pack_wanted(store, all[i])) {
            pack_slice(store, all[i]);
            return true;
        }
    return false;
}

static void write_held(struct lmdb_store *store)
{
    if (store->options.interval && store->held)
        collect_more(store, store->last_commit + store->options.interval, SLEEP_UNTIL_MUCH);
    else if (store->held && !store->awaited && atomic_load(&store->state) == STORE_WRITES)
        collect_more(store, store->options.clock() + LATE_MAX, SLEEP_UNTIL_AWAITED);
    if (store->options.commit_delay)
        collect_more(store, store->options.clock() + store->options.commit_delay, SLEEP_UNTIL_MUCH);
    if (store->awaited && !store->options.interval)
        wait_for_receivers(store);
    if (drop_held(store))
        return;
    uint64_t now = store->options.clock();
    int rc = commit(store, now, false);
    uint64_t end = store->options.clock();
    if (rc) {
        failed(store, rc, now);
        wait_for_room(store);
        return;
    }
    store->failing_since = 0;
    set_state(store, STORE_WRITES, 0);
    note_duration(store, end - now);
    finish_held(store, now);
    store->last_commit = now;
    if (end >= store->noted_at + WRITTEN_EVERY) {
        store->noted_at = end;
        note_written(store);
    }
    if (acklog_wants_sweep(store))
        (void)acklog_sweep(store);
    (void)pack_some(store);
}

void *writer_run(void *ctx)
{
    struct lmdb_store *store = ctx;
    open_count(store);
    for (;;) {
        take(store);
        if (store->held || atomic_load(&store->state) != STORE_WRITES ||
            ((reap_wanted(&store->messages) || reap_wanted(&store->retained.reaper)) &&
             !is_stopping(store))) {
            write_held(store);
            if (!is_stopping(store) || atomic_load(&store->state) == STORE_WRITES)
                continue;
        }
        if (is_stopping(store) && !atomic_load(&store->submitted))
            break;
        if (!store->held && !is_stopping(store) && !pack_some(store))
            wait_for_work(store);
    }
    note_written(store);
    if (store->count_file >= 0)
        close(store->count_file);
    return NULL;
}

void writer_finish(struct lmdb_store *store)
{
    atomic_store(&store->stopping, true); /* nobody is woken up, nothing is waited for */
    take(store);
    if (store->held && commit(store, store->options.clock(), false) == 0)
        finish_held(store, 0);
}
