/* SPDX-License-Identifier: MIT */
/* What the LMDB store has after it was closed and opened again, and who may open it. */
#include "tests/broker/support/lmdb_fixture.h"

#include "broker/delivery.h"
#include "broker/inflight.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void test_store_sessions_and_subscriptions_survive(void **state)
{
    struct lmdb_fixture *f = *state;
    assert_string_equal(f->loaded, "");
    lmdb_add_session(f, 0, 1, "one");
    lmdb_add_session(f, 0, 2, "two");
    lmdb_add_subscription(f, 0, 1, "a/#");
    lmdb_add_subscription(f, 0, 1, "b");
    lmdb_add_subscription(f, 0, 2, "b");
    lmdb_add_unsubscribed(f, 0, 1, "b");
    lmdb_add_group(f, 0, 3, "$share/g/a");
    lmdb_add_session(f, 0, 1, "uno");
    lmdb_commit(f, 0);
    lmdb_expect(f, "group 3 $share/g/a\n"
                   "session 1 uno\n"
                   "session 2 two\n"
                   "sub 1 a/# options 1 id 5\n"
                   "sub 2 b options 1 id 5\n");
    lmdb_add(f, 1, &(struct store_op){ .kind = STORE_SESSION_END, .slot = 1 });
    lmdb_add(f, 1, &(struct store_op){ .kind = STORE_GROUP_END, .slot = 3 });
    lmdb_commit(f, 1);
    lmdb_expect(f, "session 2 two\n"
                   "sub 2 b options 1 id 5\n");
}

static void test_store_message_survives_for_those_who_are_not_done(void **state)
{
    struct lmdb_fixture *f = *state;
    for (uint32_t slot = 1; slot <= 3; slot++)
        lmdb_add_session(f, 0, slot, "s");
    struct message *m = lmdb_message(f, "a", "x", TO(1, 2, 3));
    m->stored->receivers[0].sub_id = 9;
    m->stored->receivers[1].ids = sub_ids_new((const uint32_t[]){ 7, 8 }, 2);
    m->stored->receivers[1].sub_id = 7;
    m->stored->receivers[1].qos = 2;
    m->stored->receivers[1].retain = true;
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    lmdb_commit(f, 0);
    lmdb_add_message(f, 1, STORE_DONE, m, 3);
    lmdb_commit(f, 1);
    message_unref(m);
    lmdb_expect(f, "session 1 s\nsession 2 s\nsession 3 s\n"
                   "message a=x to 1/1/9 to 2/2r/7,8\n");
    lmdb_add_message(f, 0, STORE_DONE, f->restored[0], 1);
    lmdb_commit(f, 0);
    lmdb_expect(f, "session 1 s\nsession 2 s\nsession 3 s\n"
                   "message a=x to 2/2r/7,8\n");
    lmdb_add_message(f, 0, STORE_DONE, f->restored[0], 2);
    lmdb_commit(f, 0);
    lmdb_expect(f, "session 1 s\nsession 2 s\nsession 3 s\n");
    assert_int_equal(f->lmdb->log.live, 0);
}

static void test_store_message_of_many_receivers_finds_each(void **state)
{
    struct lmdb_fixture *f = *state;
    uint32_t slots[41] = { 0 };
    for (uint32_t i = 0; i < 40; i++)
        slots[i] = 100 - 2 * i; /* not in order */
    for (uint32_t i = 0; i < 40; i++)
        lmdb_add_session(f, 0, slots[i], "s");
    struct message *m = lmdb_message(f, "a", "x", slots);
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    lmdb_commit(f, 0);
    for (uint32_t i = 0; i < 40; i++)
        if (slots[i] != 50 && slots[i] != 52)
            lmdb_add_message(f, 1, STORE_DONE, m, slots[i]);
    lmdb_add_message(f, 1, STORE_DONE, m, 51); /* it never had that one */
    lmdb_commit(f, 1);
    message_unref(m);
    lmdb_close(f);
    lmdb_open(f);
    assert_non_null(strstr(f->loaded, "message a=x to 52/1 to 50/1\n"));
}

static void test_store_message_whose_receivers_are_done_is_never_written(void **state)
{
    struct lmdb_fixture *f = *state;
    struct store_stats stats;
    lmdb_add_session(f, 0, 1, "s");
    lmdb_add_session(f, 0, 2, "s");
    lmdb_commit(f, 0);
    struct message *m = lmdb_message(f, "a", "x", TO(1, 2));
    lmdb_add_message(f, 1, STORE_DONE, m, 2); /* of another worker, and before the message itself */
    lmdb_commit(f, 1);
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    lmdb_add_message(f, 0, STORE_DONE, m, 1);
    lmdb_add_session(f, 0, 3, "s"); /* so that there is something to commit */
    lmdb_commit(f, 0);
    f->store->ops->stats(f->store, &stats);
    assert_int_equal(stats.spared, 1);
    assert_int_equal(stats.stored, 0);
    message_unref(m);
    lmdb_expect(f, "session 1 s\nsession 2 s\nsession 3 s\n");
}

static void test_store_messages_are_loaded_by_sequence(void **state)
{
    struct lmdb_fixture *f = *state;
    lmdb_add_session(f, 0, 1, "s");
    struct message *first = lmdb_message(f, "a", "1", TO(1)),
                   *second = lmdb_message(f, "a", "2", TO(1)),
                   *third = lmdb_message(f, "a", "3", TO(1));
    lmdb_add_message(f, 0, STORE_MESSAGE, third, 0);
    lmdb_add_message(f, 0, STORE_MESSAGE, second, 0);
    lmdb_commit(f, 0);
    lmdb_add_message(f, 1, STORE_MESSAGE, first, 0);
    lmdb_commit(f, 1);
    message_unref(first), message_unref(second), message_unref(third);
    lmdb_expect(f, "session 1 s\nmessage a=1 to 1/1\nmessage a=2 to 1/1\nmessage a=3 to 1/1\n");
    assert_int_equal(store_new_sequence(f->store), 4); /* none is given twice */
}

static void test_store_unrouted_message_is_routed_after_a_crash(void **state)
{
    struct lmdb_fixture *f = *state;
    lmdb_add_session(f, 0, 1, "p");
    struct message *m = lmdb_message(f, "a", "x", TO(0)), *other = lmdb_message(f, "b", "x", TO(0));
    m->stored->count = other->stored->count = 0;
    lmdb_add_exchange(f, 0, STORE_INBOUND_QOS2, 1, 77, 0, NULL);
    lmdb_add_message(f, 0, STORE_UNROUTED, m, 1);
    lmdb_add_message(f, 0, STORE_UNROUTED, other, 1);
    lmdb_commit(f, 0);
    message_unref(m), message_unref(other);
    lmdb_expect(f, "session 1 p\ninbound 1 id 77\nunrouted a=x from 1\nunrouted b=x from 1\n");

    m = f->restored[0];
    m->stored->receivers = calloc(1, sizeof *m->stored->receivers);
    m->stored->receivers[0] = (struct receiver){ .slot = 1, .qos = 2 };
    m->stored->count = m->stored->left = 1;
    lmdb_add_message(f, 0, STORE_ROUTED, m, 0);
    lmdb_add_message(f, 0, STORE_ROUTED, f->restored[1], 0); /* nobody wants it */
    lmdb_add_exchange(f, 0, STORE_INBOUND_RELEASE, 1, 77, 0, NULL);
    lmdb_commit(f, 0);
    lmdb_expect(f, "session 1 p\nmessage a=x to 1/2\n");
}

static void test_store_outbound_exchanges_keep_their_order(void **state)
{
    struct lmdb_fixture *f = *state;
    lmdb_add_session(f, 0, 1, "s");
    lmdb_add_session(f, 0, 2, "s");
    struct message *a = lmdb_message(f, "a", "", TO(1, 2)), *b = lmdb_message(f, "b", "", TO(1));
    lmdb_add_message(f, 0, STORE_MESSAGE, a, 0);
    lmdb_add_message(f, 0, STORE_MESSAGE, b, 0);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 10, AWAIT_PUBREC, b); /* sent first */
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 11, AWAIT_PUBREC, a);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 2, 10, AWAIT_PUBREC, a);
    lmdb_commit(f, 0);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 2, 10, AWAIT_PUBCOMP, NULL);
    lmdb_add_message(f, 0, STORE_DONE, a, 2);
    lmdb_commit(f, 0);
    message_unref(a), message_unref(b);
    for (int again = 0; again < 2; again++)
        lmdb_expect(f, "session 1 s\nsession 2 s\n"
                       "message a= to 1/1 [1 group 0 id 11 state 2 order 2]\n"
                       "message b= to 1/1 [1 group 0 id 10 state 2 order 1]\n"
                       "outbound 2 group 0 id 10 state 3\n");
    lmdb_add_exchange(f, 0, STORE_OUTBOUND_END, 2, 10, 0, NULL);
    lmdb_add_message(f, 0, STORE_DONE, f->restored[1], 1);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND_END, 1, 10, 0, NULL);
    lmdb_commit(f, 0);
    lmdb_expect(f, "session 1 s\nsession 2 s\n"
                   "message a= to 1/1 [1 group 0 id 11 state 2 order 2]\n");
}

static void test_store_exchange_through_a_group_names_both(void **state)
{
    struct lmdb_fixture *f = *state;
    lmdb_add_group(f, 0, 1, "$share/g/a");
    lmdb_add_session(f, 0, 2, "s");
    struct message *m = lmdb_message(f, "a", "", TO(1));
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    lmdb_add(f, 0,
             &(struct store_op){ .kind = STORE_OUTBOUND,
                                 .slot = 2,
                                 .packet_id = 5,
                                 .state = AWAIT_PUBACK,
                                 .number = 1,
                                 .message = m });
    lmdb_commit(f, 0);
    lmdb_expect(f, "group 1 $share/g/a\nsession 2 s\n"
                   "message a= to 1/1 [2 group 1 id 5 state 1 order 1]\n");
}

/* The client may have the message: PUBREL makes it forget the identifier. */
static void test_store_exchange_whose_message_is_gone_awaits_pubcomp(void **state)
{
    struct lmdb_fixture *f = *state;
    lmdb_add_session(f, 0, 1, "s");
    struct message *m = lmdb_message(f, "a", "", TO(1));
    lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 5, AWAIT_PUBREC, m);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 1, 6, AWAIT_PUBACK, m);
    lmdb_add_message(f, 0, STORE_DONE, m, 1);
    lmdb_commit(f, 0);
    message_unref(m);
    lmdb_expect(f, "session 1 s\noutbound 1 group 0 id 5 state 3\n");
}

static void test_store_leaves_out_what_names_a_session_that_is_gone(void **state)
{
    struct lmdb_fixture *f = *state;
    lmdb_add_session(f, 0, 1, "s");
    lmdb_add_session(f, 0, 2, "s");
    struct message *both = lmdb_message(f, "a", "", TO(1, 2)),
                   *one = lmdb_message(f, "b", "", TO(2));
    lmdb_add_message(f, 0, STORE_MESSAGE, both, 0);
    lmdb_add_message(f, 0, STORE_MESSAGE, one, 0);
    lmdb_add_exchange(f, 0, STORE_OUTBOUND, 2, 5, AWAIT_PUBREC, one);
    lmdb_add_exchange(f, 0, STORE_INBOUND_QOS2, 2, 5, 0, NULL);
    lmdb_add_subscription(f, 0, 3, "never/there");
    lmdb_commit(f, 0);
    lmdb_add(f, 0, &(struct store_op){ .kind = STORE_SESSION_END, .slot = 2 });
    lmdb_commit(f, 0);
    message_unref(both), message_unref(one);
    for (int again = 0; again < 2; again++)
        lmdb_expect(f, "session 1 s\nmessage a= to 1/1\n");
    assert_true(store_new_slot(f->store) > 3); /* a stored message still names slot 2 */
}

static void test_store_retained_highest_number_wins(void **state)
{
    struct lmdb_fixture *f = *state;
    lmdb_add_retained(f, 0, "a", "2", 2);
    lmdb_add_retained(f, 0, "a", "1", 1); /* from another worker, say, and late */
    lmdb_add_retained(f, 0, "b", "1", 3);
    lmdb_commit(f, 0);
    lmdb_add_retained(f, 1, "b", "", 5);
    lmdb_commit(f, 1);
    lmdb_add_retained(f, 0, "b", "late", 4);
    lmdb_add_retained(f, 0, "c", "1", 6);
    lmdb_add_retained(f, 0, "d", "x", 7);
    lmdb_add_retained(f, 0, "d", "", 8);
    lmdb_commit(f, 0);
    lmdb_close(f);
    lmdb_open(f);
    assert_non_null(strstr(f->loaded, "retained a=2 number 2\n"));
    assert_non_null(strstr(f->loaded, "retained c=1 number 6\n"));
    assert_non_null(strstr(f->loaded, "cleared b= number 5\n"));
    assert_non_null(strstr(f->loaded, "cleared d= number 8\n"));
    assert_null(strstr(f->loaded, "retained b"));
    assert_null(strstr(f->loaded, "retained d"));
    assert_int_equal(f->lmdb->retained.tomb_count, 2);

    lmdb_clock_set(lmdb_clock() + 20000);
    lmdb_add_retained(f, 0, "b", "new", 9); /* the row is not a grave any more */
    lmdb_commit(f, 0);
    assert_int_equal(f->lmdb->retained.tomb_count, 0);
    lmdb_close(f);
    lmdb_open(f);
    assert_non_null(strstr(f->loaded, "retained b=new number 9\n"));
    assert_int_equal(f->lmdb->retained.tomb_count,
                     1); /* the row that says it of d is still there */
}

static void test_store_of_another_broker_is_refused(void **state)
{
    struct lmdb_fixture *f = *state;
    struct store *second = NULL;
    assert_int_equal(lmdb_store_open(&f->options, &second), -EBUSY);
    assert_null(second);
    lmdb_add_session(f, 0, 1, "s"); /* and the first one does not mind */
    lmdb_commit(f, 0);
    lmdb_expect(f, "session 1 s\n");
}

static void test_store_that_cannot_be_made_is_refused(void **state)
{
    struct lmdb_fixture *f = *state;
    struct store *second = NULL;
    struct lmdb_store_options options = f->options;
    char path[128];
    snprintf(path, sizeof path, "%s/missing/folder", f->path);
    options.path = path;
    assert_int_equal(lmdb_store_open(&options, &second), -ENOENT);
    snprintf(path, sizeof path, "%s/data.mdb", f->path);
    assert_int_equal(lmdb_store_open(&options, &second), -ENOTDIR);
    assert_null(second);
}

static void read_file(const struct lmdb_fixture *f, uint8_t *bytes, size_t *ret_len)
{
    char path[128];
    snprintf(path, sizeof path, "%s/data.mdb", f->path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    *ret_len = fread(bytes, 1, 1 << 20, file);
    fclose(file);
}

static void test_store_of_a_newer_version_is_refused_untouched(void **state)
{
    struct lmdb_fixture *f = *state;
    struct store *store = NULL;
    static uint8_t before[1 << 20], after[1 << 20];
    size_t len, len_after;
    lmdb_add_session(f, 0, 1, "s");
    lmdb_commit(f, 0);
    f->lmdb->meta.version = STORE_VERSION + 1; /* written at the end */
    lmdb_close(f);
    read_file(f, before, &len);
    assert_int_equal(lmdb_store_open(&f->options, &store), -ENOTSUP);
    assert_null(store);
    read_file(f, after, &len_after);
    assert_int_equal(len, len_after);
    assert_memory_equal(before, after, len);
}

static void test_store_grows_its_map(void **state)
{
    struct lmdb_fixture *f = *state;
    static char payload[100001];
    memset(payload, 'x', sizeof payload - 1);
    lmdb_close(f);
    f->options.map_size = 1 << 20;
    lmdb_open(f);
    lmdb_add_session(f, 0, 1, "s");
    for (int i = 0; i < 50; i++) {
        struct message *m = lmdb_message(f, "a", payload, TO(1));
        lmdb_add_message(f, 0, STORE_MESSAGE, m, 0);
        message_unref(m);
        if (i % 10 == 9)
            lmdb_commit(f, 0);
    }
    assert_true(f->lmdb->map_size >= (size_t)5 << 20);
    lmdb_close(f);
    lmdb_open(f);
    assert_int_equal(f->restored_count, 16);
    assert_int_equal(f->restored[15]->payload_len, 100000);
}

/* The store becomes a copy of a file that is kept here. */
static void put_file(const struct lmdb_fixture *f, const char *name)
{
    static uint8_t bytes[1 << 20];
    char path[512];
    snprintf(path, sizeof path, "%s/broker/store/%s/data.mdb", TEST_DIR, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    snprintf(path, sizeof path, "%s/data.mdb", f->path);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static bool take_line(struct lmdb_fixture *f, const char *line)
{
    char *at = strstr(f->loaded, line);
    if (at)
        memmove(at, at + strlen(line), strlen(at + strlen(line)) + 1);
    return at != NULL;
}

/* Each folder tests/broker/store/version-* was written by that version; every later one must open it,
 * and it must mean this. */
static void open_kept(struct lmdb_fixture *f, const char *name, const char *author)
{
    char line[64];
    lmdb_close(f);
    if (sizeof(size_t) != 8 || *(const uint8_t *)&(const uint16_t){ 1 } != 1) {
        lmdb_open(f);
        print_message("skipped: LMDB's files are those of a kind of machine\n");
        skip();
    }
    put_file(f, name);
    for (int again = 0; again < 2; again++) {
        lmdb_open(f);
        assert_int_equal(f->lmdb->meta.version, STORE_VERSION);
        assert_int_equal(f->lmdb->dbi[TABLE_RETAINED_1], 0);
        assert_true(take_line(f, "retained r/1=on number 4\n"));
        snprintf(line, sizeof line, "retained r/2=\xc0 number 5%s\n", author);
        assert_true(take_line(f, line));
        (void)take_line(f, "cleared r/3= number 6\n");
        assert_string_equal(f->loaded,
                            "group 3 $share/g/b\n"
                            "session 1 meter/ü\n"
                            "session 2 willing will will\n"
                            "sub 1 a/+ options 1 id 5\n"
                            "sub 2 $share/g/b options 2 id 0\n"
                            "inbound 1 id 6\n"
                            "message a=text to 1/1/7,8 to 2/2r\n"
                            "message a=\x80\x81 to 1/2/9 [1 group 0 id 5 state 2 order 1]\n"
                            "unrouted u= from 1\n"
                            "outbound 2 group 0 id 9 state 3\n");
        assert_int_equal(f->restored[0]->forward_len, 11);
        assert_true(f->restored[0]->expires == 1795597455999);
        if (!again)
            lmdb_close(f);
    }
}

static void test_store_of_version_1_is_opened(void **state)
{
    open_kept(*state, "version-1", "");
}

static void test_store_of_version_2_is_opened(void **state)
{
    open_kept(*state, "version-2", " by meter/ü");
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, lmdb_setup, lmdb_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(test_store_sessions_and_subscriptions_survive),
        WITH_STORE(test_store_message_survives_for_those_who_are_not_done),
        WITH_STORE(test_store_message_of_many_receivers_finds_each),
        WITH_STORE(test_store_message_whose_receivers_are_done_is_never_written),
        WITH_STORE(test_store_messages_are_loaded_by_sequence),
        WITH_STORE(test_store_unrouted_message_is_routed_after_a_crash),
        WITH_STORE(test_store_outbound_exchanges_keep_their_order),
        WITH_STORE(test_store_exchange_through_a_group_names_both),
        WITH_STORE(test_store_exchange_whose_message_is_gone_awaits_pubcomp),
        WITH_STORE(test_store_leaves_out_what_names_a_session_that_is_gone),
        WITH_STORE(test_store_retained_highest_number_wins),
        WITH_STORE(test_store_of_another_broker_is_refused),
        WITH_STORE(test_store_that_cannot_be_made_is_refused),
        WITH_STORE(test_store_of_a_newer_version_is_refused_untouched),
        WITH_STORE(test_store_grows_its_map),
        WITH_STORE(test_store_of_version_1_is_opened),
        WITH_STORE(test_store_of_version_2_is_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
