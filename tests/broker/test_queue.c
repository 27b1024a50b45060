/* SPDX-License-Identifier: MIT */
/* The queue of deliveries: order at both ends, growth with the head anywhere, what it counts,
 * and that it owns its messages. */
#include "broker/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct delivery delivery_of(struct message *message, uint8_t qos, uint32_t mark)
{
    return (struct delivery){ .message = message_ref(message), .qos = qos, .sub_id = mark };
}

static void push(struct queue *queue, struct message *message, uint8_t qos, uint32_t mark)
{
    struct delivery delivery = delivery_of(message, qos, mark);
    assert_true(queue_push(queue, &delivery));
}

static uint32_t pop(struct queue *queue)
{
    struct delivery delivery = { 0 };
    assert_true(queue_pop(queue, &delivery));
    uint32_t mark = delivery.sub_id;
    delivery_unref(&delivery);
    return mark;
}

static unsigned refs(struct message *message)
{
    return atomic_load(&message->refs);
}

static void test_queue_empty_has_no_ring(void **state)
{
    struct queue queue = { 0 };
    struct delivery delivery;
    struct message *message = message_from_text("t", "x", false);
    (void)state;
    assert_false(queue_pop(&queue, &delivery));
    assert_null(queue_first(&queue));
    assert_null(queue.ring);
    push(&queue, message, 0, 1);
    assert_non_null(queue.ring);
    assert_int_equal(pop(&queue), 1);
    assert_null(queue.ring);
    message_unref(message);
}

static void test_queue_keeps_order_while_it_grows_from_any_head(void **state)
{
    struct message *message = message_from_text("t", "x", false);
    (void)state;
    for (uint32_t head = 0; head < 8; head++) {
        struct queue queue = { 0 };
        uint32_t in = 0, out = 0;
        push(&queue, message, 1, in++);
        for (uint32_t i = 0; i < head; i++) { /* never empty, so the head wanders */
            push(&queue, message, 1, in++);
            assert_int_equal(pop(&queue), out++);
        }
        while (in < 1000)
            push(&queue, message, 1, in++);
        while (out < in)
            assert_int_equal(pop(&queue), out++);
        assert_int_equal(queue.count, 0);
    }
    assert_int_equal(refs(message), 1);
    message_unref(message);
}

static void test_queue_push_front_comes_first(void **state)
{
    struct message *message = message_from_text("t", "x", false);
    struct queue queue = { 0 };
    (void)state;
    for (uint32_t i = 10; i < 15; i++)
        push(&queue, message, 1, i);
    for (uint32_t i = 10; i-- > 0;) { /* grows on the way */
        struct delivery delivery = delivery_of(message, 1, i);
        assert_true(queue_push_front(&queue, &delivery));
    }
    assert_int_equal(queue_first(&queue)->sub_id, 0);
    for (uint32_t i = 0; i < 15; i++)
        assert_int_equal(pop(&queue), i);
    message_unref(message);
}

static void test_queue_counts_bytes_and_qos0(void **state)
{
    struct message *small = message_from_text("t", "x", false);           /* 2 bytes */
    struct message *large = message_from_text("topic", "payload", false); /* 12 bytes */
    struct queue queue = { 0 };
    struct delivery delivery = delivery_of(large, 0, 0);
    (void)state;
    push(&queue, small, 1, 0);
    push(&queue, small, 0, 0);
    assert_true(queue_push_front(&queue, &delivery));
    assert_int_equal(queue.bytes, 16);
    assert_int_equal(queue.qos0_count, 2);
    (void)pop(&queue);
    assert_int_equal(queue.bytes, 4);
    assert_int_equal(queue.qos0_count, 1);
    (void)pop(&queue);
    assert_int_equal(queue.qos0_count, 1);
    (void)pop(&queue);
    assert_int_equal(queue.bytes, 0);
    assert_int_equal(queue.qos0_count, 0);
    message_unref(small);
    message_unref(large);
}

static void test_queue_drop_is_bounded_and_lets_the_messages_go(void **state)
{
    struct message *message = message_from_text("t", "x", false);
    struct queue queue = { 0 };
    (void)state;
    for (uint32_t i = 0; i < 10; i++)
        push(&queue, message, 1, i);
    assert_int_equal(queue_drop(&queue, 4), 4);
    assert_int_equal(queue_first(&queue)->sub_id, 4);
    assert_int_equal(refs(message), 7);
    assert_int_equal(queue_drop(&queue, 100), 6);
    push(&queue, message, 1, 0);
    queue_done(&queue);
    assert_null(queue.ring);
    assert_int_equal(refs(message), 1);
    message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_empty_has_no_ring),
        cmocka_unit_test(test_queue_keeps_order_while_it_grows_from_any_head),
        cmocka_unit_test(test_queue_push_front_comes_first),
        cmocka_unit_test(test_queue_counts_bytes_and_qos0),
        cmocka_unit_test(test_queue_drop_is_bounded_and_lets_the_messages_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
