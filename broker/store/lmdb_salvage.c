/* SPDX-License-Identifier: MIT */
/*
 * A store is looked at before it is used, whole, in a child process, for LMDB on damaged pages may end
 * with a signal. A damaged one is set aside under a name with the date, and
 * what can be read of it goes into a new one. The starting thread, before there are others.
 *
 *   damaged file ─► child: a table from its beginning ─► pipe ─► here: rows checked again ─► new file
 *                   child: from its end, when that came to nothing half-way
 */
#include "broker/store/lmdb_salvage.h"

#include "broker/alloc.h"
#include "broker/log.h"
#include "broker/store/lmdb_walk.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    NAME_MAX_LEN = 128,
    ROWS_AT_ONCE = 1000,         /* in one transaction */
    ROW_MAX = 512 * 1024 * 1024, /* bytes; more in the pipe is no row */
};

static int check_here(void *ctx)
{
    struct lmdb_store *store = ctx;
    struct walk walk;
    int rc = walk_open(&walk, store->path, false);
    if (rc == -ENOENT)
        return 0; /* it was never written */
    return rc ? rc : walk_check(&walk);
}

/* ---- the child's side ---- */

struct sender {
    const char *path;
    enum table table;
    bool backward;
    uint8_t stop[ROW_KEY_MAX]; /* the first pass has come to here */
    size_t stop_len;
    int pipe;
};

static bool send_bytes(int pipe, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    while (len) {
        ssize_t sent = write(pipe, at, len);
        if (sent <= 0)
            return false;
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

static bool send_row(void *ctx, const struct walk_row *row)
{
    struct sender *sender = ctx;
    uint8_t head[8];
    if (sender->stop_len == row->key.len &&
        memcmp(sender->stop, row->key.data, row->key.len) <= 0 && !sender->backward)
        return false;
    if (sender->backward && sender->stop_len == row->key.len &&
        memcmp(row->key.data, sender->stop, row->key.len) <= 0)
        return false;
    put_u32(put_u32(head, (uint32_t)row->key.len), (uint32_t)row->body.len);
    return send_bytes(sender->pipe, head, sizeof head) &&
           send_bytes(sender->pipe, row->key.data, row->key.len) &&
           send_bytes(sender->pipe, row->body.data, row->body.len);
}

static int send_table(void *ctx)
{
    struct sender *sender = ctx;
    struct walk walk;
    int rc = walk_open(&walk, sender->path, false);
    if (!walk.txn)
        return rc ? rc : -EBADMSG;
    rc = walk_table(&walk, sender->table, sender->backward, send_row, sender);
    if (rc == -ECANCELED)
        rc = 0;
    return rc == 0 && walk.damaged ? -EILSEQ : rc;
}

/* ---- our side ---- */

struct receiver_side {
    struct lmdb_store *store;
    enum table table;
    int pipe;
    MDB_txn *txn;
    unsigned in_txn;
    uint64_t kept;
    uint8_t last[ROW_KEY_MAX];
    size_t last_len;
};

static bool receive_bytes(int pipe, void *bytes, size_t len)
{
    uint8_t *at = bytes;
    while (len) {
        ssize_t got = read(pipe, at, len);
        if (got <= 0)
            return false;
        at += got;
        len -= (size_t)got;
    }
    return true;
}

static int end_txn(struct receiver_side *side)
{
    int rc = side->txn ? store_error(mdb_txn_commit(side->txn)) : 0;
    side->txn = NULL;
    side->in_txn = 0;
    return rc;
}

/* Keys with a hash are made anew: the new store has a seed of its own. */
static struct span key_of(struct receiver_side *side, const struct walk_row *row, uint8_t *key)
{
    uint64_t seed = side->store->meta.seed;
    if (row->table == TABLE_SUBSCRIPTION) {
        struct subscription_record record;
        if (subscription_record_decode(row->body, &record) == 0)
            key_hash(seed, record.filter, put_span(key, span_of(row->key.data, 4)));
        return span_of(key, 4 + 16);
    }
    return row->key;
}

/* A cleared topic of version 1 needs no row any more. */
static int keep_old_retained(struct receiver_side *side, const struct walk_row *row)
{
    uint64_t number;
    struct span message;
    return retained_1_decode(row->body, &number, &message)
               ? retained_put_old(side->store, side->txn, number, message)
               : 0;
}

static int keep_row(struct receiver_side *side, const struct walk_row *row)
{
    uint8_t key[ROW_KEY_MAX] = { 0 };
    if (row->table == TABLE_META)
        return 0; /* the new one has its own */
    if (!side->txn) {
        int rc = mdb_txn_begin(side->store->env, NULL, 0, &side->txn);
        if (rc)
            return store_error(rc);
    }
    int rc = row->table == TABLE_RETAINED_1
                 ? keep_old_retained(side, row)
                 : row_put(side->store, side->txn, row->table, key_of(side, row, key), row->body);
    if (rc)
        return rc;
    side->kept++;
    return ++side->in_txn >= ROWS_AT_ONCE ? end_txn(side) : 0;
}

/* 1: a row; 0: the end. */
static int receive_row(struct receiver_side *side, uint8_t **bytes)
{
    uint8_t head[8];
    uint64_t key_len, len;
    if (!receive_bytes(side->pipe, head, sizeof head))
        return 0;
    key_len = key_number(span_of(head, 4), 4);
    len = key_number(span_of(head + 4, 4), 4);
    if (key_len > ROW_KEY_MAX || len > ROW_MAX)
        return 0;
    *bytes = malloc(key_len + len + 1);
    if (!*bytes)
        return -ENOMEM;
    struct walk_row row = { .table = side->table,
                            .key = span_of(*bytes, key_len),
                            .body = span_of(*bytes + key_len, len) };
    if (!receive_bytes(side->pipe, *bytes, key_len + len) || !walk_row_valid(&row))
        return 0;
    memcpy(side->last, row.key.data, key_len);
    side->last_len = key_len;
    int rc = keep_row(side, &row);
    return rc ? rc : 1;
}

static int receive_rows(struct receiver_side *side)
{
    int rc;
    do {
        uint8_t *bytes = NULL;
        rc = receive_row(side, &bytes);
        free(bytes);
    } while (rc > 0);
    if (rc == 0)
        return end_txn(side);
    if (side->txn)
        mdb_txn_abort(side->txn);
    side->txn = NULL;
    return rc;
}

/* Whether the child has read the whole table is in *ret_whole. */
static int one_pass(struct receiver_side *side, struct sender *sender, bool *ret_whole)
{
    int ends[2], status = 0;
    if (pipe(ends) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        sender->pipe = ends[1];
        walk_be_child(send_table, sender);
    }
    close(ends[1]);
    side->pipe = ends[0];
    int rc = child < 0 ? -errno : receive_rows(side);
    close(ends[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    *ret_whole = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return rc;
}

/* From the beginning, and when that does not come to the end, from the end. */
static int salvage_table(struct lmdb_store *store, const char *path, enum table table,
                         uint64_t *ret_kept, bool *ret_whole)
{
    struct receiver_side side = { .store = store, .table = table };
    struct sender sender = { .path = path, .table = table };
    bool again_whole = true;
    int rc = one_pass(&side, &sender, ret_whole);
    if (rc == 0 && !*ret_whole) {
        memcpy(sender.stop, side.last, side.last_len);
        sender.stop_len = side.last_len;
        sender.backward = true;
        rc = one_pass(&side, &sender, &again_whole);
    }
    *ret_kept = side.kept;
    return rc;
}

static void choose_name(const struct lmdb_store *store, char *name)
{
    int len = snprintf(name, NAME_MAX_LEN, "data.mdb.damaged-%s", store->date);
    for (int again = 2; faccessat(store->folder, name, F_OK, 0) == 0 && again < 1000; again++)
        snprintf(name + len, (size_t)(NAME_MAX_LEN - len), "-%d", again);
}

static int set_aside(struct lmdb_store *store, char *name)
{
    choose_name(store, name);
    if (renameat(store->folder, "data.mdb", store->folder, name) < 0)
        return -errno;
    (void)unlinkat(store->folder, "lock.mdb", 0);
    return fsync(store->folder) < 0 ? -errno : 0;
}

int salvage(struct lmdb_store *store)
{
    static const enum table order[] = { TABLE_SESSION,   TABLE_SUBSCRIPTION, TABLE_GROUP,
                                        TABLE_MESSAGE,   TABLE_LOG,          TABLE_RETAINED,
                                        TABLE_RETAINED_1 };
    char name[NAME_MAX_LEN], path[STORE_PATH_MAX + NAME_MAX_LEN + 1], lost[256] = "";
    uint64_t kept[TABLES] = { 0 };
    int rc = set_aside(store, name);
    if (rc)
        return rc;
    snprintf(path, sizeof path, "%s/%s", store->path, name);
    log_emit(LEVEL_ERROR, "The store %s is damaged. It is set aside as %s.", store->path, name);
    if ((rc = env_open(store)))
        return rc;
    for (size_t i = 0; i < sizeof order / sizeof *order && rc == 0; i++) {
        bool whole = false;
        rc = salvage_table(store, path, order[i], &kept[order[i]], &whole);
        size_t len = strlen(lost);
        if (!whole)
            snprintf(lost + len, sizeof lost - len, "%s%s", len ? ", " : "", walk_what(order[i]));
    }
    env_close(store);
    log_emit(LEVEL_ERROR,
             "Of it are kept: %lu sessions, %lu subscriptions, %lu messages for them, %lu retained "
             "messages. Something is lost of: %s.",
             (unsigned long)kept[TABLE_SESSION], (unsigned long)kept[TABLE_SUBSCRIPTION],
             (unsigned long)kept[TABLE_MESSAGE],
             (unsigned long)(kept[TABLE_RETAINED] + kept[TABLE_RETAINED_1]),
             *lost ? lost : "nothing that was in use");
    return rc;
}

int salvage_if_damaged(struct lmdb_store *store)
{
    int died = 0;
    int rc = walk_in_child(check_here, store, &died);
    if (rc != -EBADMSG)
        return rc;
    if (died)
        log_emit(LEVEL_ERROR, "Reading the store ended with signal %d (%s).", died,
                 strsignal(died));
    return salvage(store);
}
