/* SPDX-License-Identifier: MIT */
/* The inflight table: identifiers and places, acknowledgements in any order, the wrap of the
 * identifiers, and the end of them. */
#include "broker/inflight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { IDENTIFIERS = 65535 };

static struct message *message;

static int make_message(void **state)
{
    (void)state;
    message = message_from_text("t", "x", false); /* 2 bytes */
    return 0;
}

/* Whatever a test did, it must have given back every reference. */
static int check_message(void **state)
{
    (void)state;
    bool alone = atomic_load(&message->refs) == 1;
    message_unref(message);
    return alone ? 0 : -1;
}

static uint16_t add(struct inflight *inflight, uint8_t qos)
{
    uint16_t id = 0;
    struct delivery delivery = { .message = message_ref(message), .qos = qos };
    assert_non_null(inflight_add(inflight, &delivery, &id));
    return id;
}

static void finish(struct inflight *inflight, uint16_t id)
{
    struct inflight_entry *entry = inflight_find(inflight, id);
    assert_non_null(entry);
    inflight_finish(inflight, entry);
}

static void test_inflight_ids_start_at_1_and_state_follows_qos(void **state)
{
    struct inflight inflight = { 0 };
    (void)state;
    assert_int_equal(add(&inflight, 1), 1);
    assert_int_equal(add(&inflight, 2), 2);
    assert_int_equal(inflight_find(&inflight, 1)->state, AWAIT_PUBACK);
    assert_int_equal(inflight_find(&inflight, 2)->state, AWAIT_PUBREC);
    assert_null(inflight_find(&inflight, 0));
    assert_null(inflight_find(&inflight, 3));
    assert_null(inflight_find(&inflight, 65535));
    assert_int_equal(inflight.bytes, 4);
    inflight_done(&inflight);
}

static void test_inflight_any_order_of_acknowledgement_moves_the_base(void **state)
{
    struct inflight inflight = { 0 };
    (void)state;
    for (int i = 0; i < 20; i++)
        (void)add(&inflight, 1);
    for (uint16_t id = 20; id > 1; id--)
        finish(&inflight, id);
    assert_int_equal(inflight.base, 0);
    assert_int_equal(inflight.count, 1);
    assert_null(inflight_find(&inflight, 20)); /* free: acknowledged twice */
    finish(&inflight, 1);
    assert_int_equal(inflight.base, 20);
    assert_int_equal(inflight.count, 0);
    assert_int_equal(inflight.bytes, 0);
    assert_int_equal(add(&inflight, 1), 21);
    inflight_done(&inflight);
}

static void test_inflight_release_keeps_only_the_identifier(void **state) /* [MQTT5-4.3.3-6] */
{
    struct inflight inflight = { 0 };
    (void)state;
    uint16_t id = add(&inflight, 2);
    struct inflight_entry *entry = inflight_find(&inflight, id);
    entry->counts = true;
    inflight.window = 1;
    inflight_release(&inflight, entry);
    assert_int_equal(entry->state, AWAIT_PUBCOMP);
    assert_null(entry->delivery.message);
    assert_int_equal(inflight.bytes, 0);
    assert_int_equal(inflight.window, 1); /* until PUBCOMP [MQTT5-4.9.0-2] */
    inflight_release(&inflight, entry);   /* a second PUBREC */
    finish(&inflight, id);
    assert_int_equal(inflight.window, 0);
    inflight_done(&inflight);
}

static void test_inflight_release_keeps_the_membership_for_its_credit(void **state)
{
    struct inflight inflight = { 0 };
    uint16_t id;
    struct membership *member = (struct membership *)(void *)&inflight; /* never followed */
    struct delivery delivery = {
        .message = message_ref(message), .qos = 2, .member = member, .flags = DELIVERY_SHARED
    };
    (void)state;
    struct inflight_entry *entry = inflight_add(&inflight, &delivery, &id);
    assert_non_null(entry);
    inflight_release(&inflight, entry);
    assert_ptr_equal(entry->delivery.member, member);
    assert_true(entry->delivery.flags & DELIVERY_SHARED);
    inflight_done(&inflight);
}

static void test_inflight_disconnected_frees_the_window_alone(void **state)
{
    struct inflight inflight = { 0 };
    (void)state;
    for (int i = 0; i < 3; i++) {
        uint16_t id = add(&inflight, 1);
        inflight_find(&inflight, id)->counts = true;
        inflight.window++;
    }
    inflight_disconnected(&inflight);
    assert_int_equal(inflight.window, 0);
    assert_int_equal(inflight.count, 3);
    finish(&inflight, 2);
    assert_int_equal(inflight.window, 0); /* it did not count any more */
    inflight_done(&inflight);
}

static void test_inflight_identifiers_wrap_at_65535(void **state) /* [MQTT5-2.2.1-4] */
{
    struct inflight inflight = { 0 };
    (void)state;
    for (uint32_t i = 0; i < 3 * IDENTIFIERS; i++) {
        uint16_t id = add(&inflight, 1);
        assert_int_equal(id, i % IDENTIFIERS + 1);
        assert_int_equal(inflight_id(inflight.next - 1), id);
        if (i >= 100) /* a hundred are always under way */
            finish(&inflight, inflight_id(inflight.base));
    }
    assert_int_equal(inflight.count, 100);
    assert_int_equal(inflight.room, 128);
    inflight_done(&inflight);
}

static void test_inflight_stuck_oldest_uses_all_identifiers_up(void **state)
{
    struct inflight inflight = { 0 };
    uint16_t id;
    (void)state;
    (void)add(&inflight, 1);
    for (uint32_t i = 1; i < IDENTIFIERS; i++)
        finish(&inflight, add(&inflight, 1));
    struct delivery delivery = { .message = message, .qos = 1 };
    assert_false(inflight_reserve(&inflight));
    assert_null(inflight_add(&inflight, &delivery, &id));
    assert_int_equal(inflight.room, 65536);
    assert_int_equal(inflight.count, 1);
    finish(&inflight, 1); /* it moves at last */
    assert_int_equal(inflight.base, IDENTIFIERS);
    assert_null(inflight.ring);
    assert_int_equal(add(&inflight, 2), 1);
    inflight_done(&inflight);
}

static void test_inflight_all_identifiers_at_once_are_distinct(void **state)
{
    struct inflight inflight = { 0 };
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) /* so that the base is not a multiple of anything */
        finish(&inflight, add(&inflight, 1));
    for (uint32_t i = 0; i < IDENTIFIERS; i++)
        (void)add(&inflight, 1);
    assert_false(inflight_reserve(&inflight));
    for (uint64_t place = inflight.base; place < inflight.next; place++)
        assert_ptr_equal(inflight_find(&inflight, inflight_id(place)),
                         inflight_at(&inflight, place));
    inflight_done(&inflight);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_message, check_message)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_inflight_ids_start_at_1_and_state_follows_qos),
        TEST(test_inflight_any_order_of_acknowledgement_moves_the_base),
        TEST(test_inflight_release_keeps_only_the_identifier),
        TEST(test_inflight_release_keeps_the_membership_for_its_credit),
        TEST(test_inflight_disconnected_frees_the_window_alone),
        TEST(test_inflight_identifiers_wrap_at_65535),
        TEST(test_inflight_stuck_oldest_uses_all_identifiers_up),
        TEST(test_inflight_all_identifiers_at_once_are_distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
