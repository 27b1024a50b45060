/* SPDX-License-Identifier: MIT */
/* Addresses and networks as text: what the C library reads is read the same way, nothing else is. */
#include "broker/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <arpa/inet.h>

#include <cmocka.h>

/* What the C library says. */
static bool model(const char *text, struct address *ret_address)
{
    uint8_t four[4];
    if (inet_pton(AF_INET, text, four) == 1) {
        *ret_address = address_v4(four);
        return true;
    }
    return inet_pton(AF_INET6, text, ret_address->bytes) == 1;
}

static void check(const char *text)
{
    struct address ours = { 0 }, theirs = { 0 };
    bool valid = address_parse(span_str(text), &ours);
    if (valid != model(text, &theirs))
        fail_msg("%s: %d", text, valid);
    if (valid)
        assert_memory_equal(ours.bytes, theirs.bytes, sizeof ours.bytes);
}

static void test_addresses_are_read_as_the_library_reads_them(void **state)
{
    static const char *const texts[] = {
        "192.0.2.1",
        "0.0.0.0",
        "255.255.255.255",
        "256.0.0.1",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1..2.3",
        "1.2.3.4 ",
        "",
        "::",
        "::1",
        "1::",
        "2001:db8::1",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "1:2:3:4::5:6:7:8",
        "1::2::3",
        ":1::",
        "1:",
        ":",
        ":::",
        "12345::",
        "g::",
        "::ffff:192.0.2.1",
        "::192.0.2.1",
        "1:2:3:4:5:6:1.2.3.4",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::1.2.3.4:5",
        "::1%eth0",
        "ABCD::ef",
        "1:2:3:4:5:6:7:8::",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check(texts[i]);
}

static void test_addresses_by_chance_as_well(void **state)
{
    static const char letters[] = "0011223f::::..";
    uint64_t chance = 88172645463325252u;
    (void)state;
    for (int i = 0; i < 300000; i++) {
        char text[24];
        size_t len = 0;
        for (chance ^= chance << 13, chance ^= chance >> 7, chance ^= chance << 17;
             len < (chance >> 58) % 20; len++)
            text[len] = letters[(chance >> (len * 3)) % (sizeof letters - 1)];
        text[len] = '\0';
        check(text);
    }
}

static bool has(const char *networks, const char *address)
{
    struct networks parsed;
    struct address at;
    struct span bad;
    assert_true(networks_parse(span_str(networks), &parsed, &bad));
    assert_true(address_parse(span_str(address), &at));
    return networks_have(&parsed, &at);
}

static void test_networks_have_what_their_bits_say(void **state)
{
    (void)state;
    assert_true(has("192.0.2.1", "192.0.2.1"));
    assert_false(has("192.0.2.1", "192.0.2.2"));
    assert_true(has("192.0.2.0/24", "192.0.2.255"));
    assert_false(has("192.0.2.0/24", "192.0.3.0"));
    assert_true(has("192.0.2.128/25", "192.0.2.129"));
    assert_false(has("192.0.2.128/25", "192.0.2.127"));
    assert_true(has("10.0.0.0/8, 2001:db8::/32\t::1", "::1"));
    assert_true(has("10.0.0.0/8 2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("10.0.0.0/8 2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("0.0.0.0/0", "1.2.3.4"));
    assert_false(has("0.0.0.0/0", "::1"));
    assert_true(has("::/0", "1.2.3.4"));
    assert_true(has("192.0.2.1", "::ffff:192.0.2.1"));
    assert_false(has("", "::1"));
}

static void test_networks_that_are_none_are_named(void **state)
{
    static const char *const texts[] = { "192.0.2.0/33", "::/129",       "192.0.2.0/",  "/8",
                                         "example.org",  "192.0.2.0/08", "192.0.2.0/8x" };
    struct networks networks;
    struct span bad;
    char many[512] = "";
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[64];
        snprintf(text, sizeof text, "::1 , %s ::2", texts[i]);
        assert_false(networks_parse(span_str(text), &networks, &bad));
        assert_true(span_equal(bad, span_str(texts[i])));
    }
    for (int i = 0; i <= NETWORKS_MAX; i++)
        strncat(many, "::1 ", sizeof many - strlen(many) - 1);
    assert_false(networks_parse(span_str(many), &networks, &bad));
}

static const char *forwarded(const char *header)
{
    static char text[INET6_ADDRSTRLEN];
    struct networks trusted;
    struct address client;
    struct span bad;
    assert_true(networks_parse(span_str("10.0.0.0/8 ::1"), &trusted, &bad));
    if (!networks_forwarded(&trusted, span_str(header), &client))
        return NULL;
    return inet_ntop(AF_INET6, client.bytes, text, sizeof text);
}

static void test_forwarded_is_the_last_that_is_not_trusted(void **state)
{
    (void)state;
    assert_string_equal(forwarded("192.0.2.1"), "::ffff:192.0.2.1");
    assert_string_equal(forwarded("192.0.2.1, 10.0.0.7,::1"), "::ffff:192.0.2.1");
    assert_string_equal(forwarded("192.0.2.66, 192.0.2.1, 10.0.0.7"), "::ffff:192.0.2.1");
    assert_string_equal(forwarded("<script>, 2001:db8::1"), "2001:db8::1"); /* invented before */
    assert_null(forwarded(""));
    assert_null(forwarded("10.0.0.1"));
    assert_null(forwarded("192.0.2.1, unknown"));
    assert_null(forwarded("192.0.2.1:80"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_are_read_as_the_library_reads_them),
        cmocka_unit_test(test_addresses_by_chance_as_well),
        cmocka_unit_test(test_networks_have_what_their_bits_say),
        cmocka_unit_test(test_networks_that_are_none_are_named),
        cmocka_unit_test(test_forwarded_is_the_last_that_is_not_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
