/* SPDX-License-Identifier: MIT */
/* The handshake budget: how many begin at once, how many in a second, and that nothing is saved up. */
#include "transport/handshakes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define START UINT64_C(1700000000000)

/* As many as may begin at this time. */
static unsigned begin_all(struct handshakes *handshakes, uint32_t rate, uint64_t now)
{
    unsigned count = 0;
    while (count < 10000 && handshakes_may_begin(handshakes, rate, now)) {
        handshakes_begin(handshakes);
        count++;
    }
    return count;
}

static void test_handshakes_without_a_rate_is_no_limit(void **state)
{
    struct handshakes handshakes = { 0 };
    (void)state;
    assert_int_equal(begin_all(&handshakes, 0, START), 10000);
}

static void test_handshakes_lets_a_tenth_begin_at_once_and_the_rate_in_a_second(void **state)
{
    static const uint32_t rates[] = { 10, 100, 200, 1000 };
    (void)state;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct handshakes handshakes = { 0 };
        assert_int_equal(begin_all(&handshakes, rates[i], START), rates[i] / 10);
        unsigned second = 0;
        for (unsigned tick = 1; tick <= 100; tick++)
            second += begin_all(&handshakes, rates[i], START + (uint64_t)tick * 10);
        assert_int_equal(second, rates[i]);
    }
}

static void test_handshakes_of_one_a_second_lets_one_begin(void **state)
{
    struct handshakes handshakes = { 0 };
    (void)state;
    assert_int_equal(begin_all(&handshakes, 1, START), 1);
    assert_int_equal(begin_all(&handshakes, 1, START + 999), 0);
    assert_int_equal(begin_all(&handshakes, 1, START + 1000), 1);
}

static void test_handshakes_saves_nothing_up(void **state)
{
    struct handshakes handshakes = { 0 };
    (void)state;
    assert_int_equal(begin_all(&handshakes, 100, START), 10);
    assert_int_equal(begin_all(&handshakes, 100, START + UINT64_C(86400000)), 10);
}

static void test_handshakes_takes_a_new_rate(void **state)
{
    struct handshakes handshakes = { 0 };
    (void)state;
    assert_int_equal(begin_all(&handshakes, 1000, START), 100);
    assert_false(handshakes_may_begin(&handshakes, 10, START));
    assert_int_equal(begin_all(&handshakes, 10, START + 100), 1);
    assert_int_equal(begin_all(&handshakes, 1000, START + 200), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshakes_without_a_rate_is_no_limit),
        cmocka_unit_test(test_handshakes_lets_a_tenth_begin_at_once_and_the_rate_in_a_second),
        cmocka_unit_test(test_handshakes_of_one_a_second_lets_one_begin),
        cmocka_unit_test(test_handshakes_saves_nothing_up),
        cmocka_unit_test(test_handshakes_takes_a_new_rate),
    };
    return cmocka_run_group_tests_name("handshakes", tests, NULL, NULL);
}
