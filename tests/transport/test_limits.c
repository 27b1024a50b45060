/* SPDX-License-Identifier: MIT */
/*
 * How much of the machine the process may use: the arithmetic behind the descriptor limit and the
 * default number of workers, and once the real calls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/config.h"
#include "broker/problems.h"
#include "transport/limits.h"

static void test_cpu_quota_whole_is_that_many(void **state)
{
    (void)state;
    assert_int_equal(limits_cpu_quota("200000 100000\n"), 2);
    assert_int_equal(limits_cpu_quota("100000 100000"), 1);
}

static void test_cpu_quota_fraction_is_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(limits_cpu_quota("150000 100000\n"), 2);
    assert_int_equal(limits_cpu_quota("1 100000\n"), 1);
}

static void test_cpu_quota_none_is_no_limit(void **state)
{
    (void)state;
    assert_int_equal(limits_cpu_quota("max 100000\n"), 0);
}

static void test_cpu_quota_nonsense_is_no_limit(void **state)
{
    (void)state;
    static const char *const texts[] = { "",           "\n",    "100000", "100000 0\n",
                                         "0 100000\n", "a b\n", "1 2 3\n" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(limits_cpu_quota(texts[i]), 0);
    assert_int_equal(limits_cpu_quota("18446744073709551615 1\n"), 0);
}

static void test_cpus_is_at_least_one(void **state)
{
    (void)state;
    assert_true(limits_cpus() >= 1);
}

static void test_descriptors_small_hard_limit_is_used_up(void **state)
{
    (void)state;
    assert_int_equal(limits_descriptors(1024, 0, 4, 2), 1024);
    assert_int_equal(limits_descriptors(1024, 5000, 4, 2), 1024);
}

static void test_descriptors_large_hard_limit_is_not(void **state)
{
    (void)state;
    assert_int_equal(limits_descriptors(1048576, 0, 4, 2), LIMITS_DESCRIPTORS_DEFAULT);
    assert_int_equal(limits_descriptors(1073741816, 0, 4, 2), LIMITS_DESCRIPTORS_DEFAULT);
    assert_int_equal(limits_descriptors(RLIM_INFINITY, 0, 4, 2), LIMITS_DESCRIPTORS_DEFAULT);
}

static void test_descriptors_fit_max_connections_and_more(void **state)
{
    (void)state;
    uint64_t few = limits_descriptors(1048576, 100, 1, 1);
    assert_true(few > 100 && few < 300);
    uint64_t many = limits_descriptors(1048576, 500000, 4, 2);
    assert_true(many > 500000 && many < 501000);
    assert_true(limits_descriptors(1048576, 100, 8, 1) > few);
}

static void test_descriptors_stay_below_what_the_library_can_count(void **state)
{
    (void)state;
    assert_int_equal(limits_descriptors(1073741816, 100000000, 4, 2), LIMITS_DESCRIPTORS_MAX);
    assert_true(LIMITS_DESCRIPTORS_MAX < 10000000);
}

static struct config *config_of(const char *text)
{
    struct problems problems = { 0 };
    struct config *config = config_parse(text, strlen(text), "test", &problems);
    problems_print(&problems, stderr);
    problems_done(&problems);
    assert_non_null(config);
    return config;
}

static void test_connections_is_the_sum_of_all_listeners(void **state)
{
    (void)state;
    struct config *config = config_of(
        "listener 1883\nmax_connections 10\nlistener 1884\nmax_connections 32\n");
    assert_int_equal(limits_connections(config), 42);
    config_unref(config);
}

static void test_connections_one_without_limit_is_no_limit(void **state)
{
    (void)state;
    struct config *config = config_of("listener 1883\nmax_connections 10\nlistener 1884\n");
    assert_int_equal(limits_connections(config), 0);
    config_unref(config);
}

static void test_set_descriptors_changes_the_soft_limit(void **state)
{
    (void)state;
    struct config *config = config_of("listener 1883\nmax_connections 50\n");
    uint64_t limit = 0;
    assert_int_equal(limits_set_descriptors(config, 1, &limit), ERR_OK);
    struct rlimit now;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
    assert_int_equal(now.rlim_cur, limit);
    assert_true(limit >= 50);
    config_unref(config);
}

static void test_open_descriptors_counts_one_more_after_open(void **state)
{
    (void)state;
    unsigned before = limits_open_descriptors();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(limits_open_descriptors(), before + 1);
    close(fd);
    assert_int_equal(limits_open_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_quota_whole_is_that_many),
        cmocka_unit_test(test_cpu_quota_fraction_is_rounded_up),
        cmocka_unit_test(test_cpu_quota_none_is_no_limit),
        cmocka_unit_test(test_cpu_quota_nonsense_is_no_limit),
        cmocka_unit_test(test_cpus_is_at_least_one),
        cmocka_unit_test(test_descriptors_small_hard_limit_is_used_up),
        cmocka_unit_test(test_descriptors_large_hard_limit_is_not),
        cmocka_unit_test(test_descriptors_fit_max_connections_and_more),
        cmocka_unit_test(test_descriptors_stay_below_what_the_library_can_count),
        cmocka_unit_test(test_connections_is_the_sum_of_all_listeners),
        cmocka_unit_test(test_connections_one_without_limit_is_no_limit),
        cmocka_unit_test(test_set_descriptors_changes_the_soft_limit),
        cmocka_unit_test(test_open_descriptors_counts_one_more_after_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
