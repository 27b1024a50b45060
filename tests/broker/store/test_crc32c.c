/* SPDX-License-Identifier: MIT */
/* The checksum: known values, and the same by instruction and by table. */
#include "broker/store/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_crc32c_of_known_bytes(void **state) /* RFC 3720, B.4 */
{
    uint8_t bytes[32] = { 0 };
    (void)state;
    assert_int_equal(crc32c(0, span_of(bytes, 32)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(0, span_of(bytes, 32)), 0x62a8ab43);
    assert_int_equal(crc32c(0, span_str("123456789")), 0xe3069283);
    assert_int_equal(crc32c(0, span_of(NULL, 0)), 0);
}

static void test_crc32c_by_table_is_the_same(void **state)
{
    uint8_t bytes[100];
    (void)state;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37);
    for (size_t from = 0; from < 9; from++)
        for (size_t len = 0; from + len <= sizeof bytes; len++) {
            struct span part = span_of(bytes + from, len);
            assert_int_equal(crc32c(1, part), crc32c_by_table(1, part));
        }
}

static void test_crc32c_in_parts_is_the_same(void **state)
{
    const char *text = "a store without a checksum returns what it likes";
    uint32_t whole = crc32c(0, span_str(text));
    (void)state;
    for (size_t at = 0; at <= strlen(text); at++)
        assert_int_equal(crc32c(crc32c(0, span_of(text, at)), span_str(text + at)), whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_of_known_bytes),
        cmocka_unit_test(test_crc32c_by_table_is_the_same),
        cmocka_unit_test(test_crc32c_in_parts_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
