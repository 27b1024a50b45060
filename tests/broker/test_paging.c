/* SPDX-License-Identifier: MIT */
/*
 * Sessions that are far behind: two deliveries stay in memory, what comes behind them is only
 * numbers and is read back from the store. w has a session that lives for an hour and has
 * subscribed to t; p publishes.
 */
#include "tests/broker/support/conversation.h"
#include "tests/broker/support/fault_store.h"
#include "tests/broker/support/model.h"
#include "tests/broker/support/world.h"

#include "broker/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct setting one = { .workers = 1, .store = true, .window = 2 };
static const struct setting two = { .workers = 2, .store = true, .window = 2 };
static const struct setting three_at_most = {
    .options = "max_queued_messages 3", .workers = 1, .store = true, .window = 1
};
static const struct setting ten_bytes = {
    .options = "max_queued_bytes 10", .workers = 1, .store = true, .window = 1
};
static const struct setting with_qos0 = {
    .options = "queue_qos0_messages true", .workers = 1, .store = true, .window = 2
};
static const struct setting narrow = {
    .options = "max_inflight_messages 1", .workers = 1, .store = true, .window = 1
};

/* One utterance a line, and what it brings. */
/* clang-format off */

#define W       "10 13 0004 'MQTT' 05 00 0000 05 11 00000e10 0001 'w'"
#define BACK    "20 0e 01 00 0b 21 03e8 27 001e8480 22 000a"
#define W_AWAY  "*go", "w> " W " 82 07 0001 00 0001 't' 01", "w< {ok5} 90 04 0001 00 01", "w!"
#define P_HERE  "p> {5}", "p< {ok5}"
/* what p publishes and what w is sent; at QoS 1 */
#define TO_T(id, text) "32 07 0001 't' " id " 00 '" text "'"
#define FIVE    TO_T("0001", "1") TO_T("0002", "2") TO_T("0003", "3") TO_T("0004", "4") TO_T("0005", "5")
#define ACKS    "40 02 0001 40 02 0002 40 02 0003 40 02 0004 40 02 0005"

static void test_paging_all_arrives_in_order(void **state)
{ /* [MQTT5-4.6.0-5] */
    (void)state;
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "p> " FIVE, "p< " ACKS, "w> " W, "w< " BACK FIVE);
}

static void test_paging_the_window_is_sent_while_the_rest_is_read(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "*unread", "p> " FIVE, "p< " ACKS, "w> " W, "w< " BACK TO_T("0001", "1") TO_T("0002", "2"),
                  "w> c0 00", "w< d0 00", "*0?", "w< " TO_T("0003", "3") TO_T("0004", "4") TO_T("0005", "5"));
}

static void test_paging_what_comes_while_it_is_read_comes_behind(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "*unread", "p> " TO_T("0001", "1") TO_T("0002", "2") TO_T("0003", "3"), "p^ 40", "w> " W,
                  "w< " BACK TO_T("0001", "1") TO_T("0002", "2"), "p> " TO_T("0004", "4"), "p^ 40", "w<", "*0?", "w< " TO_T("0003", "3"),
                  "*0?", "w< " TO_T("0004", "4"), "p> " TO_T("0005", "5"), "p^ 40", "w< " TO_T("0005", "5"));
}

static void test_paging_what_is_not_written_yet_is_waited_for(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "w> " W, "w< " BACK, "w!", "*hold", "p> " TO_T("0001", "1") TO_T("0002", "2") TO_T("0003", "3"), "w> " W, "p<", "w<",
                  "*0 1", "p< 40 02 0001 40 02 0002 40 02 0003", "*0", "w< " BACK TO_T("0001", "1") TO_T("0002", "2") TO_T("0003", "3"));
}

static void test_paging_a_client_that_goes_and_comes_while_it_is_read_loses_nothing(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "*unread", "p> " FIVE, "p< " ACKS, "w> " W, "w< " BACK TO_T("0001", "1") TO_T("0002", "2"),
                  "w> 40 02 0001 40 02 0002", "w!", "*0?", "w> " W, "w< " BACK, "*0?", "w< " TO_T("0003", "3") TO_T("0004", "4") TO_T("0005", "5"));
}

static void test_paging_a_slow_client_is_paged_as_well(void **state)
{
    (void)state;
    CONVERSE_WITH(&narrow, "*go", "w> " W " 82 07 0001 00 0001 't' 01", "w^ 20", "p> {5}", "p^ 20", "*unread",
                  "p> " TO_T("0001", "1"), "p> " TO_T("0001", "2"), "p> " TO_T("0001", "3"), "p> " TO_T("0001", "4"), "p^ 40", "w^ " TO_T("0001", "1"),
                  "w> 40 02 0001", "w< " TO_T("0002", "2"), "w> 40 02 0002", "w<", "*0?", "w< " TO_T("0003", "3"), "w> 40 02 0003", "w< " TO_T("0004", "4"));
}

static void test_paging_takeover_takes_the_tail_along(void **state)
{ /* what the worker before has asked for comes to nobody */
    (void)state;
    CONVERSE_WITH(&two, "w@0", "p@1", "b@1", W_AWAY, P_HERE, "*unread", "p> " FIVE, "p< " ACKS, "w> " W, "w< " BACK TO_T("0001", "1") TO_T("0002", "2"),
                  "w> 40 02 0001 40 02 0002", "b> " W, "w< e0 01 8e", "w.", "b< " BACK, "*0?", "b<", "*1?", "b< " TO_T("0003", "3") TO_T("0004", "4") TO_T("0005", "5"));
}

static void test_paging_everything_else_keeps_its_place(void **state)
{ /* QoS 0 is only in memory; identifiers and the retain flag come back */
    (void)state;
    CONVERSE_WITH(&with_qos0, "*go", "w> " W " 82 09 0001 02 0b 05 0001 't' 09 82 09 0002 02 0b 07 0001 '+' 09", "w^ 20", "w!", P_HERE,
                  "p> " TO_T("0001", "1") TO_T("0002", "2") TO_T("0003", "3") "30 05 0001 't' 00 '4'" "33 07 0001 't' 0005 00 '5'", "p^ 40",
                  "w> " W, "w^ " BACK "32 0b 0001 't' 0001 04 0b07 0b05 '1' 32 0b 0001 't' 0002 04 0b07 0b05 '2' 32 0b 0001 't' 0003 04 0b07 0b05 '3'"
                  "30 09 0001 't' 04 0b07 0b05 '4' 33 0b 0001 't' 0004 04 0b07 0b05 '5'");
}

static void test_paging_qos0_does_not_wait_for_a_client_that_is_away(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "*unread", "p> " TO_T("0001", "1") TO_T("0002", "2") TO_T("0003", "3"), "p^ 40", "w> " W, "w^ " BACK,
                  "p> 30 05 0001 't' 00 'q'" TO_T("0004", "4"), "p^ 40", "w> 40 02 0001 40 02 0002", "w!", "*go", "w> " W, "w< " BACK TO_T("0003", "3") TO_T("0004", "4"));
}

static void test_paging_max_queued_messages_counts_what_is_only_numbers(void **state)
{
    (void)state;
    CONVERSE_WITH(&three_at_most, W_AWAY, P_HERE, "p> " FIVE, "p< " ACKS, "w> " W, "w< " BACK TO_T("0001", "1") TO_T("0002", "2") TO_T("0003", "3"));
}

static void test_paging_max_queued_bytes_counts_what_is_only_numbers(void **state)
{ /* each counts two: topic and payload; once it is read back it counts where it is then */
    (void)state;
    CONVERSE_WITH(&ten_bytes, W_AWAY, P_HERE, "p> " FIVE TO_T("0006", "6"), "p^ 40", "w> " W, "w< " BACK FIVE, "w> " ACKS, "w!",
                  "p> " FIVE TO_T("0006", "6"), "p^ 40", "w> " W, "w< " BACK TO_T("0006", "1") TO_T("0007", "2") TO_T("0008", "3") TO_T("0009", "4") TO_T("000a", "5"));
}

static void test_paging_what_has_expired_is_not_sent(void **state)
{ /* [MQTT5-3.3.2-5] */
    (void)state;
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "p> " TO_T("0001", "1") TO_T("0002", "2") "32 0c 0001 't' 0003 05 02 00000001 '3'" TO_T("0004", "4"), "p^ 40",
                  "+2000", "w> " W, "w< " BACK TO_T("0001", "1") TO_T("0002", "2") TO_T("0003", "4"), "w> 40 02 0001 40 02 0002 40 02 0003", "+2000", "=crash", "w> " W, "w< " BACK);
}

static void test_paging_damaged_messages_hold_up_nothing(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "p> " FIVE, "p< " ACKS, "*damaged 2", "w> " W, "w< " BACK TO_T("0001", "1") TO_T("0002", "2") TO_T("0003", "5"),
                  "w> 40 02 0001 40 02 0002 40 02 0003", "+2000", "=crash", "w> " W, "w< " BACK);
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "p> " FIVE, "p< " ACKS, "*damaged 3", "w> " W, "w< " BACK TO_T("0001", "1") TO_T("0002", "2"), "p> " TO_T("0006", "6"), "p^ 40",
                  "w< " TO_T("0003", "6"));
}

static void test_paging_survives_a_crash_in_order(void **state)
{
    (void)state;
    CONVERSE_WITH(&one, W_AWAY, P_HERE, "p> " FIVE, "p< " ACKS, "=crash", "*unread", "p> {5}", "p^ 20", "p> " TO_T("0006", "6"), "p^ 40", "w> " W, "w< " BACK,
                  "*0?", "w< " FIVE TO_T("0006", "6"), "w> 40 02 0001 40 02 0002 40 02 0003", "+2000", "=crash", "*go", "w> " W,
                  "w< " BACK "3a 07 0001 't' 0004 00 '4' 3a 07 0001 't' 0005 00 '5' 3a 07 0001 't' 0006 00 '6'");
}

static void test_paging_what_may_have_been_sent_before_a_crash_is_marked(void **state)
{ /* [MQTT5-3.3.1-1]; and what comes later is not */
    (void)state;
    CONVERSE_WITH(&one, "*go", "w> " W " 82 07 0001 00 0001 't' 01", "w^ 20", P_HERE, "p> " TO_T("0001", "1"), "p^ 40", "w< " TO_T("0001", "1"), "=crash",
                  "p> {5}", "p^ 20", "p> " TO_T("0002", "2"), "p^ 40", "w> " W, "w< " BACK "3a 07 0001 't' 0001 00 '1'" TO_T("0002", "2"));
}

/* clang-format on */

struct store_world {
    struct world world;
    struct fault_store *store;
    struct peer away, here;
};

static struct store_world *begin(void)
{
    struct store_world *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->store = fault_store_new();
    f->store->holding = false;
    world_window = 2;
    world_init_with(&f->world, 1, "listener 1883\nallow_anonymous true\nsys_interval 0\n",
                    &f->store->store);
    f->store->broker = f->world.broker;
    peer_connect(&f->away, &f->world, "w",
                 &(struct connect_options){ .resume = true, .expiry = 3600 });
    peer_subscribe(&f->away, "t", 1, 0);
    peer_lose(&f->away);
    peer_connect(&f->here, &f->world, "p", &(struct connect_options){ 0 });
    return f;
}

static void end(struct store_world *f)
{
    peer_lose(&f->here);
    peer_done(&f->here);
    peer_done(&f->away);
    world_done(&f->world);
    fault_store_free(f->store);
    free(f);
}

static void publish(struct store_world *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        peer_publish(&f->here, "t", "some text", 1, false);
}

static void test_paging_keeps_no_message_in_memory_behind_the_window(void **state)
{
    (void)state;
    struct store_world *f = begin();
    uint64_t before = message_count();
    publish(f, 100);
    assert_int_equal(model_messages(f->store->model), 100);
    while (f->store->order_count > 0) { /* which keep the batches to be looked at */
        f->store->order_count--;
        struct fault_lane *lane = &f->store->lanes[0];
        store_batch_free(lane->batches[f->store->order_count].batch);
        lane->batches[f->store->order_count].batch = NULL;
    }
    assert_int_equal(message_count() - before, 2);
    f->store->order_count = f->store->committed;
    end(f);
}

static void test_paging_the_end_of_a_session_is_done_with_all_and_reads_nothing(void **state)
{
    (void)state;
    struct store_world *f = begin();
    publish(f, 300);
    world_pass(&f->world, 3700 * 1000);
    world_pass(&f->world, 2000);
    assert_int_equal(model_messages(f->store->model), 0);
    assert_int_equal(model_sessions(f->store->model), 0);
    assert_int_equal(f->store->reads, 0);
    end(f);
}

static void test_paging_a_new_session_of_the_client_is_done_with_what_was_being_read(void **state)
{ /* [MQTT5-3.1.2-4] */
    (void)state;
    struct store_world *f = begin();
    publish(f, 300);
    f->store->reading_holds = true;
    peer_connect(&f->away, &f->world, "w",
                 &(struct connect_options){ .resume = true, .expiry = 3600 });
    assert_int_equal(f->store->reads, 1);
    assert_int_equal(f->away.count, 2);
    peer_lose(&f->away);
    peer_connect(&f->away, &f->world, "w", &(struct connect_options){ 0 });
    f->store->reading_holds = false;
    fault_store_read(f->store, 0);
    world_pass(&f->world, 2000);
    assert_int_equal(f->away.count, 2);
    assert_int_equal(model_messages(f->store->model), 0);
    peer_lose(&f->away);
    end(f);
}

static void test_paging_what_is_lost_is_counted(void **state)
{
    (void)state;
    struct store_world *f = begin();
    publish(f, 12);
    f->store->damaged = 3;
    peer_connect(&f->away, &f->world, "w",
                 &(struct connect_options){ .resume = true, .expiry = 3600 });
    assert_int_equal(f->away.count, 9);
    assert_int_equal(atomic_load(&broker_worker(f->world.broker, 0)->stats.unreadable_dropped), 3);
    assert_int_equal(model_messages(f->store->model), 9);
    peer_lose(&f->away);
    end(f);
}

static void test_paging_reads_in_slices_as_the_client_takes_them(void **state)
{
    (void)state;
    struct store_world *f = begin();
    publish(f, 1000);
    peer_connect(
        &f->away, &f->world, "w",
        &(struct connect_options){ .resume = true, .expiry = 3600, .receive_maximum = 10 });
    assert_int_equal(f->away.count, 10);
    assert_int_equal(f->store->reads, 1); /* more when the client has taken of that */
    for (unsigned i = 0; i < 1000; i++) {
        const struct received *next = peer_next(&f->away);
        assert_non_null(next);
        assert_false(next->dup);
        peer_ack(&f->away, MQTT_PUBACK, next->id, MQTT_SUCCESS);
    }
    assert_in_range(f->store->reads, 4, 8);
    world_pass(&f->world, 2000);
    assert_int_equal(model_messages(f->store->model), 0);
    peer_lose(&f->away);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paging_all_arrives_in_order),
        cmocka_unit_test(test_paging_the_window_is_sent_while_the_rest_is_read),
        cmocka_unit_test(test_paging_what_comes_while_it_is_read_comes_behind),
        cmocka_unit_test(test_paging_what_is_not_written_yet_is_waited_for),
        cmocka_unit_test(test_paging_a_client_that_goes_and_comes_while_it_is_read_loses_nothing),
        cmocka_unit_test(test_paging_a_slow_client_is_paged_as_well),
        cmocka_unit_test(test_paging_takeover_takes_the_tail_along),
        cmocka_unit_test(test_paging_everything_else_keeps_its_place),
        cmocka_unit_test(test_paging_qos0_does_not_wait_for_a_client_that_is_away),
        cmocka_unit_test(test_paging_max_queued_messages_counts_what_is_only_numbers),
        cmocka_unit_test(test_paging_max_queued_bytes_counts_what_is_only_numbers),
        cmocka_unit_test(test_paging_what_has_expired_is_not_sent),
        cmocka_unit_test(test_paging_damaged_messages_hold_up_nothing),
        cmocka_unit_test(test_paging_survives_a_crash_in_order),
        cmocka_unit_test(test_paging_what_may_have_been_sent_before_a_crash_is_marked),
        cmocka_unit_test(test_paging_keeps_no_message_in_memory_behind_the_window),
        cmocka_unit_test(test_paging_the_end_of_a_session_is_done_with_all_and_reads_nothing),
        cmocka_unit_test(test_paging_a_new_session_of_the_client_is_done_with_what_was_being_read),
        cmocka_unit_test(test_paging_what_is_lost_is_counted),
        cmocka_unit_test(test_paging_reads_in_slices_as_the_client_takes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
