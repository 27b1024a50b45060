/* SPDX-License-Identifier: MIT */
/* Packet identifiers in use, beside an array of booleans that knows. */
#include "broker/id_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { IDENTIFIERS = 65535 };

static void test_id_set_empty_has_no_memory(void **state)
{
    (void)state;
    struct id_set *set = NULL;
    assert_false(id_set_has(set, 1));
    assert_false(id_set_remove(&set, 1));
    assert_false(id_set_unmark(set, 1));
    assert_true(id_set_add(&set, 1));
    assert_false(id_set_has(set, 0)); /* no packet has it */
    assert_true(id_set_remove(&set, 1));
    assert_null(set);
}

static void test_id_set_all_identifiers_at_once(void **state)
{
    (void)state;
    struct id_set *set = NULL;
    for (uint32_t id = 1; id <= IDENTIFIERS; id++)
        assert_true(id_set_add(&set, (uint16_t)id));
    for (uint32_t id = IDENTIFIERS; id > 0; id--)
        assert_true(id_set_remove(&set, (uint16_t)id));
    assert_null(set);
}

static void test_id_set_mark_is_of_those_that_were_there(void **state)
{
    (void)state;
    struct id_set *set = NULL;
    assert_true(id_set_add(&set, 7) && id_set_add(&set, 15));
    id_set_mark(set);
    assert_true(id_set_add(&set, 23));
    assert_false(id_set_unmark(set, 23));
    assert_true(id_set_remove(&set, 7));
    assert_true(id_set_unmark(set, 15));
    assert_false(id_set_unmark(set, 15));
    assert_true(id_set_has(set, 15) && id_set_has(set, 23) && !id_set_has(set, 7));
    id_set_done(set);
}

/* Identifiers that collide often, and wrap around the end of the table. */
static void test_id_set_random_changes_as_in_an_array(void **state)
{
    (void)state;
    static bool used[IDENTIFIERS + 1], marked[IDENTIFIERS + 1];
    struct id_set *set = NULL;
    uint32_t random = 1;
    for (unsigned step = 0; step < 200000; step++) {
        random = random * 1664525 + 1013904223;
        uint16_t id = (uint16_t)((random >> 12) % 40 * 8 % 257 + (random >> 28) * 4096 + 1);
        assert_int_equal(id_set_has(set, id), used[id]);
        if (step % 5000 == 4999) {
            id_set_mark(set);
            for (uint32_t i = 1; i <= IDENTIFIERS; i++)
                marked[i] = used[i];
        }
        if (random >> 31) {
            assert_int_equal(id_set_unmark(set, id), marked[id]);
            marked[id] = false;
        } else if (used[id]) {
            assert_true(id_set_remove(&set, id));
            used[id] = marked[id] = false;
        } else {
            assert_true(id_set_add(&set, id));
            used[id] = true;
        }
    }
    for (uint32_t id = 1; id <= IDENTIFIERS; id++)
        assert_int_equal(id_set_remove(&set, (uint16_t)id), used[id]);
    assert_null(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id_set_empty_has_no_memory),
        cmocka_unit_test(test_id_set_all_identifiers_at_once),
        cmocka_unit_test(test_id_set_mark_is_of_those_that_were_there),
        cmocka_unit_test(test_id_set_random_changes_as_in_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
