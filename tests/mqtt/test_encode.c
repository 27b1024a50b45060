/* SPDX-License-Identifier: MIT */
/*
 * Do encoders write what the specification shows, no byte beyond their room, and what our own
 * decoders read back? A PUBLISH is compared whole with every way of sending it in pieces.
 */
#include "mqtt/encode.h"
#include "tests/mqtt/bytes.h"

static void test_writer_counts_on_but_never_writes_beyond_its_room(void **state)
{
    uint8_t want[64];

    (void)state;
    for (size_t room = 0; room <= 32; room++) {
        uint8_t out[64];
        memset(out, 0xEE, sizeof out);
        struct mqtt_writer w = { .out = out, .room = room };
        mqtt_put_u8(&w, 0x01);
        mqtt_put_u16(&w, 0x0203);
        mqtt_put_u32(&w, 0x04050607);
        mqtt_put_varint(&w, 300);
        mqtt_put_bytes(&w, span_of("abc", 3));
        mqtt_put_string(&w, span_str("de"));
        mqtt_put_bytes(&w, span_of(NULL, 0));
        const struct span expected = hex_into(want, "01 0203 04050607 ac02 'abc' 0002 'de'");
        assert_int_equal(w.len, expected.len);
        assert_int_equal(mqtt_writer_full(&w), room < expected.len);
        for (size_t i = room; i < sizeof out; i++)
            assert_int_equal(out[i], 0xEE);
        if (room >= expected.len)
            assert_memory_equal(out, expected.data, expected.len);
    }
}

/* [MQTT5-1.5.5-1] */
static void test_varint_is_as_short_as_can_be(void **state)
{
    static const struct {
        uint32_t value;
        const char *bytes;
    } rows[] = {
        { 0, "00" },
        { 127, "7f" },
        { 128, "8001" },
        { 16383, "ff7f" },
        { 16384, "808001" },
        { 2097151, "ffff7f" },
        { 2097152, "80808001" },
        { 268435455, "ffffff7f" },
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        uint8_t out[8];
        struct mqtt_writer w = { .out = out, .room = sizeof out };
        mqtt_put_varint(&w, rows[i].value);
        assert_span(span_of(out, w.len), rows[i].bytes);
        assert_int_equal(mqtt_varint_size(rows[i].value), w.len);
    }
}

static void test_writer_is_full_after_what_cannot_be_encoded(void **state)
{
    static uint8_t text[65536], out[70000];

    (void)state;
    memset(text, 'x', sizeof text);
    struct mqtt_writer w = { .out = out, .room = sizeof out };
    mqtt_put_string(&w, span_of(text, 65535));
    assert_false(mqtt_writer_full(&w));
    assert_int_equal(w.len, 65537);

    w = (struct mqtt_writer){ .out = out, .room = sizeof out };
    mqtt_put_string(&w, span_of(text, 65536));
    assert_true(mqtt_writer_full(&w));
    w = (struct mqtt_writer){ .out = out, .room = sizeof out };
    mqtt_put_varint(&w, MQTT_MAX_REMAINING + 1);
    assert_true(mqtt_writer_full(&w));
    w = (struct mqtt_writer){ .out = out, .room = sizeof out };
    mqtt_put_number_property(&w, MQTT_PROP_REASON_STRING, 1);
    assert_true(mqtt_writer_full(&w));
    w = (struct mqtt_writer){ .out = out, .room = sizeof out };
    mqtt_put_string_property(&w, MQTT_PROP_TOPIC_ALIAS, span_str("x"));
    assert_true(mqtt_writer_full(&w));
}

static void test_properties_written_are_read_back(void **state)
{
    uint8_t out[256];
    struct mqtt_writer w = { .out = out, .room = sizeof out };
    struct mqtt_properties p;

    (void)state;
    mqtt_put_number_property(&w, MQTT_PROP_SESSION_EXPIRY, 0xFFFFFFFE);
    mqtt_put_number_property(&w, MQTT_PROP_RECEIVE_MAXIMUM, 1000);
    mqtt_put_number_property(&w, MQTT_PROP_MAXIMUM_QOS, 1);
    mqtt_put_number_property(&w, MQTT_PROP_SERVER_KEEP_ALIVE, 90);
    mqtt_put_string_property(&w, MQTT_PROP_ASSIGNED_CLIENT_ID, span_str("auto-1"));
    mqtt_put_string_property(&w, MQTT_PROP_AUTH_DATA, span_of("\0\xFF", 2));
    assert_span(span_of(out, w.len),
                "11 fffffffe 21 03e8 24 01 13 005a 12 0006 'auto-1' 16 0002 00ff");
    assert_int_equal(mqtt_properties_decode(guarded(span_of(out, w.len)), MQTT_CONNACK, &p),
                     MQTT_SUCCESS);
    assert_int_equal(p.session_expiry, 0xFFFFFFFE);
    assert_int_equal(p.receive_maximum, 1000);

    w.len = 0;
    mqtt_put_number_property(&w, MQTT_PROP_SUBSCRIPTION_ID, 200);
    assert_span(span_of(out, w.len), "0b c801");
}

/* [MQTT5-3.6.1-1] [MQTT311-3.6.1-1] [MQTT5-2.2.1-5] */
static void test_ack(void **state)
{
    static const struct {
        enum mqtt_type type;
        uint8_t version;
        enum mqtt_reason reason;
        const char *bytes;
    } rows[] = {
        { MQTT_PUBACK, 4, MQTT_SUCCESS, "40 02 1234" },
        { MQTT_PUBREC, 5, MQTT_SUCCESS, "50 02 1234" },
        { MQTT_PUBREL, 3, MQTT_SUCCESS, "62 02 1234" },
        { MQTT_PUBREL, 5, MQTT_PACKET_IDENTIFIER_NOT_FOUND, "62 03 1234 92" },
        { MQTT_PUBCOMP, 5, MQTT_PACKET_IDENTIFIER_NOT_FOUND, "70 03 1234 92" },
        { MQTT_PUBACK, 5, MQTT_NO_MATCHING_SUBSCRIBERS, "40 03 1234 10" },
        { MQTT_PUBACK, 4, MQTT_NOT_AUTHORIZED, "40 02 1234" },
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        uint8_t out[8];
        const size_t len = mqtt_encode_ack(out, rows[i].type, rows[i].version, 0x1234,
                                           rows[i].reason);
        assert_span(span_of(out, len), rows[i].bytes);
    }
}

/* [MQTT5-2.2.2-1] */
static void test_packet(void **state)
{
    static const struct {
        uint8_t first, version;
        const char *variable, *properties, *payload, *bytes;
    } rows[] = {
        { 0x20, 4, "00 00", "", "", "20 02 0000" },
        { 0x20, 5, "00 00", "", "", "20 03 0000 00" },
        { 0x20, 5, "01 00", "24 01", "", "20 05 0100 02 24 01" },
        { 0x90, 4, "0001", "", "00 01 80", "90 05 0001 000180" },
        { 0x90, 5, "0001", "", "00", "90 04 0001 00 00" },
        { 0xd0, 4, "", "", "", "d0 00" },
        { 0xd0, 5, "", "", "", "d0 00" },
        { 0xc0, 5, "", "", "", "c0 00" },
        { 0xe0, 5, "8e", "", "", "e0 02 8e 00" },
        { 0xe0, 4, "", "11 22", "", "e0 00" },
    };
    uint8_t a[32], b[32], c[32], want[32], out[64];

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        const struct span variable = hex_into(a, rows[i].variable),
                          properties = hex_into(b, rows[i].properties);
        const struct span payload = hex_into(c, rows[i].payload),
                          expected = hex_into(want, rows[i].bytes);
        for (size_t room = 0; room <= expected.len; room++) {
            memset(out, 0xEE, sizeof out);
            const size_t size = mqtt_encode_packet(out, room, rows[i].first, rows[i].version,
                                                   variable, properties, payload);
            assert_int_equal(size, expected.len);
            if (room >= size)
                assert_memory_equal(out, expected.data, size);
            for (size_t at = room >= size ? size : 0; at < sizeof out; at++)
                assert_int_equal(out[at], 0xEE);
        }
    }
}

static void test_packet_beyond_the_protocol_is_sized_but_not_written(void **state)
{
    uint8_t out[16] = { 0xEE };
    const struct span none = { 0 }, huge = span_of(out, (size_t)MQTT_MAX_REMAINING + 1);

    (void)state;
    assert_true(mqtt_encode_packet(out, SIZE_MAX, 0x30, 4, none, none, huge) >
                (size_t)MQTT_MAX_REMAINING + 5);
    assert_int_equal(out[0], 0xEE);
}

/* ---- PUBLISH ---- */

static const uint32_t sub_ids[] = { 1, 127, 128, 268435455 };

struct publish_row {
    struct mqtt_delivery delivery;
    const char *topic, *forward, *payload, *bytes;
};

/* [MQTT5-3.3.2-1] [MQTT5-3.3.4-4] [MQTT311-3.3.2-1] */
static const struct publish_row publish_rows[] = {
    { { .version = 4 }, "'a/b'", "", "", "30 05 0003 'a/b'" },
    { { .version = 3 }, "'a'", "", "'x'", "30 04 0001 'a' 'x'" },
    { { .version = 4, .qos = 1, .id = 0x1234 }, "'a'", "", "'xy'", "32 07 0001 'a' 1234 'xy'" },
    { { .version = 4, .qos = 2, .id = 1, .dup = true, .retain = true },
      "'a'",
      "",
      "",
      "3d 05 0001 'a' 0001" },
    /* What MQTT 3 cannot say is left out. */
    { { .version = 4, .has_expiry = true, .expiry = 9, .sub_id_count = 1, .sub_ids = sub_ids },
      "'a'",
      "01 01",
      "'x'",
      "30 04 0001 'a' 'x'" },
    { { .version = 5 }, "'a'", "", "'x'", "30 05 0001 'a' 00 'x'" },
    { { .version = 5, .qos = 1, .id = 7, .has_expiry = true, .expiry = 0x01020304 },
      "'a'",
      "",
      "",
      "32 0b 0001 'a' 0007 05 02 01020304" },
    { { .version = 5, .alias = 0x0102 }, "'a'", "", "'x'", "30 08 0001 'a' 03 23 0102 'x'" },
    { { .version = 5, .alias = 2, .topic_is_known = true },
      "'a'",
      "",
      "'x'",
      "30 07 0000 03 23 0002 'x'" },
    { { .version = 5,
        .qos = 2,
        .id = 9,
        .alias = 1,
        .has_expiry = true,
        .expiry = 60,
        .sub_id_count = 4,
        .sub_ids = sub_ids },
      "'abc'",
      "01 01 03 0001 't'",
      "'payload'",
      "34 29 0003 'abc' 0009 1a 02 0000003c 23 0001 0b 01 0b 7f 0b 8001 0b ffffff7f 01 01 03 0001 "
      "'t' 'payload'" },
};

static struct mqtt_delivery delivery_of(const struct publish_row *row)
{
    static uint8_t topic[64], forward[64], payload[64];
    struct mqtt_delivery delivery = row->delivery;

    delivery.topic = hex_into(topic, row->topic);
    delivery.forward = hex_into(forward, row->forward);
    delivery.payload = hex_into(payload, row->payload);
    return delivery;
}

static void test_publish_whole(void **state)
{
    uint8_t want[128], out[128];

    (void)state;
    for (size_t i = 0; i < ROWS(publish_rows); i++) {
        const struct mqtt_delivery delivery = delivery_of(&publish_rows[i]);
        const struct span expected = hex_into(want, publish_rows[i].bytes);
        const size_t size = mqtt_publish_size(&delivery);
        memset(out, 0xEE, sizeof out);
        assert_int_equal(mqtt_encode_publish(&delivery, 0, out, sizeof out), size);
        assert_span(span_of(out, size), publish_rows[i].bytes);
        assert_int_equal(size, expected.len);
        assert_int_equal(out[size], 0xEE);
        struct mqtt_frame frame;
        assert_int_equal(mqtt_frame_parse(expected, &frame), MQTT_FRAME_WHOLE);
        assert_int_equal(frame.header_len + frame.body_len, size);
    }
}

static void test_publish_in_pieces_equals_the_whole(void **state)
{
    uint8_t want[128], out[128];

    (void)state;
    for (size_t i = 0; i < ROWS(publish_rows); i++) {
        const struct mqtt_delivery delivery = delivery_of(&publish_rows[i]);
        const size_t size = hex_into(want, publish_rows[i].bytes).len;
        for (size_t offset = 0; offset <= size + 1; offset++) {
            for (size_t room = 0; room <= size + 1; room++) {
                const size_t left = offset < size ? size - offset : 0;
                const size_t expected = room < left ? room : left;
                memset(out, 0xEE, sizeof out);
                assert_int_equal(mqtt_encode_publish(&delivery, offset, out, room), expected);
                if (expected > 0)
                    assert_memory_equal(out, want + offset, expected);
                assert_int_equal(out[expected], 0xEE);
            }
        }
    }
}

static void test_publish_stays_inside_a_room_that_just_fits(void **state)
{
    uint8_t filler[128] = { 0 };

    (void)state;
    for (size_t i = 0; i < ROWS(publish_rows); i++) {
        const struct mqtt_delivery delivery = delivery_of(&publish_rows[i]);
        const struct span room = guarded(span_of(filler, mqtt_publish_size(&delivery)));
        assert_int_equal(mqtt_encode_publish(&delivery, 0, (uint8_t *)room.data, room.len),
                         room.len);
        assert_span(room, publish_rows[i].bytes);
    }
}

/* Sizes around each growth of the remaining length, sent in steps of 1,000 bytes and read back. */
static void test_publish_of_every_length_class_is_read_back(void **state)
{
    enum { MOST = 2097152 + 100 };
    uint8_t *payload = malloc(MOST), *out = malloc(MOST + 64);

    (void)state;
    assert_non_null(payload);
    assert_non_null(out);
    for (size_t i = 0; i < MOST; i++)
        payload[i] = (uint8_t)(i * 7 + i / 256);
    for (unsigned class = 0; class < 3; class ++) {
        const size_t edge = (size_t)128 << (7 * class);
        for (size_t len = edge - 20; len < edge + 3; len++) {
            const struct mqtt_delivery delivery = { .version = 5,
                                                    .qos = 1,
                                                    .id = 77,
                                                    .has_expiry = true,
                                                    .expiry = 5,
                                                    .topic = span_str("a/b"),
                                                    .payload = span_of(payload, len) };
            struct mqtt_frame frame;
            struct mqtt_publish publish;
            size_t sent = 0;
            for (size_t step; (step = mqtt_encode_publish(&delivery, sent, out + sent, 1000)) > 0;)
                sent += step;
            assert_int_equal(sent, mqtt_publish_size(&delivery));
            assert_int_equal(mqtt_frame_parse(span_of(out, sent), &frame), MQTT_FRAME_WHOLE);
            assert_int_equal(frame.header_len + frame.body_len, sent);
            assert_int_equal(mqtt_decode_publish(frame.flags,
                                                 span_of(out + frame.header_len, frame.body_len),
                                                 MQTT_V5, &publish),
                             MQTT_SUCCESS);
            assert_int_equal(publish.id, 77);
            assert_true(span_equal(publish.payload, delivery.payload));
        }
    }
    free(payload);
    free(out);
}

static void test_publish_beyond_the_protocol_is_sized_but_not_written(void **state)
{
    uint8_t out[16] = { 0xEE };
    struct mqtt_delivery delivery = { .version = 4, .topic = span_str("a") };

    (void)state;
    delivery.payload = span_of(out, (size_t)MQTT_MAX_REMAINING - 3);
    assert_true(mqtt_publish_size(&delivery) == (size_t)MQTT_MAX_REMAINING + 5);
    delivery.payload.len++;
    assert_true(mqtt_publish_size(&delivery) > (size_t)MQTT_MAX_REMAINING + 5);
    assert_int_equal(mqtt_encode_publish(&delivery, 0, out, sizeof out), 0);
    assert_int_equal(out[0], 0xEE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writer_counts_on_but_never_writes_beyond_its_room),
        cmocka_unit_test(test_varint_is_as_short_as_can_be),
        cmocka_unit_test(test_writer_is_full_after_what_cannot_be_encoded),
        cmocka_unit_test(test_properties_written_are_read_back),
        cmocka_unit_test(test_ack),
        cmocka_unit_test(test_packet),
        cmocka_unit_test(test_packet_beyond_the_protocol_is_sized_but_not_written),
        cmocka_unit_test(test_publish_whole),
        cmocka_unit_test(test_publish_in_pieces_equals_the_whole),
        cmocka_unit_test(test_publish_stays_inside_a_room_that_just_fits),
        cmocka_unit_test(test_publish_of_every_length_class_is_read_back),
        cmocka_unit_test(test_publish_beyond_the_protocol_is_sized_but_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
