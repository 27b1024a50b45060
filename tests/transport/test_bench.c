/* SPDX-License-Identifier: MIT */
/*
 * The parts of the load generator that need no broker: its command line, its percentiles, and the
 * judge of what arrives, judged: each kind of mistake is found, and only those.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "transport/bench.h"
#include "transport/bench_check.h"

/* ---- the command line -------------------------------------------------------------------- */

/* The options point into the words of the line, which stay until the next one. */
static bool parse(const char *line, struct bench_options *ret_options)
{
    static char text[256];
    char problem[128], *argv[32];
    int argc = 0;

    snprintf(text, sizeof text, "bench %s", line);
    for (char *rest = text; *rest;) {
        argv[argc++] = rest;
        rest += strcspn(rest, " ");
        if (*rest)
            *rest++ = '\0';
    }
    *problem = '\0';
    bool well = bench_options_parse(argc, argv, ret_options, problem, sizeof problem);
    assert_int_equal(well, *problem == '\0');
    return well;
}

static void test_options_left_out_come_from_scenario(void **state)
{
    struct bench_options options;
    (void)state;
    assert_true(parse("fanin", &options));
    assert_string_equal(options.scenario->name, "fanin");
    assert_string_equal(options.host, "localhost");
    assert_int_equal(options.port, 1883);
    assert_int_equal(options.version, 4);
    assert_int_equal(options.payload, 64);
    assert_int_equal(options.publishers, 50);
    assert_int_equal(options.subscribers, 1);
    assert_int_equal(options.seconds, 5);
    assert_int_equal(options.rate, 0);
}

static void test_options_given_win(void **state)
{
    struct bench_options options;
    (void)state;
    assert_true(parse("-p 31000 -q 2 -V 5 -s 1000 fanout --subscribers 7 --messages 99 --json "
                      "--pid 4242 --window 3",
                      &options));
    assert_string_equal(options.scenario->name, "fanout");
    assert_int_equal(options.port, 31000);
    assert_int_equal(options.qos, 2);
    assert_int_equal(options.version, 5);
    assert_int_equal(options.payload, 1000);
    assert_int_equal(options.subscribers, 7);
    assert_int_equal(options.messages, 99);
    assert_int_equal(options.seconds, 0);
    assert_int_equal(options.window, 3);
    assert_int_equal(options.pid, 4242);
    assert_true(options.json);
}

static void test_options_pairs_have_as_many_subscribers_as_publishers(void **state)
{
    struct bench_options options;
    (void)state;
    assert_true(parse("p2p --publishers 1000", &options));
    assert_int_equal(options.subscribers, 1000);
}

static void test_options_latency_has_a_rate_unless_a_window_is_asked_for(void **state)
{
    struct bench_options options;
    (void)state;
    assert_true(parse("latency", &options));
    assert_int_equal(options.rate, 2000);
    assert_true(parse("latency --window 1", &options));
    assert_int_equal(options.rate, 0);
}

static void test_options_transport(void **state)
{
    struct bench_options options;
    (void)state;
    assert_true(parse("fanin", &options));
    assert_false(options.tls || options.websocket || options.resume);
    assert_true(parse("fanin --ws --tls", &options));
    assert_true(options.tls && options.websocket);
    assert_true(parse("connect --resume", &options)); /* there is nothing else to resume */
    assert_true(options.tls && options.resume);
    assert_true(parse("fanin --cafile ca.pem", &options));
    assert_true(options.tls);
    assert_string_equal(options.cafile, "ca.pem");
}

static void test_options_mistakes_are_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "nothing",
        "fanin fanout",
        "fanin -q 3",
        "fanin -q",
        "fanin -q -1",
        "fanin -p 0",
        "fanin -p 65536",
        "fanin -p 18x",
        "fanin -V 4711",
        "fanin -s 15",
        "fanin --window 99999999999",
        "fanin --bogus",
        "fanin --messages 1 --seconds 1",
    };
    struct bench_options options;
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_false(parse(lines[i], &options));
}

/* ---- percentiles ------------------------------------------------------------------------- */

static void test_histogram_empty_is_zero(void **state)
{
    static struct bench_histogram histogram;
    (void)state;
    assert_int_equal(bench_histogram_percentile(&histogram, 500000), 0);
}

static void test_histogram_small_values_are_exact(void **state)
{
    static struct bench_histogram histogram;
    (void)state;
    for (uint64_t value = 1; value <= 100; value++)
        bench_histogram_add(&histogram, value);
    assert_int_equal(bench_histogram_percentile(&histogram, 500000), 50);
    assert_int_equal(bench_histogram_percentile(&histogram, 900000), 90);
    assert_int_equal(bench_histogram_percentile(&histogram, 990000), 99);
    assert_int_equal(bench_histogram_percentile(&histogram, 999000), 100);
    assert_int_equal(bench_histogram_percentile(&histogram, 0), 1);
}

static void test_histogram_any_value_is_within_a_64th(void **state)
{
    static const uint64_t values[] = { 0,       1,         63,         64,
                                       127,     128,       129,        255,
                                       256,     1000,      123456789,  1u << 31,
                                       1000000, 999999999, 1ull << 40, UINT64_MAX };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        static struct bench_histogram histogram;
        memset(&histogram, 0, sizeof histogram);
        bench_histogram_add(&histogram, values[i]);
        histogram.max = UINT64_MAX; /* so that it is the bucket that speaks */
        uint64_t found = bench_histogram_percentile(&histogram, 500000);
        assert_true(found >= values[i]);
        assert_true(found - values[i] <= values[i] / 64);
        assert_true(bench_histogram_bucket(values[i]) < BENCH_HISTOGRAM_BUCKETS);
    }
}

static void test_histogram_is_never_above_its_largest_value(void **state)
{
    static struct bench_histogram histogram;
    (void)state;
    bench_histogram_add(&histogram, 1000000);
    assert_int_equal(bench_histogram_percentile(&histogram, 999000), 1000000);
}

/* ---- the judge --------------------------------------------------------------------------- */

struct arrival {
    uint32_t subscriber, publisher, number;
};

static struct bench_check judge(enum bench_audience audience, uint32_t subscribers,
                                const struct arrival *arrivals, size_t count, size_t *ret_complete)
{
    struct bench_check check;

    bench_check_init(&check, audience, 2, subscribers, 8);
    *ret_complete = 0;
    for (size_t i = 0; i < count; i++)
        *ret_complete += bench_check_take(&check, arrivals[i].subscriber, arrivals[i].publisher,
                                          arrivals[i].number);
    bench_check_done(&check);
    return check;
}

#define JUDGE(audience, subscribers, arrivals, ret_complete)                                       \
    judge(audience, subscribers, arrivals, sizeof(arrivals) / sizeof *(arrivals), ret_complete)

static void test_check_messages_in_order_are_well(void **state)
{
    static const struct arrival arrivals[] = {
        { 0, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 }, { 0, 1, 1 }, { 0, 0, 2 }
    };
    size_t complete;
    (void)state;
    struct bench_check check = JUDGE(BENCH_ALL, 1, arrivals, &complete);
    assert_int_equal(check.heard, 5);
    assert_int_equal(check.doubled + check.disordered, 0);
    assert_int_equal(complete, 5);
}

static void test_check_repeated_message_is_doubled(void **state)
{
    static const struct arrival arrivals[] = { { 0, 0, 0 }, { 0, 0, 1 }, { 0, 0, 1 } };
    size_t complete;
    (void)state;
    struct bench_check check = JUDGE(BENCH_OWN, 2, arrivals, &complete);
    assert_int_equal(check.heard, 2);
    assert_int_equal(check.doubled, 1);
    assert_int_equal(check.disordered, 0);
}

static void test_check_late_message_is_out_of_order(void **state)
{
    static const struct arrival arrivals[] = { { 0, 0, 0 }, { 0, 0, 2 }, { 0, 0, 1 } };
    size_t complete;
    (void)state;
    struct bench_check check = JUDGE(BENCH_ALL, 1, arrivals, &complete);
    assert_int_equal(check.heard, 3);
    assert_int_equal(check.doubled, 0);
    assert_int_equal(check.disordered, 1);
}

static void test_check_missing_message_is_not_heard(void **state)
{
    static const struct arrival arrivals[] = { { 0, 0, 0 }, { 0, 0, 2 }, { 0, 0, 3 } };
    size_t complete;
    (void)state;
    struct bench_check check = JUDGE(BENCH_ALL, 1, arrivals, &complete);
    assert_int_equal(check.heard, 3);
    assert_int_equal(check.doubled + check.disordered, 0);
}

static void test_check_message_to_all_is_complete_with_the_last(void **state)
{
    static const struct arrival arrivals[] = {
        { 0, 0, 0 }, { 0, 0, 1 }, { 1, 0, 0 }, { 2, 0, 0 }, { 1, 0, 1 }
    };
    size_t complete;
    (void)state;
    struct bench_check check = JUDGE(BENCH_ALL, 3, arrivals, &complete);
    assert_int_equal(check.heard, 5);
    assert_int_equal(complete, 1);
}

static void test_check_group_message_heard_by_two_members_is_doubled(void **state)
{
    static const struct arrival arrivals[] = {
        { 0, 0, 0 }, { 1, 0, 1 }, { 0, 0, 2 }, { 1, 0, 2 }, { 1, 0, 3 }
    };
    size_t complete;
    (void)state;
    struct bench_check check = JUDGE(BENCH_GROUP, 2, arrivals, &complete);
    assert_int_equal(check.heard, 4);
    assert_int_equal(check.doubled, 1);
    assert_int_equal(check.disordered, 0);
    assert_int_equal(complete, 4);
}

static void test_check_group_member_must_hear_in_order(void **state)
{
    static const struct arrival arrivals[] = { { 0, 0, 1 }, { 1, 0, 3 }, { 0, 0, 0 } };
    size_t complete;
    (void)state;
    struct bench_check check = JUDGE(BENCH_GROUP, 2, arrivals, &complete);
    assert_int_equal(check.heard, 3);
    assert_int_equal(check.disordered, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_left_out_come_from_scenario),
        cmocka_unit_test(test_options_given_win),
        cmocka_unit_test(test_options_pairs_have_as_many_subscribers_as_publishers),
        cmocka_unit_test(test_options_latency_has_a_rate_unless_a_window_is_asked_for),
        cmocka_unit_test(test_options_transport),
        cmocka_unit_test(test_options_mistakes_are_refused),
        cmocka_unit_test(test_histogram_empty_is_zero),
        cmocka_unit_test(test_histogram_small_values_are_exact),
        cmocka_unit_test(test_histogram_any_value_is_within_a_64th),
        cmocka_unit_test(test_histogram_is_never_above_its_largest_value),
        cmocka_unit_test(test_check_messages_in_order_are_well),
        cmocka_unit_test(test_check_repeated_message_is_doubled),
        cmocka_unit_test(test_check_late_message_is_out_of_order),
        cmocka_unit_test(test_check_missing_message_is_not_heard),
        cmocka_unit_test(test_check_message_to_all_is_complete_with_the_last),
        cmocka_unit_test(test_check_group_message_heard_by_two_members_is_doubled),
        cmocka_unit_test(test_check_group_member_must_hear_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
