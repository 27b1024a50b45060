/* SPDX-License-Identifier: MIT */
/* The gate: limits by address, told by a clock that the test turns. */
#include "transport/gate.h"

#include "broker/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cmocka.h>

enum { SECOND = 1000 };
static const uint64_t begin = 1700000000000;

struct fixture {
    struct gate gate;
    struct gate_entry *last;
    bool say;
};

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){ 0 };
    *state = &fixture;
    return gate_init(&fixture.gate, 7) ? 0 : -1;
}

static int teardown(void **state)
{
    gate_done(&((struct fixture *)*state)->gate);
    return 0;
}

/* Whether a connection from there is let in. */
static bool enter(struct fixture *f, const char *address, const struct config *config, uint64_t now)
{
    struct sockaddr_storage storage = { 0 };
    struct sockaddr_in *four = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&storage;
    if (inet_pton(AF_INET, address, &four->sin_addr) == 1)
        four->sin_family = AF_INET;
    else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1)
        six->sin6_family = AF_INET6;
    else
        storage.ss_family = AF_UNIX;
    return !gate_enter(&f->gate, (const struct sockaddr *)&storage, config, begin + now, &f->last,
                       &f->say);
}

static void test_without_limits_nothing_is_kept(void **state)
{
    struct fixture *f = *state;
    struct config config = { .ban_failures = 1 };
    for (int i = 0; i < 1000; i++) {
        assert_true(enter(f, "192.0.2.1", &config, 0));
        assert_null(f->last);
    }
    gate_leave(&f->gate, NULL);
    assert_false(gate_fail(&f->gate, NULL, &config, begin));
    assert_int_equal(f->gate.count, 0);
}

static void test_an_address_has_so_many_connections(void **state)
{
    struct fixture *f = *state;
    struct config config = { .max_connections_per_ip = 2, .ban_failures = 1 };
    assert_true(enter(f, "192.0.2.1", &config, 0));
    struct gate_entry *first = f->last;
    assert_true(enter(f, "192.0.2.1", &config, 0));
    assert_false(enter(f, "192.0.2.1", &config, 0));
    assert_null(f->last);
    assert_true(enter(f, "192.0.2.2", &config, 0)); /* another one */
    gate_leave(&f->gate, first);
    assert_true(enter(f, "192.0.2.1", &config, 0));
    assert_true(enter(f, "a unix socket", &config, 0));
    assert_true(enter(f, "a unix socket", &config, 0));
    assert_true(enter(f, "a unix socket", &config, 0));
}

static void test_an_ipv6_address_is_its_network(void **state)
{
    struct fixture *f = *state;
    struct config config = { .max_connections_per_ip = 1, .ban_failures = 1 };
    assert_true(enter(f, "2001:db8:1:2::1", &config, 0));
    assert_false(enter(f, "2001:db8:1:2:ffff::2", &config, 0));
    assert_true(enter(f, "2001:db8:1:3::1", &config, 0));
    assert_true(enter(f, "::ffff:192.0.2.1", &config, 0));
    assert_false(enter(f, "192.0.2.1", &config, 0)); /* the same in IPv4 */
    assert_true(enter(f, "::ffff:192.0.2.2", &config, 0));
}

static void test_connections_come_no_faster_than_the_rate(void **state)
{
    struct fixture *f = *state;
    struct config config = { .accept_rate = 10, .ban_failures = 1 };
    for (int i = 0; i < 10; i++)
        assert_true(enter(f, "192.0.2.1", &config, 0));
    assert_false(enter(f, "192.0.2.1", &config, 0));
    assert_true(enter(f, "192.0.2.2", &config, 0));
    assert_false(enter(f, "192.0.2.1", &config, 99));
    assert_true(enter(f, "192.0.2.1", &config, 100)); /* a tenth of a second is one */
    assert_false(enter(f, "192.0.2.1", &config, 150));
    for (int i = 0; i < 10; i++) /* no more is saved up than a second's */
        assert_true(enter(f, "192.0.2.1", &config, 3600 * SECOND));
    assert_false(enter(f, "192.0.2.1", &config, 3600 * SECOND));
}

static void test_failures_end_in_a_ban_that_ends(void **state)
{
    struct fixture *f = *state;
    struct config config = { .ban_time = 60, .ban_failures = 3 };
    assert_true(enter(f, "192.0.2.1", &config, 0));
    assert_false(gate_fail(&f->gate, f->last, &config, begin));
    assert_false(gate_fail(&f->gate, f->last, &config, begin + SECOND));
    assert_true(enter(f, "192.0.2.1", &config, 2 * SECOND));
    assert_true(gate_fail(&f->gate, f->last, &config, begin + 2 * SECOND));
    assert_false(gate_fail(&f->gate, f->last, &config, begin + 2 * SECOND)); /* told once */
    assert_false(enter(f, "192.0.2.1", &config, 2 * SECOND));
    assert_false(enter(f, "192.0.2.1", &config, 61 * SECOND));
    assert_true(enter(f, "192.0.2.2", &config, 61 * SECOND));
    assert_true(enter(f, "192.0.2.1", &config, 62 * SECOND));
}

static void test_failures_that_are_long_ago_do_not_count(void **state)
{
    struct fixture *f = *state;
    struct config config = { .ban_time = 60, .ban_failures = 2 };
    assert_true(enter(f, "192.0.2.1", &config, 0));
    assert_false(gate_fail(&f->gate, f->last, &config, begin));
    assert_false(gate_fail(&f->gate, f->last, &config, begin + 60 * SECOND));
    assert_true(gate_fail(&f->gate, f->last, &config, begin + 61 * SECOND));
}

static void test_a_refusal_is_said_once_a_second(void **state)
{
    struct fixture *f = *state;
    struct config config = { .max_connections_per_ip = 1, .ban_failures = 1 };
    assert_true(enter(f, "192.0.2.1", &config, 0));
    assert_false(f->say);
    assert_false(enter(f, "192.0.2.1", &config, 0));
    assert_true(f->say);
    assert_false(enter(f, "192.0.2.1", &config, 999));
    assert_false(f->say);
    assert_false(enter(f, "192.0.2.1", &config, 1000));
    assert_true(f->say);
}

static void test_a_crowd_of_addresses_costs_no_more_than_is_open(void **state)
{
    struct fixture *f = *state;
    struct config config = { .accept_rate = 5, .ban_failures = 1 };
    char address[32];
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(address, sizeof address, "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
        assert_true(enter(f, address, &config, i));
        gate_leave(&f->gate, f->last);
    }
    assert_true(f->gate.count < 20000); /* what is older than its rate has gone */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_limits_nothing_is_kept),
        TEST(test_an_address_has_so_many_connections),
        TEST(test_an_ipv6_address_is_its_network),
        TEST(test_connections_come_no_faster_than_the_rate),
        TEST(test_failures_end_in_a_ban_that_ends),
        TEST(test_failures_that_are_long_ago_do_not_count),
        TEST(test_a_refusal_is_said_once_a_second),
        TEST(test_a_crowd_of_addresses_costs_no_more_than_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
