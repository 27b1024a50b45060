/* SPDX-License-Identifier: MIT */
/*
 * The subscriptions of a session, few and many, plain and shared, against a plain list: what was added is found with its
 * filter and its membership, what was removed is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <malloc.h>

#include <cmocka.h>

#include "broker/session.h"
#include "broker/subscription.h"

enum { FILTERS = 300, STEPS = 20000, TEXT = 32 };

/* Every fifth is shared. */
static struct span filter(unsigned n, char text[TEXT])
{
    return span_of(text, (size_t)snprintf(text, TEXT, n % 5 ? "a/%u/b" : "$share/g/a/%u/b", n));
}

/* The membership of filter n: never followed. */
static struct membership *member_of(unsigned n)
{
    static char places[FILTERS];
    return n % 5 ? NULL : (struct membership *)(void *)&places[n];
}

static void check(struct session *session, unsigned n, bool there)
{
    char text[TEXT];
    const struct subscription *found = session_subscription(session, filter(n, text));
    assert_int_equal(found != NULL, there);
    if (!found)
        return;
    assert_int_equal(found->sub_id, n);
    assert_true(span_equal(subscription_filter(session, found), filter(n, text)));
    assert_ptr_equal(subscription_member(session, found), member_of(n));
}

static void test_subscriptions_added_and_removed_at_random_are_found(void **state)
{
    struct session *session = session_new(NULL, span_str("client"), 42);
    bool there[FILTERS] = { false };
    uint32_t chance = 1, count = 0;
    char text[TEXT];
    (void)state;
    assert_non_null(session);
    for (unsigned step = 0; step < STEPS; step++) {
        chance = chance * 1664525u + 1013904223u;
        /* Grows for a while, then shrinks: with and without an index, and across the border. */
        unsigned n = (chance >> 8) % FILTERS;
        bool add = (chance >> 24) % 4 < (step / 2500 % 2 ? 1u : 3u);
        struct subscription *found = session_subscription(session, filter(n, text));
        check(session, n, there[n]);
        if (add && !found) {
            found = session_subscription_add(session, filter(n, text));
            assert_non_null(found);
            found->sub_id = n;
            assert_null(subscription_member(session, found));
            if (member_of(n))
                subscription_set_member(session, found, member_of(n));
            there[n] = true;
            count++;
        } else if (!add && found) {
            session_subscription_remove(session, found);
            there[n] = false;
            count--;
        }
        assert_int_equal(session->subscription_count, count);
    }
    for (unsigned n = 0; n < FILTERS; n++)
        check(session, n, there[n]);
    session_free(session);
}

/* Under a sanitizer mallinfo2() counts nothing. */
static void test_subscriptions_that_come_and_go_leave_no_text_behind(void **state)
{
    enum { LONG = 60000, TIMES = 1000 };
    struct session *session = session_new(NULL, span_str("client"), 42);
    static uint8_t text[LONG];
    (void)state;
    assert_non_null(session);
    assert_non_null(session_subscription_add(session, span_str("stays")));
    memset(text, 'a', sizeof text);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (unsigned i = 0; i < TIMES; i++) {
        struct subscription *added = session_subscription_add(session, span_of(text, LONG));
        assert_non_null(added);
        session_subscription_remove(session, added);
    }
    assert_true(mallinfo2().uordblks + mallinfo2().hblkhd < before + 4 * (size_t)LONG);
    assert_non_null(session_subscription(session, span_str("stays")));
    session_free(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subscriptions_added_and_removed_at_random_are_found),
        cmocka_unit_test(test_subscriptions_that_come_and_go_leave_no_text_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
