/* SPDX-License-Identifier: MIT */
/*
 * Retained messages in the LMDB store: rows in the order of their changes, so that a commit writes
 * a few pages at the end of a table, whatever topics they are about. The newest row of a topic
 * speaks for it, an older one is dead; a topic that is cleared has a row that says so. Which row
 * that is stands in an index in memory, 16 bytes a place.
 *
 *   rows    3 a=1 │ 4 b=1 │ 5 a=2 │ 6 b cleared │ 7 c=1      dead: 3, 4
 *   index   a → 5   b → 6, cleared   c → 7
 *
 * A dead row goes at once when it is young, for then its page is being written anyway; else with
 * many others, in order (lmdb_reap.c). A row that clears a topic is dead after a while, when no
 * older value can be on its way any more; as rows go in order, it goes after those that it clears.
 * The writer thread alone, before it is started the one that opens the store.
 */
#include "broker/store/lmdb_state.h"

#include "broker/alloc.h"
#include "broker/log.h"
#include "broker/message.h"

#include <stdlib.h>

enum {
    ROOM_MIN = 16,
    TOMB_AGE = 10000,    /* milliseconds that it is known of a topic that it was cleared */
    UPGRADE_SLICE = 5000 /* rows in one transaction */
};

/* ---- the index ---- */

static struct retained_place place_of(uint64_t seed, struct span topic)
{
    uint8_t hash[16];
    struct span half = span_of(hash + 8, 2);
    uint64_t more = 0;
    key_hash(seed, topic, hash);
    (void)take_number(&half, 2, &more);
    return (struct retained_place){ .hash = key_number(span_of(hash, 8), 8),
                                    .more = more & RETAINED_MORE };
}

static bool same_topic(const struct retained_place *a, const struct retained_place *b)
{
    return a->hash == b->hash && a->more == b->more;
}

/* Where the topic stands, or the free place where it would. */
static size_t index_search(const struct retained_index *index, const struct retained_place *wanted)
{
    size_t at = wanted->hash & (index->room - 1);
    while (index->at[at].number && !same_topic(&index->at[at], wanted))
        at = (at + 1) & (index->room - 1);
    return at;
}

static const struct retained_place *index_find(const struct retained_index *index,
                                               const struct retained_place *wanted)
{
    const struct retained_place *place = index->room ? &index->at[index_search(index, wanted)]
                                                     : NULL;
    return place && place->number ? place : NULL;
}

static void index_grow(struct retained_index *index)
{
    struct retained_index old = *index;
    index->room = old.room ? old.room * 2 : ROOM_MIN;
    index->at = must_have(calloc(index->room, sizeof *index->at));
    for (size_t i = 0; i < old.room; i++)
        if (old.at[i].number)
            index->at[index_search(index, &old.at[i])] = old.at[i];
    free(old.at);
}

/* Takes the place of what stood there for its topic. */
static void index_put(struct retained_index *index, const struct retained_place *place)
{
    if (index->count + 1 > index->room - index->room / 8)
        index_grow(index);
    size_t at = index_search(index, place);
    index->count += index->at[at].number == 0;
    index->at[at] = *place;
}

/* What stands behind it moves up, as far as it may. */
static void index_remove(struct retained_index *index, const struct retained_place *place)
{
    size_t mask = index->room - 1, gap = index_search(index, place);
    if (!index->at[gap].number)
        return;
    for (size_t at = (gap + 1) & mask; index->at[at].number; at = (at + 1) & mask) {
        size_t home = index->at[at].hash & mask;
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            index->at[gap] = index->at[at];
            gap = at;
        }
    }
    index->at[gap] = (struct retained_place){ 0 };
    index->count--;
}

uint64_t retained_index_add(struct retained_index *index, uint64_t seed,
                            const struct retained_row *row, uint64_t number)
{
    struct retained_place place = place_of(seed, row->topic);
    const struct retained_place *known = index_find(index, &place);
    uint64_t before = known ? known->number : 0;
    if (before > number)
        return number;
    place.number = number & RETAINED_NUMBER;
    place.cleared = row->cleared;
    index_put(index, &place);
    return before;
}

bool retained_index_has(const struct retained_index *index, uint64_t seed, struct span topic,
                        uint64_t number)
{
    struct retained_place place = place_of(seed, topic);
    const struct retained_place *known = index_find(index, &place);
    return known && known->number == number;
}

void retained_index_done(struct retained_index *index)
{
    free(index->at);
    *index = (struct retained_index){ 0 };
}

/* ---- topics that were cleared ---- */

static struct tombstone *tomb_at(struct retained_store *retained, size_t i)
{
    return &retained->tombs[(retained->tomb_first + i) & (retained->tomb_room - 1)];
}

static void tombstone_add(struct retained_store *retained, const struct retained_place *place,
                          uint64_t since)
{
    if (retained->tomb_count == retained->tomb_room) {
        size_t room = retained->tomb_room ? retained->tomb_room * 2 : ROOM_MIN;
        struct tombstone *grown = must_have(calloc(room, sizeof *grown));
        for (size_t i = 0; i < retained->tomb_count; i++)
            grown[i] = *tomb_at(retained, i);
        free(retained->tombs);
        retained->tombs = grown;
        retained->tomb_first = 0;
        retained->tomb_room = room;
    }
    *tomb_at(retained, retained->tomb_count++) = (struct tombstone){ *place, since };
}

/* Nothing older of these topics can come any more. */
static void forget_cleared(struct lmdb_store *store, uint64_t now)
{
    struct retained_store *retained = &store->retained;
    for (; retained->tomb_count && tomb_at(retained, 0)->since + TOMB_AGE <= now;
         retained->tomb_count--) {
        const struct retained_place *tomb = &tomb_at(retained, 0)->place;
        const struct retained_place *known = index_find(&retained->index, tomb);
        if (known && known->number == tomb->number) {
            index_remove(&retained->index, tomb);
            reaper_add(&retained->reaper, tomb->number, 0);
        }
        retained->tomb_first = (retained->tomb_first + 1) & (retained->tomb_room - 1);
    }
}

/* ---- writing ---- */

void retained_plan(struct lmdb_store *store, const struct store_op *op)
{
    struct retained_store *retained = &store->retained;
    retained->puts = must_have(array_grow(retained->puts, retained->put_count, &retained->put_room,
                                          sizeof *retained->puts));
    struct retained_put *put = &retained->puts[retained->put_count++];
    *put = (struct retained_put){ .op = op };
    put->place = place_of(store->meta.seed, message_topic(op->message));
    put->place.number = op->number & RETAINED_NUMBER;
    put->place.cleared = op->message->payload_len == 0;
}

/* Of several changes of one topic only the last one counts, and none that is older than what is on
 * disk. */
static void leave_out_older(struct retained_store *retained)
{
    size_t room = ROOM_MIN;
    while (room < 2 * retained->put_count)
        room *= 2;
    if (room > retained->newest_room) {
        free(retained->newest);
        retained->newest = must_have(malloc(room * sizeof *retained->newest));
        retained->newest_room = room;
    }
    memset(retained->newest, 0, room * sizeof *retained->newest);
    for (size_t i = 0; i < retained->put_count; i++) {
        struct retained_put *put = &retained->puts[i], *other = NULL;
        size_t at = put->place.hash & (room - 1);
        for (; retained->newest[at]; at = (at + 1) & (room - 1)) {
            other = &retained->puts[retained->newest[at] - 1];
            if (same_topic(&other->place, &put->place))
                break;
        }
        if (!retained->newest[at] || other->place.number < put->place.number) {
            if (retained->newest[at])
                other->left_out = true;
            retained->newest[at] = (uint32_t)i + 1;
        } else {
            put->left_out = true;
        }
        const struct retained_place *known = index_find(&retained->index, &put->place);
        put->before = known ? known->number : 0;
        put->left_out = put->left_out || put->before > put->place.number;
    }
}

static int by_number(const void *a, const void *b)
{
    const struct retained_put *left = a, *right = b;
    return (left->place.number > right->place.number) - (left->place.number < right->place.number);
}

static void sort_puts(struct retained_store *retained)
{
    for (size_t i = 1; i < retained->put_count; i++)
        if (by_number(&retained->puts[i - 1], &retained->puts[i]) > 0) {
            qsort(retained->puts, retained->put_count, sizeof *retained->puts, by_number);
            return;
        }
}

/* As messages are written: straight into the page, and appended as a rule. */
static int put_row(struct lmdb_store *store, MDB_txn *txn, const struct retained_put *put,
                   uint64_t highest)
{
    struct pack *pack = &store->retained.reaper.pack;
    uint8_t key[8];
    const struct message *message = put->op->message;
    struct span author = span_of(put->op->record, put->op->record_len);
    size_t size = ROW_HEAD + retained_row_size(author, message_record_size(message));
    put_u64(key, put->place.number);
    MDB_val k = val_of(key, sizeof key), value = val_of(NULL, size);
    int rc = MDB_KEYEXIST;
    if (put->place.number > highest)
        rc = mdb_put(txn, store->dbi[TABLE_RETAINED], &k, &value, MDB_RESERVE | MDB_APPEND);
    if (rc == MDB_KEYEXIST) {
        value = val_of(NULL, size);
        rc = mdb_put(txn, store->dbi[TABLE_RETAINED], &k, &value, MDB_RESERVE);
    }
    if (rc)
        return store_error(rc);
    uint8_t *row = value.mv_data;
    message_record_encode(message, retained_row_encode(author, row + ROW_HEAD));
    row_seal(span_of(key, sizeof key), row, size);
    pack_count(pack, &pack->put, size, 0);
    return 0;
}

int retained_apply(struct lmdb_store *store, MDB_txn *txn)
{
    struct retained_store *retained = &store->retained;
    uint64_t highest = retained->reaper.newest;
    int rc = 0;
    leave_out_older(retained);
    sort_puts(retained);
    for (size_t i = 0; i < retained->put_count && rc == 0; i++) {
        const struct retained_put *put = &retained->puts[i];
        if (put->left_out)
            continue;
        rc = put_row(store, txn, put, highest);
        if (put->place.number > highest)
            highest = put->place.number;
        if (rc == 0 && put->before && goes_at_once(&retained->reaper, put->before))
            rc = row_remove(store, &retained->reaper, txn, put->before);
    }
    return rc;
}

void retained_confirm(struct lmdb_store *store, uint64_t now)
{
    struct retained_store *retained = &store->retained;
    struct reaper *reaper = &retained->reaper;
    uint64_t newest = reaper->newest;
    for (size_t i = 0; i < retained->put_count; i++) {
        const struct retained_put *one = &retained->puts[i];
        if (one->left_out)
            continue;
        reaper->rows++;
        if (one->before && goes_at_once(reaper, one->before))
            reaper->rows--;
        else if (one->before)
            reaper_add(reaper, one->before, 0);
        index_put(&retained->index, &one->place);
        if (one->place.cleared)
            tombstone_add(retained, &one->place, now);
        if (one->place.number > newest)
            newest = one->place.number;
    }
    pack_confirm(&reaper->pack);
    reaper->newest = newest; /* not before: it says which of them went at once */
    forget_cleared(store, now);
}

/* ---- opening ---- */

void retained_loaded(struct lmdb_store *store, const struct retained_row *row, uint64_t number)
{
    struct retained_store *retained = &store->retained;
    uint64_t dead = retained_index_add(&retained->index, store->meta.seed, row, number);
    retained->reaper.rows++;
    retained->reaper.newest = number; /* they come in order */
    if (dead)
        reaper_add(&retained->reaper, dead, 0);
    if (row->cleared && dead != number) {
        struct retained_place place = place_of(store->meta.seed, row->topic);
        tombstone_add(retained, index_find(&retained->index, &place), 0);
    }
}

/* Where a row of the table of version 1 is, and where it goes. */
struct old_row {
    uint64_t number;
    uint8_t key[16];
};

static int by_new_place(const void *a, const void *b)
{
    const struct old_row *left = a, *right = b;
    return (left->number > right->number) - (left->number < right->number);
}

static int list_old(struct lmdb_store *store, struct old_row **rows, size_t *count)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    struct span body, message;
    size_t room = 0;
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc)
        return store_error(rc);
    rc = mdb_cursor_open(txn, store->dbi[TABLE_RETAINED_1], &cursor);
    if (rc == 0) {
        while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
            struct old_row row;
            if (key.mv_size != sizeof row.key || !row_open(span_val(key), span_val(value), &body) ||
                !retained_1_decode(body, &row.number, &message))
                continue;
            memcpy(row.key, key.mv_data, sizeof row.key);
            *rows = must_have(array_grow(*rows, *count, &room, sizeof **rows));
            (*rows)[(*count)++] = row;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return rc == MDB_NOTFOUND ? 0 : store_error(rc);
}

int retained_put_old(struct lmdb_store *store, MDB_txn *txn, uint64_t number, struct span message)
{
    const struct span nobody = { .len = 0 };
    uint8_t key[8];
    uint8_t *row = must_have(malloc(retained_row_size(nobody, message.len)));
    uint8_t *end = put_span(retained_row_encode(nobody, row), message);
    put_u64(key, number);
    int rc = row_put(store, txn, TABLE_RETAINED, span_of(key, sizeof key),
                     span_of(row, (size_t)(end - row)));
    free(row);
    return rc;
}

static int copy_old(struct lmdb_store *store, MDB_txn *txn, const struct old_row *old)
{
    struct span body, message;
    uint64_t number;
    int rc = row_get(store, txn, TABLE_RETAINED_1, span_of(old->key, sizeof old->key), &body);
    if (rc)
        return rc;
    return retained_1_decode(body, &number, &message)
               ? retained_put_old(store, txn, old->number, message)
               : -EBADMSG;
}

/* The last transaction drops the old table: before that all is done again after a crash. */
static int copy_slice(struct lmdb_store *store, const struct old_row *rows, size_t count, bool last)
{
    MDB_txn *txn;
    int rc = store_error(mdb_txn_begin(store->env, NULL, 0, &txn));
    if (rc)
        return rc;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = copy_old(store, txn, &rows[i]);
    if (rc == 0 && last)
        rc = store_error(mdb_drop(txn, store->dbi[TABLE_RETAINED_1], 1));
    if (rc == 0)
        return store_error(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return rc;
}

int retained_upgrade(struct lmdb_store *store)
{
    struct old_row *rows = NULL;
    size_t count = 0, at = 0;
    if (!store->dbi[TABLE_RETAINED_1])
        return 0;
    int rc = list_old(store, &rows, &count);
    if (count)
        qsort(rows, count, sizeof *rows, by_new_place);
    for (size_t i = 1; i < count; i++) /* each has a number of its own, whoever wrote them */
        if (rows[i].number <= rows[i - 1].number)
            rows[i].number = rows[i - 1].number + 1;
    while (rc == 0) {
        size_t slice = count - at < UPGRADE_SLICE ? count - at : UPGRADE_SLICE;
        rc = copy_slice(store, &rows[at], slice, at + slice == count);
        if (rc == -EOVERFLOW && env_grow(store) == 0) {
            rc = 0;
            continue;
        }
        at += slice;
        if (at == count)
            break;
    }
    if (rc == 0) {
        store->dbi[TABLE_RETAINED_1] = 0;
        log_emit(LEVEL_INFORMATION, "The store's %zu retained messages have a new form.", count);
    }
    free(rows);
    return rc;
}

void retained_store_done(struct retained_store *retained)
{
    retained_index_done(&retained->index);
    free(retained->puts);
    free(retained->newest);
    free(retained->tombs);
    reaper_done(&retained->reaper);
}
