/* SPDX-License-Identifier: MIT */
/* The tail of a queue: order, counts, and what is given back. */
#include "broker/tail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct delivery delivery_of(const char *payload, uint8_t qos)
{
    struct message *message = message_from_text("t", payload, false);
    return (struct delivery){ .message = message, .qos = qos };
}

static void push_held(struct tail *tail, const char *payload, uint8_t qos)
{
    struct delivery delivery = delivery_of(payload, qos);
    assert_true(tail_push_held(tail, &delivery));
}

static void expect_held(struct tail *tail, const char *payload)
{
    struct delivery delivery;
    assert_int_equal(tail_at(tail, 0), 0);
    assert_int_equal(tail_pop(tail, &delivery), 0);
    assert_memory_equal(message_payload(delivery.message).data, payload, strlen(payload));
    delivery_unref(&delivery);
}

static void expect_sequence(struct tail *tail, uint64_t sequence, uint32_t size)
{
    struct delivery delivery;
    assert_int_equal(tail_at(tail, 0), sequence);
    assert_int_equal(tail_pop(tail, &delivery), sequence);
    tail_weigh_off(tail, size);
}

static void test_tail_keeps_the_order_of_numbers_and_deliveries(void **state)
{
    struct tail tail = { .count = 0 };
    (void)state;
    assert_true(tail_push(&tail, 7, 100));
    push_held(&tail, "one", 1);
    assert_true(tail_push(&tail, UINT64_MAX / 2, 50));
    push_held(&tail, "none", 0);
    assert_true(tail_push(&tail, 9, 30));
    assert_int_equal(tail.count, 5);
    assert_int_equal(tail.qos0_count, 1);
    assert_int_equal(tail.held_count, 2);
    assert_int_equal(tail.bytes, 100 + 4 + 50 + 5 + 30);
    assert_int_equal(tail_average(&tail), 60);
    assert_int_equal(tail_at(&tail, 2), UINT64_MAX / 2);
    expect_sequence(&tail, 7, 100);
    expect_held(&tail, "one");
    tail_drop_qos0(&tail);
    assert_int_equal(tail.count, 2);
    assert_int_equal(tail.held_bytes, 0);
    expect_sequence(&tail, UINT64_MAX / 2, 50);
    expect_sequence(&tail, 9, 30);
    assert_int_equal(tail.bytes, 0);
    assert_null(tail.ring);
}

static void test_tail_wraps_around_grows_a_little_and_shrinks(void **state)
{
    struct tail tail = { .count = 0 };
    uint64_t in = 1, out = 1;
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 1000; i++)
            assert_true(tail_push(&tail, in++, 1));
        assert_true(tail.room < tail.count + tail.count / 3 + 16);
        for (unsigned i = 0; i < 700; i++)
            expect_sequence(&tail, out++, 1);
    }
    for (uint32_t i = 0; i < tail.count; i++)
        assert_int_equal(tail_at(&tail, i), out + i);
    while (tail.count > 100)
        expect_sequence(&tail, out++, 1);
    assert_true(tail.room <= 512);
    assert_int_equal(tail.bytes, 100);
    push_held(&tail, "last", 1);
    tail_done(&tail);
    assert_null(tail.ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tail_keeps_the_order_of_numbers_and_deliveries),
        cmocka_unit_test(test_tail_wraps_around_grows_a_little_and_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
