/* SPDX-License-Identifier: MIT */
/*
 * The subscriptions of a session, few and many, against a plain list: what was added is found, what was removed is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/session.h"

enum { FILTERS = 300, STEPS = 20000 };

static struct span filter(unsigned n, char text[16])
{
    return span_of(text, (size_t)snprintf(text, 16, "a/%u/b", n));
}

static void test_subscriptions_added_and_removed_at_random_are_found(void **state)
{
    struct session *session = session_new(NULL, span_str("client"), 42);
    bool there[FILTERS] = { false };
    uint32_t chance = 1, count = 0;
    char text[16];
    (void)state;
    assert_non_null(session);
    for (unsigned step = 0; step < STEPS; step++) {
        chance = chance * 1664525u + 1013904223u;
        /* Grows for a while, then shrinks: with and without an index, and across the border. */
        unsigned n = (chance >> 8) % FILTERS;
        bool add = (chance >> 24) % 4 < (step / 2500 % 2 ? 1u : 3u);
        struct subscription *found = session_subscription(session, filter(n, text));
        assert_int_equal(found != NULL, there[n]);
        if (found)
            assert_int_equal(found->sub_id, n);
        if (add && !found) {
            found = session_subscription_add(session, filter(n, text));
            assert_non_null(found);
            found->sub_id = n;
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
        assert_int_equal(session_subscription(session, filter(n, text)) != NULL, there[n]);
    session_free(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subscriptions_added_and_removed_at_random_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
