/* SPDX-License-Identifier: MIT */
/* Retained messages on disk: rows in the order of their changes, of which the newest speaks for its
 * topic; what was replaced or cleared goes, and never comes back; the table of version 1 is moved. */
#include "tests/broker/support/lmdb_fixture.h"

#include "broker/store/lmdb_tools.h"
#include "broker/store/lmdb_walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LONG_AGO = 20000, ROWS_AT_ONCE = 8192, TOPICS = 300 };

static uint64_t rows_in_file(const struct lmdb_fixture *f)
{
    struct walk walk;
    lmdb_look(f, &walk);
    assert_int_equal(walk_table(&walk, TABLE_RETAINED, false, NULL, NULL), 0);
    assert_int_equal(walk.damaged, 0);
    uint64_t rows = walk.rows[TABLE_RETAINED];
    lmdb_look_away(&walk);
    return rows;
}

static void set_many(struct lmdb_fixture *f, unsigned count, uint64_t *number)
{
    char topic[32];
    for (unsigned i = 0; i < count; i++) {
        snprintf(topic, sizeof topic, "many/%u", i);
        lmdb_add_retained(f, 0, topic, "x", (*number)++);
    }
    lmdb_commit(f, 0);
}

/* Any commit will do. */
static void commit_something(struct lmdb_fixture *f, unsigned times)
{
    while (times--) {
        lmdb_add_session(f, 0, 1, "s");
        lmdb_commit(f, 0);
    }
}

static bool is_loaded(const struct lmdb_fixture *f, const char *line)
{
    return strstr(f->loaded, line) != NULL;
}

static void open_again(struct lmdb_fixture *f)
{
    lmdb_close(f);
    lmdb_open(f);
}

static void test_retained_topic_that_changes_often_has_one_row(void **state)
{
    struct lmdb_fixture *f = *state;
    char payload[16];
    for (uint64_t number = 1; number <= 300; number++) {
        snprintf(payload, sizeof payload, "%lu", (unsigned long)number);
        lmdb_add_retained(f, 0, "a", payload, number);
        if (number % 3 == 0)
            lmdb_commit(f, 0);
    }
    assert_int_equal(rows_in_file(f), 1);
    lmdb_expect(f, "retained a=300 number 300\n");
}

/* Each once for what is written for the first time, and once for what is replaced: the file has no
 * more than half as many dead rows as it has topics. */
static void test_retained_old_rows_go_when_they_are_many(void **state)
{
    enum { ALL = 3 * ROWS_AT_ONCE };
    struct lmdb_fixture *f = *state;
    uint64_t number = 1;
    set_many(f, ALL, &number);
    set_many(f, ALL / 4, &number);
    assert_int_equal(rows_in_file(f), ALL + ALL / 4); /* few: they stay */
    for (int i = 0; i < 4; i++)
        set_many(f, ALL, &number);
    commit_something(f, 3 * ALL / 2048);
    assert_true(rows_in_file(f) <= ALL + 16384);
    open_again(f);
    assert_int_equal(f->lmdb->retained.index.count, ALL);
    assert_true(f->lmdb->retained.reaper.newest == number - 1);
    assert_true(is_loaded(f, "retained many/0=x"));
}

static void test_retained_cleared_topic_stays_so_while_its_old_row_is_there(void **state)
{
    struct lmdb_fixture *f = *state;
    uint64_t number = 1;
    lmdb_add_retained(f, 0, "a", "old", number++);
    set_many(f, ROWS_AT_ONCE, &number);
    lmdb_add_retained(f, 0, "a", "", number++);
    lmdb_commit(f, 0);
    assert_int_equal(rows_in_file(f), ROWS_AT_ONCE + 2);
    for (int i = 0; i < 2; i++) {
        open_again(f);
        assert_false(is_loaded(f, "a=old"));
        assert_int_equal(f->lmdb->retained.tomb_count, 1);
        lmdb_clock_set(lmdb_clock() + LONG_AGO);
        commit_something(f, 1); /* forgets that it was cleared, but not on disk */
        assert_int_equal(f->lmdb->retained.tomb_count, 0);
        assert_int_equal(f->lmdb->retained.index.count, ROWS_AT_ONCE);
    }
    lmdb_add_retained(f, 0, "a", "new", number++);
    lmdb_commit(f, 0);
    open_again(f);
    assert_true(
        retained_index_has(&f->lmdb->retained.index, f->lmdb->meta.seed, span_str("a"), 8195));
}

/* What was replaced or cleared is in the file, and nobody's business. */
static void test_retained_dump_says_what_holds(void **state)
{
    struct lmdb_fixture *f = *state;
    uint64_t number = 1;
    char *text = NULL;
    size_t len = 0;
    lmdb_add_retained(f, 0, "a", "old", number++);
    lmdb_add_retained(f, 0, "b", "old", number++);
    set_many(f, ROWS_AT_ONCE, &number);
    lmdb_add_retained(f, 0, "a", "new", number++);
    lmdb_add_retained(f, 0, "b", "", number++);
    lmdb_commit(f, 0);
    assert_int_equal(rows_in_file(f), ROWS_AT_ONCE + 4);
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    assert_int_equal(store_dump(f->path, out), 0);
    fclose(out);
    assert_null(strstr(text, "old"));
    assert_null(strstr(text, "\"topic\":\"b\""));
    assert_non_null(strstr(text, "\"payload\":\"new\""));
    free(text);
}

/* The place in the feed of changes goes on where it was, also when the last change cleared a topic. */
static void test_retained_last_number_is_told_when_it_cleared_its_topic(void **state)
{
    struct lmdb_fixture *f = *state;
    lmdb_add_retained(f, 0, "a", "1", 1);
    lmdb_add_retained(f, 0, "b", "1", 2);
    lmdb_commit(f, 0);
    lmdb_add_retained(f, 0, "b", "", 3);
    lmdb_commit(f, 0);
    lmdb_expect(f, "retained a=1 number 1\ncleared b= number 3\n");
}

static void test_retained_author_is_kept(void **state)
{
    struct lmdb_fixture *f = *state;
    struct author_record author = { .client_id = span_str("meter"),
                                    .owned = true,
                                    .named = true,
                                    .user = span_str("u"),
                                    .port = 7 };
    struct mqtt_publish publish = { .payload = span_str("1") };
    struct store_op op = { .kind = STORE_RETAINED, .number = 1 };
    op.message = message_new(&publish, span_str("a"), 0);
    op.record = author_record_encode(&author, &op.record_len);
    assert_non_null(op.message);
    assert_non_null(op.record);
    lmdb_add(f, 0, &op);
    lmdb_add_retained(f, 0, "b", "1", 2);
    lmdb_commit(f, 0);
    lmdb_expect(f, "retained a=1 number 1 by meter\nretained b=1 number 2\n");
}

/* ---- what version 1 has written ---- */

static void old_row(struct lmdb_fixture *f, MDB_txn *txn, const char *topic, const char *payload,
                    uint64_t number)
{
    uint8_t key[16], body[256];
    struct mqtt_publish publish = { .payload = span_str(payload) };
    struct message *message = message_new(&publish, span_str(topic), 0);
    assert_non_null(message);
    message_record_encode(message, put_u64(body, number));
    size_t len = 8 + (message->payload_len ? message_record_size(message) : 0);
    key_hash(f->lmdb->meta.seed, span_str(topic), key);
    assert_int_equal(
        row_put(f->lmdb, txn, TABLE_RETAINED_1, span_of(key, sizeof key), span_of(body, len)), 0);
    message_unref(message);
}

/* Beside rows of today: it was cut short, or the file is from two. */
static void test_retained_upgrade_that_was_cut_short_is_done_again(void **state)
{
    struct lmdb_fixture *f = *state;
    MDB_txn *txn;
    lmdb_add_retained(f, 0, "a", "1", 1);
    lmdb_commit(f, 0);
    lmdb_close(f);
    lmdb_open_unread(f);
    assert_int_equal(mdb_txn_begin(f->lmdb->env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, table_name(TABLE_RETAINED_1), MDB_CREATE,
                                  &f->lmdb->dbi[TABLE_RETAINED_1]),
                     0);
    old_row(f, txn, "a", "1", 1);
    old_row(f, txn, "b", "1", 3);
    old_row(f, txn, "c", "1", 2);
    old_row(f, txn, "d", "1", 3); /* two of one number */
    old_row(f, txn, "gone", "", 9);
    assert_int_equal(mdb_txn_commit(txn), 0);
    f->store->ops->free(f->store);
    static const char expected[] = "retained a=1 number 1\nretained c=1 number 2\nretained d=1 "
                                   "number 3\nretained b=1 number 4\n";
    lmdb_open(f);
    assert_int_equal(f->lmdb->dbi[TABLE_RETAINED_1], 0);
    assert_true(strlen(f->loaded) == strlen(expected));
    assert_true(is_loaded(f, "a=1 number 1\nretained c=1 number 2\n"));
    char first[LOADED_MAX];
    memcpy(first, f->loaded, sizeof first);
    lmdb_expect(f, first);
}

/* ---- anything, in any order ---- */

struct model {
    uint64_t number[TOPICS]; /* of the topic's last change, 0 none */
    bool set[TOPICS];
    uint64_t next, seed;
    uint64_t clears;
};

static unsigned draw(struct model *model, unsigned below)
{
    model->seed = model->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(model->seed >> 33) % below;
}

/* A batch of each worker, whose numbers are mixed, in either order. */
static void change(struct lmdb_fixture *f, struct model *model)
{
    char topic[16], payload[24];
    for (unsigned i = 0, count = 1 + draw(model, 60); i < count; i++) {
        unsigned which = draw(model, draw(model, 2) ? 5 : TOPICS);
        uint64_t number = model->next++;
        bool set = draw(model, 3) != 0;
        snprintf(topic, sizeof topic, "t/%u", which);
        snprintf(payload, sizeof payload, "%lu", (unsigned long)number);
        lmdb_add_retained(f, draw(model, 2), topic, set ? payload : "", number);
        model->number[which] = number;
        model->set[which] = set;
    }
    uint64_t positions[LMDB_WORKERS] = { 0 };
    unsigned first = draw(model, 2);
    for (unsigned i = 0; i < LMDB_WORKERS; i++) {
        unsigned worker = (first + i) % LMDB_WORKERS;
        if (!f->batch[worker])
            continue;
        positions[worker] = lmdb_submit(f, worker);
        if (draw(model, 2))
            assert_false(lmdb_wait(f, worker, positions[worker]));
    }
    for (unsigned i = 0; i < LMDB_WORKERS; i++)
        if (positions[i])
            assert_false(lmdb_wait(f, i, positions[i]));
}

static void compare(struct lmdb_fixture *f, const struct model *model)
{
    char line[64];
    unsigned there = 0, said = 0;
    for (unsigned i = 0; i < TOPICS; i++) {
        if (!model->set[i])
            continue;
        there++;
        snprintf(line, sizeof line, "retained t/%u=%lu number %lu\n", i,
                 (unsigned long)model->number[i], (unsigned long)model->number[i]);
        assert_true(is_loaded(f, line));
    }
    for (const char *at = f->loaded; (at = strstr(at, "retained ")); at++)
        said++;
    assert_int_equal(said, there);
}

static void test_retained_behaves_as_its_model(void **state)
{
    struct lmdb_fixture *f = *state;
    for (unsigned seed = 1; seed <= 3; seed++) {
        struct model *model = calloc(1, sizeof *model);
        f->options.young = 20; /* rows are old soon, and many */
        f->options.few = 10;
        open_again(f);
        assert_non_null(model);
        model->next = 1;
        model->seed = seed;
        for (unsigned i = 0; i < 400; i++) {
            change(f, model);
            if (draw(model, 4) == 0)
                lmdb_clock_set(lmdb_clock() + draw(model, LONG_AGO));
            if (draw(model, 20) == 0) {
                open_again(f);
                compare(f, model);
            }
        }
        assert_true(f->lmdb->retained.reaper.rows < 2 * TOPICS);
        open_again(f);
        compare(f, model);
        assert_true(rows_in_file(f) == f->lmdb->retained.reaper.rows);
        free(model);
        lmdb_fixture_done(f);
        lmdb_fixture_init(f);
        lmdb_open(f);
    }
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, lmdb_setup, lmdb_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(test_retained_topic_that_changes_often_has_one_row),
        WITH_STORE(test_retained_old_rows_go_when_they_are_many),
        WITH_STORE(test_retained_cleared_topic_stays_so_while_its_old_row_is_there),
        WITH_STORE(test_retained_dump_says_what_holds),
        WITH_STORE(test_retained_last_number_is_told_when_it_cleared_its_topic),
        WITH_STORE(test_retained_author_is_kept),
        WITH_STORE(test_retained_upgrade_that_was_cut_short_is_done_again),
        WITH_STORE(test_retained_behaves_as_its_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
