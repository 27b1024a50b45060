/* SPDX-License-Identifier: MIT */
/* See lmdb_walk.h. Owns its environment, which is never written through. */
#include "broker/store/lmdb_walk.h"

#include "broker/message.h"
#include "broker/store/lmdb_state.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    FREE_LIST = 0,       /* LMDB's own table of free pages */
    META_PAGES = 2,      /* at the head of the file */
    CHILD_SECONDS = 600, /* a child that reads in circles is ended */
};

/* ---- what a table may have ---- */

static bool meta_valid(const struct walk_row *row)
{
    struct meta_row meta;
    return meta_decode(row->body, &meta);
}

static bool session_valid(const struct walk_row *row)
{
    struct session_record record;
    if (session_record_decode(row->body, &record) < 0)
        return false;
    message_unref(record.will);
    return true;
}

static bool subscription_valid(const struct walk_row *row)
{
    struct subscription_record record;
    return subscription_record_decode(row->body, &record) == 0;
}

static bool group_valid(const struct walk_row *row)
{
    return group_row_valid(row->body);
}

static bool message_row_valid(const struct walk_row *row)
{
    struct message_row message;
    return message_row_decode(row->body, &message) && message_record_valid(message.message);
}

static bool log_valid(const struct walk_row *row)
{
    struct span body = row->body;
    struct log_entry entry;
    while (body.len)
        if (!take_log_entry(&body, &entry))
            return false;
    return true;
}

static bool retained_valid(const struct walk_row *row)
{
    struct retained_row retained;
    struct author_record author;
    uint64_t number = key_number(row->key, 8);
    return number > 0 && number <= RETAINED_NUMBER && retained_row_decode(row->body, &retained) &&
           (retained.author.len == 0 || author_record_decode(retained.author, &author)) &&
           message_record_valid(retained.message);
}

static bool retained_1_valid(const struct walk_row *row)
{
    struct span body = row->body;
    uint64_t number;
    return take_u64(&body, &number) && (body.len == 0 || message_record_valid(body));
}

static const struct {
    size_t key_len;
    bool (*valid)(const struct walk_row *row);
    const char *what;
} tables[TABLES] = {
    [TABLE_META] = { 5, meta_valid, "its own data" },
    [TABLE_SESSION] = { 4, session_valid, "sessions" },
    [TABLE_SUBSCRIPTION] = { 4 + 16, subscription_valid, "subscriptions" },
    [TABLE_GROUP] = { 4, group_valid, "shared groups" },
    [TABLE_MESSAGE] = { 8, message_row_valid, "messages for sessions" },
    [TABLE_LOG] = { 8, log_valid, "acknowledgements" },
    [TABLE_RETAINED] = { 8, retained_valid, "retained messages" },
    [TABLE_RETAINED_1] = { 16, retained_1_valid, "retained messages (old)" },
};

const char *walk_what(enum table table)
{
    return tables[table].what;
}

bool walk_row_valid(const struct walk_row *row)
{
    return row->key.len == tables[row->table].key_len && tables[row->table].valid(row);
}

/* ---- opening ---- */

static int read_meta(struct walk *walk)
{
    MDB_val key = val_of("store", 5), value;
    struct span body;
    if (!walk->dbi[TABLE_META])
        return -ENOENT;
    int rc = mdb_get(walk->txn, walk->dbi[TABLE_META], &key, &value);
    if (rc)
        return store_error(rc);
    if (!row_open(span_val(key), span_val(value), &body) || !meta_decode(body, &walk->meta))
        return -EBADMSG;
    return walk->meta.version > STORE_VERSION ? -ENOTSUP : 0;
}

static int open_tables(struct walk *walk)
{
    MDB_envinfo info;
    MDB_stat stat;
    int rc = mdb_txn_begin(walk->env, NULL, MDB_RDONLY, &walk->txn);
    if (rc)
        return store_error(rc);
    for (int table = 0; table < TABLES; table++) {
        rc = mdb_dbi_open(walk->txn, table_name((enum table)table), 0, &walk->dbi[table]);
        if (rc && rc != MDB_NOTFOUND)
            return store_error(rc);
    }
    if ((rc = mdb_env_info(walk->env, &info)) || (rc = mdb_env_stat(walk->env, &stat)))
        return store_error(rc);
    walk->pages = info.me_last_pgno + 1;
    walk->page_size = stat.ms_psize;
    return read_meta(walk);
}

int walk_open(struct walk *walk, const char *path, bool live)
{
    struct stat at;
    *walk = (struct walk){ .env = NULL };
    if (stat(path, &at) < 0)
        return -errno;
    unsigned flags = MDB_RDONLY | MDB_NOTLS | (live ? 0 : MDB_NOLOCK) |
                     (S_ISDIR(at.st_mode) ? 0 : MDB_NOSUBDIR);
    int rc = mdb_env_create(&walk->env);
    if (rc)
        return store_error(rc);
    rc = mdb_env_set_maxdbs(walk->env, TABLES);
    if (rc == 0)
        rc = mdb_env_open(walk->env, path, flags, 0600);
    rc = rc ? store_error(rc) : open_tables(walk);
    if (rc && rc != -EBADMSG && rc != -ENOENT)
        walk_close(walk);
    return rc;
}

void walk_close(struct walk *walk)
{
    if (walk->txn)
        mdb_txn_abort(walk->txn);
    if (walk->env)
        mdb_env_close(walk->env);
    walk->txn = NULL;
    walk->env = NULL;
}

/* ---- reading ---- */

static bool in_order(struct span before, struct span key, bool backward)
{
    size_t len = before.len < key.len ? before.len : key.len;
    int order = memcmp(before.data, key.data, len);
    if (order == 0)
        order = (before.len > key.len) - (before.len < key.len);
    return backward ? order > 0 : order < 0;
}

/* A key that does not follow the one before shows pages that are not what they were. */
static int read_rows(struct walk *walk, MDB_cursor *cursor, enum table table, bool backward,
                     walk_fn *fn, void *ctx)
{
    uint8_t before[ROW_KEY_MAX];
    struct span last = { .len = 0 };
    MDB_val key, value;
    int rc = mdb_cursor_get(cursor, &key, &value, backward ? MDB_LAST : MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &value, backward ? MDB_PREV : MDB_NEXT)) {
        struct walk_row row = { .table = table, .key = span_val(key) };
        if (last.len && !in_order(last, row.key, backward))
            return -EBADMSG;
        if (row.key.len != tables[table].key_len ||
            !row_open(row.key, span_val(value), &row.body) || !walk_row_valid(&row)) {
            walk->damaged++;
            continue;
        }
        memcpy(before, row.key.data, row.key.len);
        last = span_of(before, row.key.len);
        walk->rows[table]++;
        walk->bytes[table] += value.mv_size;
        if (fn && !fn(ctx, &row))
            return -ECANCELED;
    }
    return rc == MDB_NOTFOUND ? 0 : -EBADMSG;
}

int walk_table(struct walk *walk, enum table table, bool backward, walk_fn *fn, void *ctx)
{
    MDB_cursor *cursor;
    if (!walk->dbi[table])
        return 0;
    int rc = mdb_cursor_open(walk->txn, walk->dbi[table], &cursor);
    if (rc)
        return store_error(rc);
    rc = read_rows(walk, cursor, table, backward, fn, ctx);
    mdb_cursor_close(cursor);
    return rc;
}

/* A page that is free twice, or outside of the file, would be written over. */
static bool count_free(struct walk *walk, const MDB_val *value, uint8_t *seen)
{
    size_t count, page;
    const uint8_t *at = value->mv_data;
    if (value->mv_size < sizeof count)
        return false;
    memcpy(&count, at, sizeof count);
    if (count > value->mv_size / sizeof page - 1)
        return false;
    for (size_t i = 1; i <= count; i++) {
        memcpy(&page, at + i * sizeof page, sizeof page);
        if (page < META_PAGES || page >= walk->pages || (seen[page / 8] >> page % 8 & 1))
            return false;
        seen[page / 8] |= (uint8_t)(1 << page % 8);
    }
    walk->free_pages += count;
    return true;
}

static int check_free_list(struct walk *walk)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint8_t *seen = calloc(1, walk->pages / 8 + 1);
    if (!seen)
        return -ENOMEM;
    int rc = mdb_cursor_open(walk->txn, FREE_LIST, &cursor);
    if (rc) {
        free(seen);
        return store_error(rc);
    }
    bool good = true;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; rc == 0 && good; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
        good = count_free(walk, &value, seen);
    mdb_cursor_close(cursor);
    free(seen);
    return good && rc == MDB_NOTFOUND ? 0 : -EBADMSG;
}

int walk_check(struct walk *walk)
{
    int rc = check_free_list(walk);
    for (int table = 0; table < TABLES && rc == 0; table++)
        rc = walk_table(walk, (enum table)table, false, NULL, NULL);
    return rc == 0 && walk->damaged ? -EBADMSG : rc;
}

/* ---- in a child ---- */

/* The numbers of errno are small enough for an exit code. */
void walk_be_child(int (*work)(void *ctx), void *ctx)
{
    static const int ends[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM };
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        signal(ends[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    alarm(CHILD_SECONDS);
    _exit(-work(ctx));
}

int walk_in_child(int (*work)(void *ctx), void *ctx, int *ret_signal)
{
    int status;
    *ret_signal = 0;
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0)
        walk_be_child(work, ctx);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    if (WIFSIGNALED(status)) {
        *ret_signal = WTERMSIG(status);
        return -EBADMSG;
    }
    return -WEXITSTATUS(status);
}
