/* SPDX-License-Identifier: MIT */
/* See lmdb_tools.h. A store that a broker uses is read in one transaction, which sees it as it was
 * at one moment and holds back the pages that become free meanwhile. */
#include "broker/store/lmdb_tools.h"

#include "broker/list.h"
#include "broker/store/lmdb_json.h"
#include "broker/store/lmdb_state.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS_AT_ONCE = 1000 }; /* of an import, in one transaction */

__attribute__((format(printf, 1, 2))) static int complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("noctule store: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return 1;
}

static const char *reason_of(int rc)
{
    if (rc == -EBADMSG)
        return "it is damaged";
    if (rc == -ENOTSUP)
        return "a newer version of noctule has written it";
    if (rc == -ENOENT)
        return "there is no store";
    return strerror(-rc);
}

/* Who reads beside a broker takes part in LMDB's locks, which then are there. */
static int open_beside(struct walk *walk, const char *path)
{
    char lock[STORE_PATH_MAX + 16];
    snprintf(lock, sizeof lock, "%s/lock.mdb", path);
    int rc = walk_open(walk, path, access(lock, R_OK | W_OK) == 0);
    if (rc)
        walk_close(walk);
    return rc;
}

/* ---- check ---- */

struct check {
    const char *path;
    FILE *out;
};

static int check_here(void *ctx)
{
    struct check *check = ctx;
    struct walk walk;
    int rc = open_beside(&walk, check->path);
    if (rc)
        return rc;
    rc = walk_check(&walk);
    for (int table = 0; table < TABLES; table++)
        if (walk.dbi[table])
            fprintf(check->out, "%-24s %12lu records %14lu bytes\n", walk_what((enum table)table),
                    (unsigned long)walk.rows[table], (unsigned long)walk.bytes[table]);
    fprintf(check->out, "%-24s %12lu pages   %14lu bytes, %lu pages free\n", "file",
            (unsigned long)walk.pages, (unsigned long)(walk.pages * walk.page_size),
            (unsigned long)walk.free_pages);
    if (walk.damaged)
        fprintf(check->out, "%-24s %12lu records\n", "damaged", (unsigned long)walk.damaged);
    fflush(check->out);
    walk_close(&walk);
    return rc;
}

int store_check(const char *path, FILE *out)
{
    int died;
    fflush(out);
    int rc = walk_in_child(check_here, &(struct check){ .path = path, .out = out }, &died);
    if (died)
        return complain("%s: it is damaged: reading it ended with signal %d", path, died);
    if (rc)
        return complain("%s: %s", path, reason_of(rc));
    fprintf(out, "%s is whole.\n", path);
    return 0;
}

/* ---- dump ---- */

struct dump {
    FILE *out;
    uint64_t seed;
    struct retained_index index; /* which row is each topic's */
};

static bool note_retained(void *ctx, const struct walk_row *row)
{
    struct dump *dump = ctx;
    struct retained_row retained;
    if (retained_row_decode(row->body, &retained))
        (void)retained_index_add(&dump->index, dump->seed, &retained, key_number(row->key, 8));
    return true;
}

/* Not what was replaced or cleared: the row waits for its removal. */
static bool is_said(const struct dump *dump, const struct walk_row *row)
{
    struct retained_row retained;
    if (row->table != TABLE_RETAINED || !retained_row_decode(row->body, &retained))
        return true;
    return !retained.cleared &&
           retained_index_has(&dump->index, dump->seed, retained.topic, key_number(row->key, 8));
}

static bool print_row(void *ctx, const struct walk_row *row)
{
    const struct dump *dump = ctx;
    if (!is_said(dump, row))
        return true;
    char *line = json_from_row(row);
    bool good = line && (!*line || fprintf(dump->out, "%s\n", line) > 0);
    free(line);
    return good;
}

int store_dump(const char *path, FILE *out)
{
    struct walk walk;
    int rc = open_beside(&walk, path);
    if (rc)
        return complain("%s: %s", path, reason_of(rc));
    struct dump dump = { .out = out, .seed = walk.meta.seed };
    rc = walk_table(&walk, TABLE_RETAINED, false, note_retained, &dump);
    walk.damaged = 0;
    for (int table = 0; table < TABLES && rc == 0; table++)
        rc = walk_table(&walk, (enum table)table, false, print_row, &dump);
    uint64_t damaged = walk.damaged;
    retained_index_done(&dump.index);
    walk_close(&walk);
    if (rc == -ECANCELED || fflush(out) != 0 || ferror(out))
        return complain("the output cannot be written");
    if (rc)
        return complain("%s: %s", path, reason_of(rc));
    return damaged ? complain("%s: %lu damaged records are left out", path, (unsigned long)damaged)
                   : 0;
}

/* ---- import ---- */

struct import {
    struct lmdb_store *store;
    MDB_txn *txn;
    unsigned in_txn;
    unsigned long line, rows;
};

static int import_commit(struct import *import)
{
    int rc = import->txn ? store_error(mdb_txn_commit(import->txn)) : 0;
    import->txn = NULL;
    import->in_txn = 0;
    return rc;
}

static int import_row(struct import *import, const struct json_row *row)
{
    int rc = 0;
    if (!import->txn)
        rc = store_error(mdb_txn_begin(import->store->env, NULL, 0, &import->txn));
    if (rc == 0)
        rc = row_put(import->store, import->txn, row->table, span_of(row->key, row->key_len),
                     span_of(row->body, row->len));
    if (rc == 0 && ++import->in_txn >= ROWS_AT_ONCE)
        rc = import_commit(import);
    import->rows += rc == 0;
    return rc;
}

static int import_line(struct import *import, struct span line)
{
    struct json_row row;
    const char *why;
    import->line++;
    int rc = json_to_row(line, import->store->meta.seed, &row, &why);
    if (rc == -ENOENT)
        return 0;
    if (rc == -EBADMSG)
        complain("line %lu: %s", import->line, why);
    if (rc)
        return rc;
    rc = import_row(import, &row);
    free(row.body);
    return rc;
}

static int import_lines(struct import *import, FILE *in)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    int rc = 0;
    while (rc == 0 && (len = getline(&line, &room, in)) > 0)
        rc = import_line(import, span_of(line, (size_t)len));
    free(line);
    if (rc == 0 && ferror(in))
        rc = -EIO;
    if (rc == 0)
        return import_commit(import);
    if (import->txn)
        mdb_txn_abort(import->txn);
    return rc;
}

int store_import(const struct lmdb_store_options *options, FILE *in)
{
    char path[STORE_PATH_MAX + 16];
    struct store *base;
    snprintf(path, sizeof path, "%s/data.mdb", options->path);
    if (access(path, F_OK) == 0)
        return complain("%s: there is a store already", options->path);
    int rc = lmdb_store_open(options, &base);
    if (rc)
        return complain("%s: %s", options->path, reason_of(rc));
    struct import import = { .store = CONTAINER_OF(base, struct lmdb_store, store) };
    rc = import_lines(&import, in);
    base->ops->free(base);
    if (rc == 0)
        return 0;
    (void)unlink(path); /* half of a store is none */
    return complain("%s: nothing was imported: %s", options->path,
                    rc == -EBADMSG ? "a line is wrong" : reason_of(rc));
}

/* ---- backup ---- */

int store_backup(const char *path, const char *target)
{
    struct walk walk;
    char file[STORE_PATH_MAX + 16];
    snprintf(file, sizeof file, "%s/data.mdb", target);
    if (access(file, F_OK) == 0)
        return complain("%s: there is a store already", target);
    if (mkdir(target, 0700) < 0 && errno != EEXIST)
        return complain("%s: %s", target, strerror(errno));
    int rc = open_beside(&walk, path);
    if (rc)
        return complain("%s: %s", path, reason_of(rc));
    mdb_txn_abort(walk.txn);
    walk.txn = NULL;
    rc = store_error(mdb_env_copy2(walk.env, target, MDB_CP_COMPACT));
    walk_close(&walk);
    return rc ? complain("%s: %s", target, strerror(-rc)) : 0;
}
