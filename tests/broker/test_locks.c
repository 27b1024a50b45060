/* SPDX-License-Identifier: MIT */
/* The lock order: what is allowed goes through, what is not ends the process, in a child. */
#include "broker/locks.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER,
                       third = PTHREAD_MUTEX_INITIALIZER, fourth = PTHREAD_MUTEX_INITIALIZER;

typedef void attempt_fn(void);

static void assert_aborts(attempt_fn *attempt)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = { 0, 0 };
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(2);
        attempt();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_locks_in_order_are_taken(void **state)
{
    (void)state;
    lock_take(&first, RANK_SESSION_TABLE);
    lock_take(&second, RANK_RETAINED);
    lock_take(&third, RANK_TREE);
    lock_take(&fourth, RANK_MAILBOX);
    lock_drop(&fourth, RANK_MAILBOX);
    lock_drop(&third, RANK_TREE);
    lock_drop(&first, RANK_SESSION_TABLE); /* dropped in any order */
    lock_drop(&second, RANK_RETAINED);
    lock_take(&first, RANK_SESSION_TABLE); /* and nothing stays behind */
    lock_drop(&first, RANK_SESSION_TABLE);
}

static void test_locks_of_the_tree_are_taken_together(void **state)
{
    (void)state;
    lock_take(&first, RANK_TREE);
    lock_take(&second, RANK_TREE);
    lock_drop(&first, RANK_TREE);
    lock_take(&third, RANK_MAILBOX);
    lock_drop(&third, RANK_MAILBOX);
    lock_drop(&second, RANK_TREE);
    lock_take(&first, RANK_RETAINED); /* the rank is free with its last lock */
    lock_drop(&first, RANK_RETAINED);
}

static void lower_after_higher(void)
{
    lock_take(&first, RANK_TREE);
    lock_take(&second, RANK_RETAINED);
}

static void test_locks_lower_rank_after_higher_aborts(void **state)
{
    (void)state;
    assert_aborts(lower_after_higher);
}

static void same_rank_twice(void)
{
    lock_take(&first, RANK_MAILBOX);
    lock_take(&second, RANK_MAILBOX);
}

static void test_locks_same_rank_twice_aborts(void **state)
{
    (void)state;
    assert_aborts(same_rank_twice);
}

static void table_after_one_of_two_tree_locks(void)
{
    lock_take(&first, RANK_TREE);
    lock_take(&second, RANK_TREE);
    lock_drop(&second, RANK_TREE);
    lock_take(&third, RANK_SESSION_TABLE);
}

static void test_locks_tree_rank_is_held_until_its_last_lock_aborts(void **state)
{
    (void)state;
    assert_aborts(table_after_one_of_two_tree_locks);
}

static void drop_without_take(void)
{
    lock_drop(&first, RANK_MAILBOX);
}

static void test_locks_drop_without_take_aborts(void **state)
{
    (void)state;
    assert_aborts(drop_without_take);
}

static void *take_first(void *ctx)
{
    (void)ctx;
    lock_take(&first, RANK_SESSION_TABLE);
    lock_drop(&first, RANK_SESSION_TABLE);
    return NULL;
}

static void test_locks_order_is_of_each_thread(void **state)
{
    pthread_t thread;
    (void)state;
    lock_take(&fourth, RANK_MAILBOX);
    assert_int_equal(pthread_create(&thread, NULL, take_first, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    lock_drop(&fourth, RANK_MAILBOX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locks_in_order_are_taken),
        cmocka_unit_test(test_locks_of_the_tree_are_taken_together),
        cmocka_unit_test(test_locks_lower_rank_after_higher_aborts),
        cmocka_unit_test(test_locks_same_rank_twice_aborts),
        cmocka_unit_test(test_locks_tree_rank_is_held_until_its_last_lock_aborts),
        cmocka_unit_test(test_locks_drop_without_take_aborts),
        cmocka_unit_test(test_locks_order_is_of_each_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
