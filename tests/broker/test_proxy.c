/* SPDX-License-Identifier: MIT */
/* The header of the PROXY protocol: each version, cut off at every byte, and what it must not be. */
#include "broker/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BOTH = PROXY_V1 | PROXY_V2 };

#define SIGNATURE   "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(text) span_of(text, sizeof(text) - 1)

/* Every beginning of it asks for more; with more behind it, it ends where it ends. */
static struct proxy_header parse(struct span bytes, unsigned versions)
{
    struct proxy_header header = { 0 };
    uint8_t *longer = malloc(bytes.len + 5);
    assert_non_null(longer);
    for (size_t len = 0; len < bytes.len; len++) {
        uint8_t *cut = malloc(len ? len : 1); /* exactly: a read past its end is seen */
        assert_non_null(cut);
        memcpy(cut, bytes.data, len);
        assert_int_equal(proxy_parse(span_of(cut, len), versions, &header), PROXY_MORE);
        free(cut);
    }
    memcpy(longer, bytes.data, bytes.len);
    memcpy(longer + bytes.len, "\x10xyz\n", 5);
    assert_int_equal(proxy_parse(span_of(longer, bytes.len + 5), versions, &header), PROXY_DONE);
    assert_int_equal(header.len, bytes.len);
    free(longer);
    return header;
}

static void assert_from(const struct proxy_header *header, const char *address, uint16_t port)
{
    struct address expected;
    assert_true(address_parse(span_str(address), &expected));
    assert_true(header->known);
    assert_memory_equal(header->from.bytes, expected.bytes, sizeof expected.bytes);
    assert_int_equal(header->port, port);
}

static void test_version_1_says_whom_it_speaks_for(void **state)
{
    (void)state;
    struct proxy_header header = parse(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 51234 1883\r\n"),
                                       BOTH);
    assert_from(&header, "192.0.2.1", 51234);
    header = parse(BYTES("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"), PROXY_V1);
    assert_from(&header, "2001:db8::1", 65535);
    assert_false(parse(BYTES("PROXY UNKNOWN\r\n"), BOTH).known);
    assert_false(parse(BYTES("PROXY UNKNOWN whatever it is\r\n"), BOTH).known);
}

static void test_version_2_says_whom_it_speaks_for(void **state)
{
    (void)state;
    struct proxy_header header = parse(
        BYTES(SIGNATURE "\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\2\xc8\x22\7\x5b"), BOTH);
    assert_from(&header, "192.0.2.1", 51234);
    header = parse(BYTES(SIGNATURE "\x21\x21\0\x29\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                                   "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\xc8\x22\7\x5b"
                                   "\4\0\2xy"),
                   PROXY_V2);
    assert_from(&header, "2001:db8::1", 51234);
    assert_false(parse(BYTES(SIGNATURE "\x20\0\0\0"), BOTH).known);      /* itself */
    assert_false(parse(BYTES(SIGNATURE "\x20\x11\0\x01?"), BOTH).known); /* whatever follows */
    assert_false(parse(BYTES(SIGNATURE "\x21\0\0\3abc"), BOTH).known);
    assert_false(parse(BYTES(SIGNATURE "\x21\x12\0\3abc"), BOTH).known); /* UDP */
}

static void bad(struct span bytes, unsigned versions)
{
    struct proxy_header header;
    assert_int_equal(proxy_parse(bytes, versions, &header), PROXY_BAD);
}

static void test_what_is_no_header_is_refused_at_once(void **state)
{
    (void)state;
    bad(BYTES("\x10"), BOTH);
    bad(BYTES("GET / HTTP/1.1"), BOTH);
    bad(BYTES("PROXX"), BOTH);
    bad(BYTES("P"), PROXY_V2);
    bad(BYTES("\r"), PROXY_V1);
    bad(BYTES("\r\n\r\n\0\r\nQUIX"), BOTH);
    bad(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 51234 1883\n"), BOTH);
    bad(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 51234 65536\r\n"), BOTH);
    bad(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 51234 1883 \r\n"), BOTH);
    bad(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 51234\r\n"), BOTH);
    bad(BYTES("PROXY TCP4  192.0.2.1 198.51.100.2 51234 1\r\n"), BOTH);
    bad(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 051 1\r\n"), BOTH);
    bad(BYTES("PROXY TCP4 2001:db8::1 ::1 51234 1883\r\n"), BOTH);
    bad(BYTES("PROXY TCP6 192.0.2.1 198.51.100.2 51234 1883\r\n"), BOTH);
    bad(BYTES("PROXY TCP4 192.0.2.256 198.51.100.2 51234 1883\r\n"), BOTH);
    bad(BYTES("PROXY UDP4 192.0.2.1 198.51.100.2 51234 1883\r\n"), BOTH);
    bad(BYTES("PROXY \r\n"), BOTH);
    bad(BYTES("PROXY \n"), BOTH);
    bad(BYTES(SIGNATURE "\x11"), BOTH);
    bad(BYTES(SIGNATURE "\x22"), BOTH);
    bad(BYTES(SIGNATURE "\x21\x11\0\x0b\xc0\0\2\1\xc6\x33\x64\2\xc8\x22\7"), BOTH);
}

static void test_a_header_is_not_waited_for_without_end(void **state)
{
    char line[200];
    (void)state;
    memset(line, 'x', sizeof line);
    memcpy(line, "PROXY UNKNOWN ", 14);
    struct proxy_header header;
    assert_int_equal(proxy_parse(span_of(line, 106), BOTH, &header), PROXY_MORE);
    bad(span_of(line, 107), BOTH);
    memcpy(line + 106, "\r\n", 2);
    bad(span_of(line, 108), BOTH);
    bad(BYTES(SIGNATURE "\x21\x11\xff\xff"), BOTH);
    bad(BYTES(SIGNATURE "\x20\0\4\1"), BOTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1_says_whom_it_speaks_for),
        cmocka_unit_test(test_version_2_says_whom_it_speaks_for),
        cmocka_unit_test(test_what_is_no_header_is_refused_at_once),
        cmocka_unit_test(test_a_header_is_not_waited_for_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
