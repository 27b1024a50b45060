/* SPDX-License-Identifier: MIT */
/* Messages and deliveries: what a message keeps of a packet, and who holds what. */
#include "broker/delivery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SPAN(text) span_of(text, sizeof(text) - 1)

static void test_message_from_publish_keeps_what_is_forwarded(void **state) /* [MQTT5-3.3.2-17] */
{
    /* topic "a/b", QoS 1; properties: expiry 7 s, user property k=v, topic alias 5 */
    struct span body = SPAN("\0\3a/b\0\1"
                            "\x0f\x02\0\0\0\7\x26\0\1k\0\1v\x23\0\5"
                            "payload");
    struct mqtt_publish publish;
    (void)state;
    assert_int_equal(mqtt_decode_publish(0x3, body, MQTT_V5, &publish), MQTT_SUCCESS);
    struct message *message = message_new(&publish, publish.topic, 1000);
    assert_non_null(message);
    assert_true(span_equal(message_topic(message), SPAN("a/b")));
    assert_true(span_equal(message_forward(message), SPAN("\x26\0\1k\0\1v")));
    assert_true(span_equal(message_payload(message), SPAN("payload")));
    assert_int_equal(message_size(message), 3 + 7 + 7);
    assert_int_equal(message->qos, 1);
    assert_true(message->retain);
    assert_int_equal(message->expires, 8000);
    assert_false(message_expired(message, 7999));
    assert_true(message_expired(message, 8000)); /* [MQTT5-3.3.2-5] */
    message_unref(message);
}

static void test_message_frame_is_the_publish_of_version_3(void **state)
{
    struct mqtt_publish publish;
    (void)state;
    assert_int_equal(mqtt_decode_publish(0x3, SPAN("\0\1t\0\7\5\x26\0\0\0\0hi"), MQTT_V5, &publish),
                     MQTT_SUCCESS);
    struct message *message = message_new(&publish, publish.topic, 0);
    assert_non_null(message);
    /* the identifier is each delivery's own */
    assert_true(span_equal(message_frame(message), SPAN("\x32\7\0\1t\0\0hi")));
    assert_true(span_equal(message_forward(message), SPAN("\x26\0\0\0\0")));
    message_unref(message);
}

static void test_message_frame_has_a_length_of_several_bytes(void **state)
{
    static const uint8_t payload[200000];
    const struct mqtt_publish publish = { .payload = span_of(payload, sizeof payload) };
    (void)state;
    struct message *message = message_new(&publish, SPAN("long"), 0);
    assert_non_null(message);
    struct span frame = message_frame(message);
    assert_int_equal(frame.len, 4 + 2 + 4 + sizeof payload);
    assert_memory_equal(frame.data, "\x30\xC6\x9A\x0C\0\4long", 10);
    assert_int_equal(message_payload(message).len, sizeof payload);
    message_unref(message);
}

/* A topic that an alias stands for, and the largest packet: nobody could be sent that. */
static void test_message_larger_than_any_packet_is_not_made(void **state)
{
    const struct mqtt_publish publish = { .payload = span_of("", MQTT_MAX_REMAINING - 4) };
    (void)state;
    assert_null(message_new(&publish, SPAN("topic"), 0));
}

static void test_message_topic_comes_from_the_alias(void **state)
{
    struct mqtt_publish publish;
    (void)state;
    assert_int_equal(mqtt_decode_publish(0, SPAN("\0\0\3\x23\0\5x"), MQTT_V5, &publish),
                     MQTT_SUCCESS);
    struct message *message = message_new(&publish, SPAN("long/topic"), 0);
    assert_non_null(message);
    assert_true(span_equal(message_topic(message), SPAN("long/topic")));
    assert_true(span_equal(message_payload(message), SPAN("x")));
    assert_int_equal(message->forward_len, 0);
    assert_int_equal(message->expires, 0);
    assert_false(message_expired(message, UINT64_MAX));
    message_unref(message);
}

static void test_message_with_expiry_0_expires_at_once(void **state)
{
    struct mqtt_publish publish;
    (void)state;
    assert_int_equal(mqtt_decode_publish(0, SPAN("\0\1a\5\2\0\0\0\0"), MQTT_V5, &publish),
                     MQTT_SUCCESS);
    struct message *message = message_new(&publish, publish.topic, 5000);
    assert_non_null(message);
    assert_int_equal(message->payload_len, 0);
    assert_true(message_expired(message, 5000));
    message_unref(message);
}

static void test_message_from_will_keeps_expiry_as_a_duration(void **state)
{
    struct mqtt_will will = { .qos = 2,
                              .retain = true,
                              .topic = SPAN("w"),
                              .payload = SPAN("gone"),
                              .raw_properties = SPAN("\x18\0\0\0\x09\2\0\0\0\x03\1\1") };
    (void)state;
    assert_int_equal(
        mqtt_properties_decode(will.raw_properties, MQTT_PROPERTIES_OF_WILL, &will.props),
        MQTT_SUCCESS);
    struct message *message = message_from_will(&will);
    assert_non_null(message);
    assert_true(span_equal(message_topic(message), SPAN("w")));
    assert_true(span_equal(message_forward(message), SPAN("\1\1"))); /* payload format alone */
    assert_true(span_equal(message_payload(message), SPAN("gone")));
    assert_int_equal(message->qos, 2);
    assert_true(message->retain);
    assert_int_equal(message->expires, 3000);
    message_unref(message);
}

static void test_message_lives_until_its_last_reference(void **state)
{
    struct message *message = message_from_text("t", "text", false);
    (void)state;
    assert_ptr_equal(message_ref(message), message);
    message_unref(message);
    assert_true(span_equal(message_payload(message), SPAN("text")));
    message_unref(message);
    message_unref(NULL);
}

static void test_delivery_ref_holds_message_and_identifiers(void **state)
{
    const uint32_t ids[] = { 1, 268435455 };
    struct message *message = message_from_text("t", "text", false);
    struct delivery first = { .message = message,
                              .ids = sub_ids_new(ids, 2),
                              .flags = DELIVERY_MANY_IDS };
    (void)state;
    assert_non_null(first.ids);
    struct delivery second = delivery_ref(&first);
    struct sub_ids *kept = sub_ids_ref(first.ids);
    assert_int_equal(atomic_load(&message->refs), 2);
    assert_int_equal(atomic_load(&kept->refs), 3);
    delivery_unref(&first);
    assert_null(first.message);
    delivery_unref(&first); /* nothing is left that could be given back twice */
    assert_int_equal(second.ids->count, 2);
    assert_int_equal(second.ids->ids[1], 268435455);
    delivery_unref(&second);
    assert_int_equal(atomic_load(&kept->refs), 1);
    sub_ids_unref(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_from_publish_keeps_what_is_forwarded),
        cmocka_unit_test(test_message_frame_is_the_publish_of_version_3),
        cmocka_unit_test(test_message_frame_has_a_length_of_several_bytes),
        cmocka_unit_test(test_message_larger_than_any_packet_is_not_made),
        cmocka_unit_test(test_message_topic_comes_from_the_alias),
        cmocka_unit_test(test_message_with_expiry_0_expires_at_once),
        cmocka_unit_test(test_message_from_will_keeps_expiry_as_a_duration),
        cmocka_unit_test(test_message_lives_until_its_last_reference),
        cmocka_unit_test(test_delivery_ref_holds_message_and_identifiers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
