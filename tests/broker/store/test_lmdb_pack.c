/* SPDX-License-Identifier: MIT */
/* Messages that stay while most others go: the pages of the file hold little more than them, and
 * whoever reads the file finds each of them as it was. */
#include "tests/broker/support/lmdb_fixture.h"

#include "broker/store/lmdb_walk.h"
#include "broker/store/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    MANY = 120000,
    STAYS = 10, /* one of so many */
    A_BATCH = 1000,
    SOON = 2000, /* messages after which the others are acknowledged */
    PAYLOAD_MAX = 6000,
    TURNS = 60, /* commits within which the store has come to rest */
};

/* Most are short, some have pages of their own. */
static size_t payload_of(int number, char *out)
{
    size_t len = number % 50 == 0 ? 5000 : 20 + (size_t)(number * 7919L % 400);
    int digits = snprintf(out, PAYLOAD_MAX, "%08d", number);
    memset(out + digits, 'x', len - (size_t)digits);
    out[len] = '\0';
    return len;
}

static void done(struct lmdb_fixture *f, uint64_t sequence)
{
    if (sequence % STAYS == 0)
        return;
    lmdb_add(f, 0, &(struct store_op){ .kind = STORE_DONE, .slot = 1, .number = sequence });
    f->batch[0]->by_number = true;
}

static void churn(struct lmdb_fixture *f)
{
    char payload[PAYLOAD_MAX];
    lmdb_add_session(f, 0, 1, "s");
    for (int i = 1; i <= MANY; i++) {
        (void)payload_of(i, payload);
        struct message *message = lmdb_message(f, "a", payload, TO(1));
        assert_int_equal(message->stored->sequence, i);
        lmdb_add_message(f, 0, STORE_MESSAGE, message, 0);
        message_unref(message);
        if (i > SOON)
            done(f, (uint64_t)(i - SOON));
        if (i % A_BATCH == 0)
            lmdb_commit(f, 0);
    }
    for (int i = MANY - SOON + 1; i <= MANY; i++)
        done(f, (uint64_t)i);
    lmdb_commit(f, 0);
}

/* ---- what a reader sees ---- */

struct seen {
    uint64_t rows, bytes; /* that stand in a page with others */
    uint64_t pages;
};

static bool see(void *ctx, const struct walk_row *row)
{
    struct seen *seen = ctx;
    struct message_row message;
    char payload[PAYLOAD_MAX];
    int number = (int)key_number(row->key, 8);
    size_t len = payload_of(number, payload);
    assert_int_equal(number % STAYS, 0);
    assert_true(message_row_decode(row->body, &message));
    struct message *made = message_record_decode(message.message);
    assert_non_null(made);
    assert_int_equal(made->payload_len, len);
    assert_memory_equal(message_payload(made).data, payload, len);
    message_unref(made);
    seen->rows++;
    seen->bytes += row->body.len < 2000 ? row->body.len : 0;
    return true;
}

static struct seen look(const struct lmdb_fixture *f, walk_fn *fn)
{
    struct walk walk;
    struct seen seen = { .rows = 0 };
    MDB_stat stat;
    lmdb_look(f, &walk);
    if (fn)
        assert_int_equal(walk_table(&walk, TABLE_MESSAGE, false, fn, &seen), 0);
    assert_int_equal(walk.damaged, 0);
    assert_int_equal(mdb_stat(walk.txn, walk.dbi[TABLE_MESSAGE], &stat), 0);
    seen.pages = stat.ms_leaf_pages;
    lmdb_look_away(&walk);
    return seen;
}

/* One more of what goes at once, so that the store has a turn. */
static void turn(struct lmdb_fixture *f)
{
    lmdb_add_session(f, 0, 1, "s");
    lmdb_commit(f, 0);
}

static void test_pages_of_those_that_stay_are_full(void **state)
{
    struct lmdb_fixture *f = *state;
    churn(f);
    const uint64_t most = 4096; /* bytes in a page */
    struct seen seen = look(f, see);
    uint64_t bound = 512 + 1 + seen.bytes / most * 2;
    assert_int_equal(seen.rows, MANY / STAYS);
    assert_true(seen.bytes / most > 512); /* else it is too little to be packed */
    for (int i = 0; i < TURNS && seen.pages > bound; i++) {
        turn(f);
        seen = look(f, NULL);
    }
    assert_true(seen.pages <= bound);
    seen = look(f, see); /* all of them, as they were */
    assert_int_equal(seen.rows, MANY / STAYS);
}

static void test_packed_messages_are_found_by_their_receiver(void **state)
{
    struct lmdb_fixture *f = *state;
    churn(f);
    for (int i = 0; i < 100; i++)
        turn(f);
    lmdb_close(f);
    lmdb_open(f);
    char payload[PAYLOAD_MAX];
    for (int number = STAYS; number <= MANY; number += 997 * STAYS) {
        lmdb_ask(f, 0, 1, (const uint64_t[]){ (uint64_t)number, 0 });
        struct store_fetch *fetch = lmdb_answer(f, 0);
        assert_int_equal(fetch->count, 1);
        assert_non_null(fetch->items[0].message);
        size_t len = payload_of(number, payload);
        assert_int_equal(fetch->items[0].message->payload_len, len);
        assert_memory_equal(message_payload(fetch->items[0].message).data, payload, len);
        store_fetch_free(fetch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pages_of_those_that_stay_are_full, lmdb_setup,
                                        lmdb_teardown),
        cmocka_unit_test_setup_teardown(test_packed_messages_are_found_by_their_receiver,
                                        lmdb_setup, lmdb_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
