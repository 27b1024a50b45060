/* SPDX-License-Identifier: MIT */
/*
 * Reads every row of an LMDB store without the store: to check it, to show it, to save what can be
 * read of it. It trusts nothing; but LMDB itself, on damaged pages, may end the process, so who does
 * not know the file does this in a child (walk_in_child()). Any thread.
 */
#pragma once

#include "broker/store/lmdb_format.h"

#include <lmdb.h>

/* One row, checked as far as its table allows. */
struct walk_row {
    enum table table;
    struct span key, body;
};

struct walk {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi[TABLES]; /* 0: there is no such table */
    struct meta_row meta;
    uint64_t rows[TABLES], bytes[TABLES]; /* whole ones */
    uint64_t damaged;                     /* rows whose checksum or content is wrong */
    uint64_t pages, free_pages, page_size;
};

typedef bool walk_fn(void *ctx, const struct walk_row *row);

/* Opens the file, or the folder with it, for reading alone. `live`: a broker may be using it. 0 or
 * a negative errno; -ENOTSUP: a newer version has written it. */
MUST_USE int walk_open(struct walk *walk, const char *path, bool live);
void walk_close(struct walk *walk);
/* Calls for every whole row of the table, in the order of keys; `backward`: from its end. 0;
 * -EBADMSG when the table could not be read to its end; -ECANCELED: `fn` returned false. */
MUST_USE int walk_table(struct walk *walk, enum table table, bool backward, walk_fn *fn, void *ctx);
/* Everything, and the list of free pages. 0 or -EBADMSG: something is damaged. */
MUST_USE int walk_check(struct walk *walk);

/* What a table holds, in a word for people: "sessions". */
const char *walk_what(enum table table);
/* Whether a whole row says something that its table may have. */
bool walk_row_valid(const struct walk_row *row);

/* Runs `work` in a child process, which must not use the store otherwise. Its result, or -EBADMSG
 * when a signal or a time limit ended it; *ret_signal says which, 0: none. */
/* The child's half of it, for whoever forks by himself: never returns. */
__attribute__((noreturn)) void walk_be_child(int (*work)(void *ctx), void *ctx);
MUST_USE int walk_in_child(int (*work)(void *ctx), void *ctx, int *ret_signal);
