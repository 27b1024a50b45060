/* SPDX-License-Identifier: MIT */
/*
 * Keeps the file from growing beyond what is in it. Messages, and retained ones, lie in the order of
 * their numbers, and when most of them have gone the pages of the others stay: LMDB joins pages only
 * when they are emptier than a quarter. So when the pages of a table are half again as many as its
 * rows need, a pass goes over them: the rows of neighbours that are not full are taken out and put
 * back, one after the other, which fills the pages again. They keep their keys, so nobody else
 * notices. The file does not shrink, but what becomes free is used again. The writer thread alone.
 *
 *   before:  ▇▇▇▇ ▇▁▁▁ ▇▇▁▁ ▇▁▁▁ ▇▁▁▁ ▇▇▇▇      one slice, one transaction
 *   after:   ▇▇▇▇ ▇▇▇▇ ▇▁▁▁ ▇▇▇▇
 *                  └ pack.at moves on
 */
#include "broker/store/lmdb_state.h"

#include "broker/alloc.h"

#include <stdlib.h>

enum {
    LOOK_ROWS = 16384, /* rows that one slice looks at */
    MOVE_PAGES = 256,  /* pages of which it moves the rows */
    SLACK_PAGES = 512, /* that do not matter */
    NODE = 8 + 8 + 2,  /* what a row costs beside itself: LMDB's head, key, place */
    PAGE_HEAD = 16,    /* LMDB's */
    OVERFLOW_NODE = 8, /* what stands in the page of a row that is too large for it */
};

/* What stands in a page of the table for a row of this length. */
static size_t room_in_page(size_t page_size, size_t len)
{
    size_t largest = (page_size - PAGE_HEAD) / 2 - 2;
    return NODE - 2 + len > largest ? NODE + OVERFLOW_NODE : NODE + len + (len & 1);
}

void pack_begin(struct pack *pack)
{
    pack->put = pack->deleted = (struct amount){ .room = 0 };
}

void pack_count(const struct pack *pack, struct amount *total, size_t len, uint32_t payload)
{
    total->room += room_in_page(pack->page_size, len);
    total->payload += payload;
}

void pack_confirm(struct pack *pack)
{
    pack->live.room += pack->put.room - pack->deleted.room;
    pack->live.payload += pack->put.payload - pack->deleted.payload;
}

void pack_note(struct lmdb_store *store, struct reaper *reaper, MDB_txn *txn)
{
    MDB_stat stat;
    if (mdb_stat(txn, store->dbi[reaper->table], &stat))
        return;
    reaper->pack.page_size = stat.ms_psize;
    reaper->pack.pages = stat.ms_leaf_pages;
}

bool pack_wanted(struct lmdb_store *store, struct reaper *reaper)
{
    struct pack *pack = &reaper->pack;
    if (!store->env || atomic_load(&store->state) != STORE_WRITES)
        return false;
    if (pack->under_way || pack->pages <= SLACK_PAGES)
        return pack->under_way;
    uint64_t room = (pack->pages - SLACK_PAGES) * (pack->page_size - PAGE_HEAD);
    if (room <= pack->live.room + pack->live.room / 2 || pack->pages <= pack->rest + pack->rest / 4)
        return false;
    pack->under_way = true;
    pack->at = 0;
    return true;
}

/* ---- a slice ---- */

/* Rows that move, one behind the other: key, length, row. Those of the last run of pages are not
 * sure to: a run is worth it when it takes less than its pages afterwards. */
struct moving {
    uint8_t *bytes;
    size_t len, room;
    size_t pages; /* of which rows move */
    size_t run_from, run_pages;
    uint64_t run_filled; /* what its rows take of its pages */
};

/* One page's rows, as they are read. */
struct page {
    uintptr_t number;
    uint64_t filled;
    size_t from; /* where its rows begin in `moving` */
};

static void add_row(struct moving *moving, uint64_t key, struct span row)
{
    size_t need = moving->len + 8 + sizeof row.len + row.len;
    if (!moving->bytes || need > moving->room) {
        moving->room = need * 2;
        moving->bytes = must_have(realloc(moving->bytes, moving->room));
    }
    uint8_t *at = put_u64(moving->bytes + moving->len, key);
    memcpy(at, &row.len, sizeof row.len);
    memcpy(at + sizeof row.len, row.data, row.len);
    moving->len = need;
}

static struct span take_row(const struct moving *moving, size_t *at, const uint8_t **ret_key)
{
    size_t len;
    *ret_key = moving->bytes + *at;
    memcpy(&len, *ret_key + 8, sizeof len);
    *at += 8 + sizeof len + len;
    return span_of(*ret_key + 8 + sizeof len, len);
}

static void end_run(const struct pack *pack, struct moving *moving, size_t len)
{
    if (moving->run_pages > moving->run_filled / (pack->page_size - PAGE_HEAD) + 1) {
        moving->pages += moving->run_pages;
        moving->len = len;
    } else {
        moving->len = moving->run_from;
    }
    moving->run_from = moving->len;
    moving->run_pages = 0;
    moving->run_filled = 0;
}

/* The page has been read: it goes on with the run, or ends it and stays. */
static void end_page(const struct pack *pack, struct moving *moving, const struct page *page)
{
    if (page->filled > (pack->page_size - PAGE_HEAD) * 3 / 4) {
        end_run(pack, moving, page->from);
        return;
    }
    moving->run_pages++;
    moving->run_filled += page->filled;
}

/* Reads from pack.at on; where the next slice begins is in *ret_next, 0: nowhere. */
static int collect(const struct pack *pack, MDB_cursor *cursor, struct moving *moving,
                   uint64_t *ret_next)
{
    struct page page = { .filled = 0 };
    uint8_t from[8];
    size_t rows = 0;
    put_u64(from, pack->at);
    MDB_val key = val_of(from, sizeof from), value;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (*ret_next = 0; rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        uint64_t sequence = key_number(span_val(key), 8);
        size_t room = room_in_page(pack->page_size, value.mv_size);
        bool elsewhere = room == NODE + OVERFLOW_NODE;
        uintptr_t number = elsewhere ? page.number : (uintptr_t)value.mv_data / pack->page_size;
        if (number != page.number || rows == LOOK_ROWS) {
            end_page(pack, moving, &page);
            if (rows == LOOK_ROWS || moving->pages + moving->run_pages >= MOVE_PAGES) {
                *ret_next = sequence;
                break;
            }
            page = (struct page){ .number = number, .from = moving->len };
        }
        rows++;
        page.filled += room;
        if (!elsewhere) /* a large row stays, LMDB joins the pages with its place if it can */
            add_row(moving, sequence, span_val(value));
    }
    if (*ret_next == 0)
        end_page(pack, moving, &page);
    end_run(pack, moving, moving->len);
    return rc == MDB_NOTFOUND ? 0 : store_error(rc);
}

static int put_back(struct lmdb_store *store, enum table table, MDB_txn *txn,
                    const struct moving *moving)
{
    const uint8_t *key;
    int rc = 0;
    for (size_t at = 0; at < moving->len && rc == 0;) {
        (void)take_row(moving, &at, &key);
        rc = row_delete(store, txn, table, span_of(key, 8));
    }
    for (size_t at = 0; at < moving->len && rc == 0;) {
        struct span row = take_row(moving, &at, &key);
        MDB_val k = val_of(key, 8), value = val_of(row.data, row.len);
        rc = store_error(mdb_put(txn, store->dbi[table], &k, &value, 0));
    }
    return rc;
}

static int move_slice(struct lmdb_store *store, struct reaper *reaper, MDB_txn *txn,
                      uint64_t *ret_next)
{
    struct moving moving = { .len = 0 };
    MDB_cursor *cursor;
    int rc = store_error(mdb_cursor_open(txn, store->dbi[reaper->table], &cursor));
    if (rc)
        return rc;
    rc = collect(&reaper->pack, cursor, &moving, ret_next);
    mdb_cursor_close(cursor);
    if (rc == 0)
        rc = put_back(store, reaper->table, txn, &moving);
    free(moving.bytes);
    pack_note(store, reaper, txn);
    return rc;
}

/* When it cannot be done it is not tried again before there is more of it. */
void pack_slice(struct lmdb_store *store, struct reaper *reaper)
{
    struct pack *pack = &reaper->pack;
    MDB_txn *txn;
    uint64_t next = 0;
    int rc = store_error(mdb_txn_begin(store->env, NULL, 0, &txn));
    if (rc == 0 && (rc = move_slice(store, reaper, txn, &next)))
        mdb_txn_abort(txn);
    else if (rc == 0)
        rc = store_error(mdb_txn_commit(txn));
    if (rc == 0 && next) {
        pack->at = next;
        return;
    }
    pack->under_way = false;
    pack->rest = pack->pages;
}
