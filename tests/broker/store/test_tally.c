/* SPDX-License-Identifier: MIT */
/* Tallies against a plain array: in order, out of order, with few survivors. */
#include "broker/store/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NUMBERS = 20000 };

static uint64_t random_state;

static uint32_t chance(uint32_t of)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % of;
}

static void add(struct tallies *tallies, uint32_t *model, uint32_t number)
{
    model[number] = 2 + chance(100);
    tallies_add(tallies, &(struct tally){ .sequence = number, .left = model[number] });
}

static void check(const struct tallies *tallies, const uint32_t *model)
{
    size_t count = 0;
    for (uint32_t i = 0; i < NUMBERS; i++) {
        const struct tally *tally = tallies_find(tallies, i);
        if (!model[i]) {
            assert_null(tally);
            continue;
        }
        assert_non_null(tally);
        assert_int_equal(tally->sequence, i);
        assert_int_equal(tally->left, model[i]);
        count++;
    }
    assert_int_equal(tallies->count, count);
}

static void test_tally_is_found_whatever_the_order(void **state)
{
    struct tallies tallies = { .count = 0 };
    uint32_t *model = calloc(NUMBERS, sizeof *model);
    (void)state;
    random_state = 1;
    assert_non_null(model);
    assert_null(tallies_find(&tallies, 1));
    for (unsigned round = 0; round < 8; round++) {
        for (uint32_t i = 0; i < NUMBERS / 2; i++)
            add(&tallies, model, chance(NUMBERS));
        check(&tallies, model);
        for (uint32_t i = 0; i < NUMBERS; i++) {
            uint32_t number = chance(NUMBERS);
            tallies_remove(&tallies, number);
            model[number] = 0;
        }
        check(&tallies, model);
    }
    tallies_done(&tallies);
    free(model);
}

static void test_tally_pages_are_full_in_order_and_joined_when_few_survive(void **state)
{
    struct tallies tallies = { .count = 0 };
    (void)state;
    for (uint32_t i = 0; i < 256 * 64; i++)
        tallies_add(&tallies, &(struct tally){ .sequence = i + 1, .left = 2 });
    assert_int_equal(tallies.page_count, 64);
    for (uint32_t i = 0; i < 256 * 64; i++)
        if (i % 64)
            tallies_remove(&tallies, i + 1);
    assert_int_equal(tallies.count, 256);
    assert_in_range(tallies.page_count, 1, 4);
    for (uint32_t i = 0; i < 256 * 64; i += 64)
        tallies_remove(&tallies, i + 1);
    assert_int_equal(tallies.page_count, 0);
    assert_null(tallies_find(&tallies, 1));
    tallies_add(&tallies, &(struct tally){ .sequence = 5, .left = 3 });
    tallies_add(&tallies, &(struct tally){ .sequence = 5, .left = 4 });
    assert_int_equal(tallies_find(&tallies, 5)->left, 4);
    assert_int_equal(tallies.count, 1);
    tallies_done(&tallies);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tally_is_found_whatever_the_order),
        cmocka_unit_test(test_tally_pages_are_full_in_order_and_joined_when_few_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
