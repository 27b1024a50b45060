/* SPDX-License-Identifier: MIT */
/*
 * Is exactly what MQTT calls a string accepted? Every code point in every length of encoding, at
 * every place of the eight bytes that are looked at together.
 */
#include "tests/mqtt/bytes.h"
#include "tests/mqtt/topic_model.h"

/* `value` in `len` bytes, whether or not it should be spelled so. */
static struct span encode(uint8_t *out, uint32_t value, size_t len)
{
    static const uint8_t lead[] = { 0, 0, 0xC0, 0xE0, 0xF0 };

    for (size_t i = len; i-- > 1; value >>= 6)
        out[i] = (uint8_t)(0x80 | (value & 0x3F));
    out[0] = (uint8_t)(lead[len] | value);
    return span_of(out, len);
}

/* [MQTT5-1.5.4-1] [MQTT311-1.5.3-1] */
static void test_utf8_every_code_point_is_valid_only_in_its_shortest_form(void **state)
{
    static const uint32_t from[] = { 0, 1, 0x80, 0x800, 0x10000 };
    static const uint32_t to[] = { 0, 0x7F, 0x7FF, 0xFFFF, 0x10FFFF };
    static const uint32_t room[] = { 0, 0x7F, 0x7FF, 0xFFFF, 0x1FFFFF };
    uint8_t bytes[4];

    (void)state;
    for (size_t len = 1; len <= 4; len++) {
        for (uint32_t value = 0; value <= room[len]; value++) {
            const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
            const bool want = value >= from[len] && value <= to[len] && !surrogate;
            if (mqtt_utf8_valid(encode(bytes, value, len)) != want)
                fail_msg("U+%04X in %zu bytes: should be %d", (unsigned)value, len, want);
        }
    }
}

/* [MQTT5-1.5.4-2] [MQTT311-1.5.3-2] */
static void test_utf8_nul_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 24; len++) {
        for (size_t at = 0; at < len; at++) {
            uint8_t text[24];
            memset(text, 'x', sizeof text);
            assert_true(mqtt_utf8_valid(guarded(span_of(text, len))));
            text[at] = 0;
            assert_false(mqtt_utf8_valid(guarded(span_of(text, len))));
        }
    }
}

/* [MQTT5-1.5.4-3] [MQTT311-1.5.3-3] */
static void test_utf8_byte_order_mark_is_an_ordinary_character(void **state)
{
    (void)state;
    assert_true(mqtt_utf8_valid(hex("ef bb bf")));
    assert_true(mqtt_utf8_valid(hex("'a' ef bb bf 'b'")));
}

static void test_utf8_fragments_are_refused_at_every_offset(void **state)
{
    static const char *const bad[] = {
        "80",
        "bf",
        "c0 80",
        "c1 bf",
        "c2",
        "c2 41",
        "e0 80 80",
        "e0 9f bf",
        "e1 80",
        "e1 80 c0",
        "ed a0 80",
        "ed bf bf",
        "f0 80 80 80",
        "f0 8f bf bf",
        "f1 80 80",
        "f4 90 80 80",
        "f5 80 80 80",
        "f8 88 80 80",
        "fe",
        "ff",
        "f1 80 80 41",
        "e2 28 a1",
        "ed a0 80 ed b0 80",
    };

    (void)state;
    for (size_t row = 0; row < ROWS(bad); row++) {
        for (size_t before = 0; before <= 9; before++) {
            uint8_t text[32], piece[32];
            memset(text, 'x', sizeof text);
            const struct span bytes = hex_into(piece, bad[row]);
            memcpy(text + before, bytes.data, bytes.len);
            for (size_t after = 0; after <= 9; after += 3)
                if (mqtt_utf8_valid(guarded(span_of(text, before + bytes.len + after))))
                    fail_msg("%s at %zu was accepted", bad[row], before);
        }
    }
}

static void test_utf8_two_bytes_agree_with_the_model(void **state)
{
    (void)state;
    for (unsigned value = 0; value <= 0xFFFF; value++) {
        const uint8_t text[] = { (uint8_t)(value >> 8), (uint8_t)value };
        const struct span span = span_of(text, sizeof text);
        assert_int_equal(mqtt_utf8_valid(span), model_utf8_valid(span));
    }
}

static void test_utf8_empty_is_valid(void **state)
{
    (void)state;
    assert_true(mqtt_utf8_valid(span_of(NULL, 0)));
    assert_true(mqtt_utf8_valid(hex("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_every_code_point_is_valid_only_in_its_shortest_form),
        cmocka_unit_test(test_utf8_nul_is_refused_wherever_it_stands),
        cmocka_unit_test(test_utf8_byte_order_mark_is_an_ordinary_character),
        cmocka_unit_test(test_utf8_fragments_are_refused_at_every_offset),
        cmocka_unit_test(test_utf8_two_bytes_agree_with_the_model),
        cmocka_unit_test(test_utf8_empty_is_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
