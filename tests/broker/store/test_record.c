/* SPDX-License-Identifier: MIT */
/* What is kept of messages, sessions and subscriptions: written and read again it is the same; cut
 * off, lengthened or changed at any place it is refused or still within its bounds. */
#include "broker/message.h"
#include "broker/store/record.h"
#include "mqtt/topic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SPAN(text) span_of(text, sizeof(text) - 1)

/* With content type and a user property; expires at 4,711. */
static struct message *a_message(void)
{
    struct mqtt_publish publish = { .qos = 2, .retain = true, .payload = SPAN("21.5\0C") };
    publish.raw_properties = SPAN("\x03\0\1t\x26\0\1k\0\1v");
    struct message *message = message_new(&publish, SPAN("house/temp"), 0);
    assert_non_null(message);
    message->expires = 4711;
    return message;
}

static uint8_t *encode(const struct message *message, size_t *ret_len)
{
    *ret_len = message_record_size(message);
    uint8_t *bytes = malloc(*ret_len); /* exactly: a write past its end is seen */
    assert_non_null(bytes);
    message_record_encode(message, bytes);
    return bytes;
}

static void assert_same(const struct message *a, const struct message *b)
{
    assert_true(span_equal(message_topic(a), message_topic(b)));
    assert_true(span_equal(message_forward(a), message_forward(b)));
    assert_true(span_equal(message_payload(a), message_payload(b)));
    assert_int_equal(a->expires, b->expires);
    assert_int_equal(a->qos, b->qos);
    assert_int_equal(a->retain, b->retain);
}

/* A copy in a block of exactly this length. */
static uint8_t *cut(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    return copy;
}

static void test_message_record_keeps_all(void **state)
{
    size_t len;
    (void)state;
    struct message *message = a_message();
    uint8_t *bytes = encode(message, &len);
    struct message *again = message_record_decode(span_of(bytes, len));
    assert_non_null(again);
    assert_same(message, again);
    assert_null(again->stored);
    message_unref(again);
    message_unref(message);
    free(bytes);
}

static void test_message_record_of_another_length_is_refused(void **state)
{
    size_t len;
    (void)state;
    struct message *message = a_message();
    uint8_t *bytes = encode(message, &len);
    for (size_t i = 0; i < len; i++) {
        uint8_t *part = cut(bytes, i);
        errno = 0;
        assert_null(message_record_decode(span_of(part, i)));
        assert_int_equal(errno, EBADMSG);
        free(part);
    }
    uint8_t *longer = malloc(len + 1);
    assert_non_null(longer);
    memcpy(longer, bytes, len);
    longer[len] = 0;
    assert_null(message_record_decode(span_of(longer, len + 1)));
    free(longer);
    message_unref(message);
    free(bytes);
}

static void test_message_record_with_what_no_message_has_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
        const char *why;
    } changes[] = {
        { 0, 2, "a version that is not known" },
        { 1, 3, "QoS 3" },
        { 1, 8, "a flag that is not known" },
        { 3, 0, "an empty topic, and what follows moves" },
        { 20, '+', "a wildcard in the topic" },
        { 21, 0, "U+0000 in the topic" },
        { 22, 0xff, "no UTF-8" },
        { 30, 0x02, "a property that does not travel" },
    };
    size_t len;
    (void)state;
    struct message *message = a_message();
    uint8_t *bytes = encode(message, &len);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        uint8_t old = bytes[changes[i].at];
        bytes[changes[i].at] = changes[i].value;
        if (message_record_decode(span_of(bytes, len)))
            fail_msg("accepted: %s", changes[i].why);
        bytes[changes[i].at] = old;
    }
    message_unref(message);
    free(bytes);
}

static struct session_record a_session(struct message *will)
{
    return (struct session_record){ .client_id = SPAN("meter/7"),
                                    .owned = true,
                                    .named = true,
                                    .user = SPAN("ann"),
                                    .port = 8883,
                                    .restricted = true,
                                    .topics = SPAN("\1\0\3a/#\2\0\2%u"),
                                    .epoch = UINT64_C(0x0102030405060708),
                                    .expiry = UINT32_MAX,
                                    .connected = true,
                                    .ends_at = UINT64_MAX,
                                    .will = will,
                                    .will_delay = 30,
                                    .will_at = 1234567890123 };
}

static void test_session_record_keeps_all(void **state)
{
    size_t len;
    (void)state;
    struct message *will = a_message();
    struct session_record record = a_session(will), again;
    uint8_t *bytes = session_record_encode(&record, &len);
    assert_non_null(bytes);
    assert_int_equal(session_record_decode(span_of(bytes, len), &again), 0);
    assert_true(span_equal(again.client_id, record.client_id));
    assert_true(again.owned && again.named && again.port == 8883);
    assert_true(span_equal(again.user, record.user));
    assert_true(again.restricted && span_equal(again.topics, record.topics));
    assert_true(again.epoch == record.epoch && again.ends_at == record.ends_at);
    assert_int_equal(again.expiry, record.expiry);
    assert_true(again.connected);
    assert_int_equal(again.will_delay, 30);
    assert_true(again.will_at == record.will_at);
    assert_same(again.will, will);
    message_unref(again.will);
    message_unref(will);
    free(bytes);
}

static void test_session_record_without_a_will_has_none(void **state)
{
    size_t len;
    (void)state;
    struct session_record record = a_session(NULL), again;
    record.connected = record.owned = false;
    record.user = record.topics = (struct span){ 0 };
    uint8_t *bytes = session_record_encode(&record, &len);
    assert_non_null(bytes);
    assert_int_equal(session_record_decode(span_of(bytes, len), &again), 0);
    assert_null(again.will);
    assert_false(again.connected || again.owned || again.named || again.restricted);
    free(bytes);
}

static void test_session_record_of_another_length_is_refused(void **state)
{
    (void)state;
    struct message *will = a_message();
    for (int with = 0; with < 2; with++) {
        struct session_record record = a_session(with ? will : NULL), again;
        size_t len;
        uint8_t *bytes = session_record_encode(&record, &len);
        assert_non_null(bytes);
        for (size_t i = 0; i < len; i++) {
            uint8_t *part = cut(bytes, i);
            assert_int_equal(session_record_decode(span_of(part, i), &again), -EBADMSG);
            free(part);
        }
        uint8_t *longer = malloc(len + 1);
        assert_non_null(longer);
        memcpy(longer, bytes, len);
        longer[len] = 0;
        assert_int_equal(session_record_decode(span_of(longer, len + 1), &again), -EBADMSG);
        free(longer);
        free(bytes);
    }
    message_unref(will);
}

static void test_session_record_without_a_client_id_is_refused(void **state)
{
    size_t len;
    (void)state;
    struct session_record record = a_session(NULL), again;
    record.client_id = SPAN("");
    uint8_t *bytes = session_record_encode(&record, &len);
    assert_non_null(bytes);
    assert_int_equal(session_record_decode(span_of(bytes, len), &again), -EBADMSG);
    free(bytes);
}

static void test_session_record_with_topics_that_are_no_rules_is_refused(void **state)
{
    const struct span bad[] = {
        SPAN("\0\0\1a"),            /* nothing may be done */
        SPAN("\4\0\1a"),            /* more than read and write */
        SPAN("\1\0\2a"),            /* cut */
        SPAN("\1\0\1a\1"),          /* something behind */
        SPAN("\1\0\0"),             /* no filter */
        SPAN("\1\0\3a#b"),          /* none that is valid */
        SPAN("\1\0\x0a$share/g/a"), /* of a group */
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct session_record record = a_session(NULL), again;
        size_t len;
        record.topics = bad[i];
        uint8_t *bytes = session_record_encode(&record, &len);
        assert_non_null(bytes);
        if (session_record_decode(span_of(bytes, len), &again) != -EBADMSG)
            fail_msg("row %zu is accepted", i);
        free(bytes);
    }
}

static void test_session_record_with_no_topic_at_all_stays_restricted(void **state)
{
    struct session_record record = a_session(NULL), again;
    size_t len;
    (void)state;
    record.topics = SPAN("");
    uint8_t *bytes = session_record_encode(&record, &len);
    assert_non_null(bytes);
    assert_int_equal(session_record_decode(span_of(bytes, len), &again), 0);
    assert_true(again.restricted && again.topics.len == 0);
    free(bytes);
}

static void test_subscription_record_keeps_all(void **state)
{
    struct subscription_record record = { .filter = SPAN("$share/g/a/+/#"),
                                          .sub_id = 268435455,
                                          .options = 0x2e };
    struct subscription_record again;
    size_t len;
    (void)state;
    uint8_t *bytes = subscription_record_encode(&record, &len);
    assert_non_null(bytes);
    assert_int_equal(subscription_record_decode(span_of(bytes, len), &again), 0);
    assert_true(span_equal(again.filter, record.filter));
    assert_int_equal(again.sub_id, record.sub_id);
    assert_int_equal(again.options, record.options);
    free(bytes);
}

static void test_subscription_record_with_a_bad_part_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        { "", 0 },
        { "\1\0\0\0\0", 5 },           /* cut in the identifier */
        { "\1\0\0\0\0\0", 6 },         /* no filter */
        { "\2\0\0\0\0\0a", 7 },        /* a version that is not known */
        { "\1\3\0\0\0\0a", 7 },        /* QoS 3 */
        { "\1\x30\0\0\0\0a", 7 },      /* retain handling 3 */
        { "\1\x40\0\0\0\0a", 7 },      /* an option that is not known */
        { "\1\0\x10\0\0\0a", 7 },      /* an identifier that is too large */
        { "\1\0\0\0\0\0a#", 8 },       /* '#' is not alone */
        { "\1\0\0\0\0\0a\xc0\x80", 9 } /* no UTF-8 */
    };
    struct subscription_record again;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t *bytes = cut((const uint8_t *)bad[i].bytes, bad[i].len);
        assert_int_equal(subscription_record_decode(span_of(bytes, bad[i].len), &again), -EBADMSG);
        free(bytes);
    }
}

/* Any single bit: what is still accepted is a message that could have been published. */
static void test_records_with_a_flipped_bit_stay_within_their_bounds(void **state)
{
    size_t len;
    (void)state;
    struct message *will = a_message();
    struct session_record record = a_session(will), again;
    uint8_t *bytes = session_record_encode(&record, &len);
    assert_non_null(bytes);
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (session_record_decode(span_of(bytes, len), &again) == 0) {
            if (again.will)
                assert_true(mqtt_topic_name_valid(message_topic(again.will)));
            message_unref(again.will);
        }
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    message_unref(will);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_record_keeps_all),
        cmocka_unit_test(test_message_record_of_another_length_is_refused),
        cmocka_unit_test(test_message_record_with_what_no_message_has_is_refused),
        cmocka_unit_test(test_session_record_keeps_all),
        cmocka_unit_test(test_session_record_without_a_will_has_none),
        cmocka_unit_test(test_session_record_with_topics_that_are_no_rules_is_refused),
        cmocka_unit_test(test_session_record_with_no_topic_at_all_stays_restricted),
        cmocka_unit_test(test_session_record_of_another_length_is_refused),
        cmocka_unit_test(test_session_record_without_a_client_id_is_refused),
        cmocka_unit_test(test_subscription_record_keeps_all),
        cmocka_unit_test(test_subscription_record_with_a_bad_part_is_refused),
        cmocka_unit_test(test_records_with_a_flipped_bit_stay_within_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
