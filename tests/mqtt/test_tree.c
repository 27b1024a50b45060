/* SPDX-License-Identifier: MIT */
/*
 * The topic tree (mqtt/tree.h): tables, a model that asks mqtt_filter_matches() about every filter, and every allocation
 * failing in turn. Pseudo-random sequences have fixed seeds. One thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mqtt/topic.h"
#include "mqtt/tree.h"

enum { SEED = 0x5eed };

static char subscribers[200000]; /* an address each */

static struct tree_entry entry(size_t subscriber, uint32_t sub_id)
{
    return (struct tree_entry){
        .subscriber = &subscribers[subscriber], .sub_id = sub_id, .options = 1, .kind = 2
    };
}

static enum tree_change insert(struct tree *tree, const char *filter, size_t subscriber,
                               uint32_t sub_id)
{
    struct tree_entry made = entry(subscriber, sub_id);
    return tree_insert(tree, span_str(filter), &made);
}

static enum tree_change drop(struct tree *tree, const char *filter, size_t subscriber)
{
    return tree_remove(tree, span_str(filter), &subscribers[subscriber]);
}

/* ---- what a match yields: subscription identifiers, sorted ---- */

enum { FOUND_MAX = 1000 };

struct found {
    size_t count;
    uint32_t sub_ids[FOUND_MAX];
};

static void on_match(void *ctx, const struct tree_entry *matched)
{
    struct found *found = ctx;
    assert_true(found->count < FOUND_MAX);
    found->sub_ids[found->count++] = matched->sub_id;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static struct found match(const struct tree *tree, const char *topic)
{
    struct found found = { 0 };
    tree_match(tree, span_str(topic), on_match, &found);
    qsort(found.sub_ids, found.count, sizeof(found.sub_ids[0]), by_number);
    return found;
}

static void expect_match(const struct tree *tree, const char *topic, const char *expected)
{
    struct found found = match(tree, topic);
    char text[256] = "";
    size_t len = 0;
    for (size_t i = 0; i < found.count; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u", i ? " " : "",
                                found.sub_ids[i]);
    if (strcmp(text, expected) != 0)
        fail_msg("topic \"%s\" matched \"%s\", expected \"%s\"", topic, text, expected);
}

/* ---- tables ------------------------------------------------------------------------------- */

static const char *const filters[] = {
    "a",                                                               /* 0 */
    "a/b",                                                             /* 1 */
    "a/b/c",                                                           /* 2 */
    "a/+",                                                             /* 3 */
    "a/#",                                                             /* 4 */
    "+",                                                               /* 5 */
    "#",                                                               /* 6 */
    "+/b",                                                             /* 7 */
    "+/+/c",                                                           /* 8 */
    "/",                                                               /* 9 */
    "/+",                                                              /* 10 */
    "a//c",                                                            /* 11 */
    "$SYS/#",                                                          /* 12 */
    "$SYS/+/up",                                                       /* 13 */
    "a/b/c/d/e/f/g/a-level-that-is-longer-than-a-node-keeps-in-place", /* 14 */
    "a/b/c/d/+/f/g/a-level-that-is-longer-than-a-node-keeps-in-place", /* 15 */
    "ab/c",                                                            /* 16 */
    "a/",                                                              /* 17 */
};

static const struct {
    const char *topic, *expected;
} cases[] = {
    { "a", "0 4 5 6" },
    { "a/b", "1 3 4 6 7" },
    { "a/b/c", "2 4 6 8" },
    { "a/b/x", "4 6" },
    { "a/x", "3 4 6" },
    { "b", "5 6" },
    { "b/b", "6 7" },
    { "/", "6 9 10" }, /* two empty levels */
    { "/x", "6 10" },
    { "/b", "6 7 10" },
    { "a//c", "4 6 8 11" },
    { "a/", "3 4 6 17" },
    { "a//", "4 6" },
    { "$SYS", "12" }, /* [MQTT5-4.7.2-1] */
    { "$SYS/a/up", "12 13" },
    { "$x", "" },
    { "$x/b", "" },
    { "$x/b/c", "" },
    { "a/$SYS", "3 4 6" },
    { "a/b/c/d/e/f/g/a-level-that-is-longer-than-a-node-keeps-in-place", "4 6 14 15" },
    { "a/b/c/d/x/f/g/a-level-that-is-longer-than-a-node-keeps-in-place", "4 6 15" },
    { "a/b/c/d/e/f/g/a-level-that-is-longer-than-a-node-keeps-in-plac", "4 6" },
    { "ab", "5 6" },
    { "ab/c", "6 16" },
    { "A", "5 6" }, /* case counts */
};

enum { FILTERS = sizeof(filters) / sizeof(filters[0]), CASES = sizeof(cases) / sizeof(cases[0]) };

/* Inserted forwards and backwards: labels are split in different places. */
static void test_tree_match_table(void **state)
{
    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        struct tree *tree = tree_new(SEED);
        for (uint32_t i = 0; i < FILTERS; i++) {
            uint32_t at = backwards ? FILTERS - 1 - i : i;
            assert_true(mqtt_topic_filter_valid(span_str(filters[at])));
            assert_int_equal(insert(tree, filters[at], 0, at), TREE_FIRST);
        }
        for (size_t i = 0; i < CASES; i++)
            expect_match(tree, cases[i].topic, cases[i].expected);
        for (uint32_t i = 0; i < FILTERS; i++)
            assert_int_equal(drop(tree, filters[i], 0), TREE_LAST);
        for (size_t i = 0; i < CASES; i++)
            expect_match(tree, cases[i].topic, "");
        assert_int_equal(tree_entry_count(tree), 0);
        tree_free(tree);
    }
}

static void test_tree_change_tells_what_happened(void **state)
{
    (void)state;
    struct tree *tree = tree_new(SEED);
    assert_int_equal(tree_generation(tree), 1);
    assert_int_equal(insert(tree, "a/+/c", 1, 10), TREE_FIRST);
    assert_int_equal(insert(tree, "a/+/c", 2, 20), TREE_ADDED);
    assert_int_equal(insert(tree, "a/+/c", 1, 11), TREE_REPLACED);
    assert_int_equal(insert(tree, "a", 1, 12), TREE_FIRST); /* splits the node of the other */
    assert_int_equal(tree_generation(tree), 5);
    assert_int_equal(tree_entry_count(tree), 3);
    expect_match(tree, "a/b/c", "11 20");
    assert_int_equal(tree_find(tree, span_str("a/+/c"), &subscribers[1])->sub_id, 11);
    assert_null(tree_find(tree, span_str("a/+"), &subscribers[1]));
    assert_null(tree_find(tree, span_str("a/+/c"), &subscribers[3]));

    assert_int_equal(drop(tree, "a/+/c", 3), TREE_UNCHANGED);
    assert_int_equal(drop(tree, "a/b/c", 1), TREE_UNCHANGED); /* matches, but is another filter */
    assert_int_equal(drop(tree, "a/+", 1), TREE_UNCHANGED);
    assert_int_equal(drop(tree, "a/+/c/d", 1), TREE_UNCHANGED);
    assert_int_equal(tree_generation(tree), 5);
    assert_int_equal(drop(tree, "a/+/c", 1), TREE_REMOVED);
    assert_int_equal(drop(tree, "a/+/c", 2), TREE_LAST);
    assert_int_equal(drop(tree, "a/+/c", 2), TREE_UNCHANGED);
    assert_int_equal(drop(tree, "a", 1), TREE_LAST);
    assert_int_equal(tree_generation(tree), 8);
    assert_int_equal(tree_entry_count(tree), 0);
    tree_free(tree);
    tree_free(NULL);
}

static void test_tree_deepest_filter_and_topic(void **state)
{
    (void)state;
    char plus[2 * MQTT_TOPIC_LEVELS_MAX];
    char topic[2 * MQTT_TOPIC_LEVELS_MAX];
    for (size_t i = 0; i < sizeof(plus); i++) {
        plus[i] = i % 2 ? '/' : '+';
        topic[i] = i % 2 ? '/' : 'a';
    }
    plus[sizeof(plus) - 1] = topic[sizeof(topic) - 1] = '\0';
    struct tree *tree = tree_new(SEED);
    /* A node a level: every prefix of both is a filter. */
    for (size_t len = 1; len < sizeof(plus); len += 2) {
        struct tree_entry one = entry(1, (uint32_t)len);
        assert_int_equal(tree_insert(tree, span_of(plus, len), &one), TREE_FIRST);
        assert_int_equal(tree_insert(tree, span_of(topic, len), &one), TREE_FIRST);
    }
    assert_int_equal(match(tree, topic).count, 2);
    assert_int_equal(match(tree, "a").count, 2);
    assert_int_equal(drop(tree, topic, 1), TREE_LAST);
    assert_int_equal(match(tree, topic).count, 1);
    tree_free(tree);
}

static void test_tree_longest_filter(void **state)
{
    (void)state;
    static uint8_t text[65535];
    memset(text, 'x', sizeof(text));
    text[40000] = '/';
    struct tree *tree = tree_new(SEED);
    struct tree_entry one = entry(1, 1);
    struct tree_entry two = entry(1, 2);
    assert_int_equal(tree_insert(tree, span_of(text, sizeof(text)), &one), TREE_FIRST);
    assert_int_equal(tree_insert(tree, span_of(text, 40000), &two), TREE_FIRST);
    struct found found = { 0 };
    tree_match(tree, span_of(text, sizeof(text)), on_match, &found);
    tree_match(tree, span_of(text, sizeof(text) - 1), on_match, &found);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.sub_ids[0], 1);
    assert_int_equal(tree_remove(tree, span_of(text, sizeof(text)), one.subscriber), TREE_LAST);
    tree_free(tree);
}

/* ---- many subscribers --------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void count_match(void *ctx, const struct tree_entry *matched)
{
    uint8_t *seen = ctx;
    seen[matched->sub_id]++;
}

static void test_tree_many_subscribers_of_one_filter(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    struct tree *tree = tree_new(SEED);
    size_t empty = tree_memory(tree);
    uint32_t *order = malloc(MANY * sizeof(*order));
    uint8_t *seen = calloc(MANY, 1);
    uint64_t random = 1;
    for (uint32_t i = 0; i < MANY; i++) {
        order[i] = i;
        assert_int_equal(insert(tree, "news/+", i, i), i ? TREE_ADDED : TREE_FIRST);
    }
    assert_true(tree_memory(tree) - empty < MANY * 60);
    for (uint32_t i = MANY - 1; i > 0; i--) {
        uint32_t other = (uint32_t)(next_random(&random) % (i + 1));
        uint32_t kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    tree_match(tree, span_str("news/today"), count_match, seen);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(seen[i], 1);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(tree_find(tree, span_str("news/+"), &subscribers[order[i]])->sub_id,
                         order[i]);
        assert_int_equal(drop(tree, "news/+", order[i]), i == MANY - 1 ? TREE_LAST : TREE_REMOVED);
        assert_null(tree_find(tree, span_str("news/+"), &subscribers[order[i]]));
        if (i != MANY / 2)
            continue;
        memset(seen, 0, MANY);
        tree_match(tree, span_str("news/today"), count_match, seen);
        for (uint32_t j = 0; j < MANY; j++)
            assert_int_equal(seen[order[j]], j > i);
    }
    assert_int_equal(tree_memory(tree), empty);
    free(order);
    free(seen);
    tree_free(tree);
}

/* Memory of a subscription, and that it is given back: at most a chunk of nodes stays beside the first. */
static void test_tree_many_filters_give_memory_back(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    struct tree *tree = tree_new(SEED);
    size_t empty = tree_memory(tree);
    char filter[64];
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            snprintf(filter, sizeof(filter), "plant/robot%u/+/temperature", i);
            assert_int_equal(insert(tree, filter, i, i), TREE_FIRST);
        }
        assert_true(tree_memory(tree) < MANY * 90);
        for (uint32_t i = 0; i < MANY; i++) {
            char number[16];
            snprintf(number, sizeof(number), "%u", i);
            snprintf(filter, sizeof(filter), "plant/robot%u/arm/temperature", i);
            expect_match(tree, filter, number);
        }
        expect_match(tree, "plant/robot4711/arm/humidity", "");
        for (uint32_t i = 0; i < MANY;
             i++) { /* first the chunks one by one, then all over the place */
            uint32_t at = round == 0 ? i : (uint32_t)(i * UINT64_C(48271) % MANY);
            snprintf(filter, sizeof(filter), "plant/robot%u/+/temperature", at);
            assert_int_equal(drop(tree, filter, at), TREE_LAST);
        }
        assert_true(tree_memory(tree) < empty + 80000);
    }
    tree_free(tree);
}

/* ---- the model ---------------------------------------------------------------------------- */

enum { MODEL_MAX = 600, TEXT_MAX = 256 };

struct model {
    size_t count;
    struct {
        char filter[TEXT_MAX];
        size_t subscriber;
        uint32_t sub_id;
    } rows[MODEL_MAX];
};

static const char *const words[] = {
    "a", "b", "c", "", "ab", "$a", "a-level-of-more-than-26-bytes", "temp"
};

/* Few words and few levels, so that filters share much. */
static void random_text(uint64_t *random, bool filter, char *text)
{
    size_t levels = 1 + next_random(random) % 6;
    size_t len = 0;
    for (size_t i = 0; i < levels; i++) {
        const char *word = words[next_random(random) % (sizeof(words) / sizeof(words[0]))];
        if (filter && next_random(random) % 4 == 0)
            word = "+";
        if (filter && i + 1 == levels && next_random(random) % 4 == 0)
            word = "#";
        len += (size_t)snprintf(text + len, TEXT_MAX - len, "%s%s", i ? "/" : "", word);
    }
    if (len == 0)
        snprintf(text, TEXT_MAX, "a");
}

static size_t model_find(const struct model *model, const char *filter, size_t subscriber)
{
    size_t i = 0;
    while (i < model->count &&
           (model->rows[i].subscriber != subscriber || strcmp(model->rows[i].filter, filter) != 0))
        i++;
    return i;
}

static bool model_has_filter(const struct model *model, const char *filter)
{
    for (size_t i = 0; i < model->count; i++) {
        if (strcmp(model->rows[i].filter, filter) == 0)
            return true;
    }
    return false;
}

static enum tree_change model_insert(struct model *model, const char *filter, size_t subscriber,
                                     uint32_t sub_id)
{
    size_t at = model_find(model, filter, subscriber);
    enum tree_change change = at < model->count                 ? TREE_REPLACED
                              : model_has_filter(model, filter) ? TREE_ADDED
                                                                : TREE_FIRST;
    snprintf(model->rows[at].filter, TEXT_MAX, "%s", filter);
    model->rows[at].subscriber = subscriber;
    model->rows[at].sub_id = sub_id;
    model->count += at == model->count;
    return change;
}

static enum tree_change model_remove(struct model *model, const char *filter, size_t subscriber)
{
    size_t at = model_find(model, filter, subscriber);
    if (at == model->count)
        return TREE_UNCHANGED;
    model->rows[at] = model->rows[--model->count];
    return model_has_filter(model, filter) ? TREE_REMOVED : TREE_LAST;
}

static void check_match(const struct model *model, const struct tree *tree, const char *topic)
{
    struct found expected = { 0 };
    for (size_t i = 0; i < model->count; i++) {
        if (mqtt_filter_matches(span_str(model->rows[i].filter), span_str(topic)))
            expected.sub_ids[expected.count++] = model->rows[i].sub_id;
    }
    qsort(expected.sub_ids, expected.count, sizeof(expected.sub_ids[0]), by_number);
    struct found found = match(tree, topic);
    assert_int_equal(found.count, expected.count);
    assert_memory_equal(found.sub_ids, expected.sub_ids, found.count * sizeof(found.sub_ids[0]));
}

/* `bias` of 8 changes are inserts. */
static void random_changes(struct model *model, struct tree *tree, uint64_t *random, int changes,
                           unsigned bias)
{
    char filter[TEXT_MAX];
    char topic[TEXT_MAX];
    for (int i = 0; i < changes; i++) {
        size_t subscriber = next_random(random) % 40;
        random_text(random, true, filter);
        if (next_random(random) % 8 < bias && model->count < MODEL_MAX) {
            uint32_t sub_id = (uint32_t)i + 1;
            enum tree_change expected = model_insert(model, filter, subscriber, sub_id);
            assert_int_equal(insert(tree, filter, subscriber, sub_id), expected);
        } else {
            if (model->count && next_random(random) % 8 != 0) { /* one that is there */
                size_t at = next_random(random) % model->count;
                snprintf(filter, sizeof(filter), "%s", model->rows[at].filter);
                subscriber = model->rows[at].subscriber;
            }
            enum tree_change expected = model_remove(model, filter, subscriber);
            assert_int_equal(drop(tree, filter, subscriber), expected);
        }
        random_text(random, false, topic);
        check_match(model, tree, topic);
        assert_int_equal(tree_entry_count(tree), model->count);
    }
}

static void test_tree_behaves_as_its_model(void **state)
{
    (void)state;
    struct model *model = malloc(sizeof(*model));
    for (uint64_t seed = 1; seed <= 10; seed++) {
        uint64_t random = seed;
        struct tree *tree = tree_new(seed);
        model->count = 0;
        random_changes(model, tree, &random, 1500, 6);
        random_changes(model, tree, &random, 1500, 4);
        random_changes(model, tree, &random, 1500, 1);
        while (model->count) {
            size_t last = model->count - 1;
            char filter[TEXT_MAX];
            snprintf(filter, sizeof(filter), "%s", model->rows[last].filter);
            size_t subscriber = model->rows[last].subscriber;
            enum tree_change expected = model_remove(model, filter, subscriber);
            assert_int_equal(drop(tree, filter, subscriber), expected);
        }
        assert_int_equal(tree_entry_count(tree), 0);
        tree_free(tree);
    }
    free(model);
}

/* ---- no memory ---------------------------------------------------------------------------- */

/* Raises the limit byte by byte, as good as: every allocation of the insert fails once. Returns how often one failed. */
static int insert_with_failures(const struct model *model, struct tree *tree, const char *filter,
                                size_t subscriber, uint32_t sub_id, enum tree_change expected)
{
    int failures = 0;
    for (size_t extra = 0;; extra += 8) {
        uint64_t generation = tree_generation(tree);
        tree_limit_memory(tree, tree_memory(tree) + extra);
        enum tree_change change = insert(tree, filter, subscriber, sub_id);
        tree_limit_memory(tree, SIZE_MAX);
        if (change != TREE_NO_MEMORY) {
            assert_int_equal(change, expected);
            return failures;
        }
        assert_int_equal(tree_generation(tree), generation);
        assert_int_equal(tree_entry_count(tree), model->count);
        if (extra % 1024 == 0) {
            for (size_t i = 0; i < CASES; i++)
                check_match(model, tree, cases[i].topic);
        }
        failures++;
        if (extra >= 4096)
            extra += 4096 - 8;
    }
}

static void test_tree_without_memory_is_unchanged(void **state)
{
    (void)state;
    struct model *model = malloc(sizeof(*model));
    struct model *before = malloc(sizeof(*before));
    uint64_t random = 3;
    int failures = 0;
    model->count = 0;
    struct tree *tree = tree_new(SEED);
    for (uint32_t i = 0; i < 400; i++) {
        char filter[TEXT_MAX];
        size_t subscriber = next_random(&random) % 60;
        random_text(&random, true, filter);
        if (i % 4 == 0)
            snprintf(filter, sizeof(filter), "a/b/c"); /* a list that grows, with an index */
        *before = *model;
        enum tree_change expected = model_insert(model, filter, subscriber, i + 1);
        failures += insert_with_failures(before, tree, filter, subscriber, i + 1, expected);
    }
    assert_true(failures > 100);
    /* Removing needs none: a copy that would be smaller is not made. */
    tree_limit_memory(tree, 0);
    while (model->count) {
        char filter[TEXT_MAX];
        snprintf(filter, sizeof(filter), "%s", model->rows[0].filter);
        size_t subscriber = model->rows[0].subscriber;
        enum tree_change expected = model_remove(model, filter, subscriber);
        assert_int_equal(drop(tree, filter, subscriber), expected);
        check_match(model, tree, "a/b/c");
    }
    tree_free(tree);
    free(model);
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_match_table),
        cmocka_unit_test(test_tree_change_tells_what_happened),
        cmocka_unit_test(test_tree_deepest_filter_and_topic),
        cmocka_unit_test(test_tree_longest_filter),
        cmocka_unit_test(test_tree_many_subscribers_of_one_filter),
        cmocka_unit_test(test_tree_many_filters_give_memory_back),
        cmocka_unit_test(test_tree_behaves_as_its_model),
        cmocka_unit_test(test_tree_without_memory_is_unchanged),
    };
    return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
