/* SPDX-License-Identifier: MIT */
/*
 * The map of topics (broker/topic_map.h): exact access, the order, scans in slices while the map changes, leaping. A
 * model keeps topics in an array and asks mqtt_filter_matches() about each. Pseudo-random sequences have fixed seeds. One
 * thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/topic_map.h"
#include "mqtt/topic.h"

enum { SEED = 0x5eed, TEXT_MAX = 256 };

/* A value as the broker has it: it carries its topic. */
struct value {
    char topic[TEXT_MAX];
    int visits;
    int born; /* round of the scan in which it came; 0: before */
};

static struct value *value_new(const char *topic)
{
    struct value *value = calloc(1, sizeof(*value));
    snprintf(value->topic, sizeof(value->topic), "%s", topic);
    return value;
}

static struct value *put(struct topic_map *map, const char *topic)
{
    struct value *value = value_new(topic);
    void *old = map; /* must be overwritten */
    assert_true(topic_map_set(map, topic_key(SEED, span_str(value->topic)), value, &old));
    assert_ptr_not_equal(old, map);
    free(old);
    return value;
}

static bool on_free(void *ctx, struct span topic, void *value)
{
    (void)ctx;
    (void)topic;
    free(value);
    return true;
}

static void scene_free(struct topic_map *map)
{
    topic_map_each(map, on_free, NULL);
    topic_map_free(map);
}

/* ---- exact -------------------------------------------------------------------------------- */

static void test_topic_map_get_set_remove(void **state)
{
    (void)state;
    struct topic_map *map = topic_map_new(SEED);
    assert_null(topic_map_get(map, topic_key(SEED, span_str("a"))));
    assert_null(topic_map_remove(map, topic_key(SEED, span_str("a"))));
    struct value *a = put(map, "a");
    struct value *ab = put(map, "a/b");
    assert_ptr_equal(topic_map_get(map, topic_key(SEED, span_str("a"))), a);
    assert_ptr_equal(topic_map_get(map, topic_key(SEED, span_str("a/b"))), ab);
    assert_null(topic_map_get(map, topic_key(SEED, span_str("a/"))));
    assert_int_equal(topic_map_count(map), 2);
    assert_ptr_equal(topic_map_remove(map, topic_key(SEED, span_str("a"))), a);
    free(a);
    assert_null(topic_map_get(map, topic_key(SEED, span_str("a"))));
    assert_ptr_equal(topic_map_remove(map, topic_key(SEED, span_str("a/b"))), ab);
    free(ab);
    assert_int_equal(topic_map_count(map), 0);
    topic_map_free(map);
    topic_map_free(NULL);
}

/* The old value and its topic are freed at once: the map must not look at them again. */
static void test_topic_map_set_replaces_the_borrowed_topic(void **state)
{
    (void)state;
    struct topic_map *map = topic_map_new(SEED);
    for (int round = 0; round < 3; round++) {
        char topic[TEXT_MAX];
        for (int i = 0; i < 300; i++) {
            snprintf(topic, sizeof(topic), "plant/%d/temp", i);
            struct value *value = put(map, topic);
            assert_ptr_equal(topic_map_get(map, topic_key(SEED, span_str(topic))), value);
        }
        assert_int_equal(topic_map_count(map), 300);
    }
    scene_free(map);
}

/* ---- scans -------------------------------------------------------------------------------- */

struct list {
    char text[2048];
    size_t count;
};

static bool on_list(void *ctx, struct span topic, void *value)
{
    struct list *list = ctx;
    assert_true(span_equal(topic, span_str(((struct value *)value)->topic)));
    size_t len = strlen(list->text);
    snprintf(list->text + len, sizeof(list->text) - len, "%s%.*s", len ? " " : "", (int)topic.len,
             (const char *)topic.data);
    list->count++;
    return true;
}

static const char *const topics[] = {
    "a",    "a/",     "a/b",      "a/b/c", "a/b/c/d", "a/x/c", "a/x",   "a!",     "a!/b",
    "ab",   "ab/c",   "/",        "/a",    "//",      "b/b/c", "b/b/d", "b/c",    "c",
    "$SYS", "$SYS/x", "$SYS/x/y", "%",     "#no",     "!",     "b//c",  "aa/b/c",
};
enum { TOPICS = sizeof(topics) / sizeof(topics[0]) };

static const struct {
    const char *filter, *expected; /* in order */
} scans[] = {
    { "#", "/ // /a ! % a a/ a/b a/b/c a/b/c/d a/x a/x/c a! a!/b aa/b/c ab ab/c b//c b/b/c b/b/d "
           "b/c c" },
    { "+", "! % a a! ab c" },
    { "a/#", "a a/ a/b a/b/c a/b/c/d a/x a/x/c" },
    { "a", "a" },
    { "a/+", "a/ a/b a/x" },
    { "a/+/c", "a/b/c a/x/c" },
    { "+/b", "a/b a!/b" },
    { "+/b/#", "a/b a/b/c a/b/c/d a!/b aa/b/c b/b/c b/b/d" },
    { "+/+/c", "a/b/c a/x/c aa/b/c b//c b/b/c" },
    { "+/b/c", "a/b/c aa/b/c b/b/c" },
    { "b//c", "b//c" },
    { "b/+/c", "b//c b/b/c" },
    { "/", "/" },
    { "/+", "/ /a" },
    { "/#", "/ // /a" },
    { "+/+", "/ /a a/ a/b a/x a!/b ab/c b/c" },
    { "$SYS/#",
      "$SYS $SYS/x $SYS/x/y" }, /* [MQTT5-4.7.2-1]: the wildcard is not in the first level */
    { "$SYS/+", "$SYS/x" },
    { "$SYS/+/y", "$SYS/x/y" },
    { "zz/#", "" },
    { "a/b/c/d/e", "" },
    { "0", "" },
};
enum { SCANS = sizeof(scans) / sizeof(scans[0]) };

/* Whole scans, one topic a slice, one look a slice: always the same. */
static void test_topic_map_scan_table(void **state)
{
    (void)state;
    struct topic_map *map = topic_map_new(SEED);
    for (size_t i = 0; i < TOPICS; i++) {
        if (strcmp(topics[i], "#no") != 0) /* not a topic name: a wildcard */
            put(map, topics[i]);
    }
    static const size_t limits[][2] = {
        { SIZE_MAX, SIZE_MAX }, { 1, SIZE_MAX }, { SIZE_MAX, 1 }, { 2, 3 }
    };
    for (size_t i = 0; i < SCANS; i++) {
        for (size_t k = 0; k < sizeof(limits) / sizeof(limits[0]); k++) {
            struct list list = { 0 };
            struct topic_scan scan = { span_str(scans[i].filter), limits[k][0], limits[k][1],
                                       on_list, &list };
            struct topic_cursor cursor = { 0 };
            enum topic_scan_end end;
            size_t slices = 0;
            do {
                size_t before = list.count;
                end = topic_map_scan(map, &scan, &cursor);
                assert_true(list.count - before <= limits[k][0]);
                assert_true(++slices < 100);
            } while (end == TOPIC_SCAN_MORE);
            assert_int_equal(end, TOPIC_SCAN_COMPLETE);
            assert_string_equal(list.text, scans[i].expected);
            assert_int_equal(topic_map_scan(map, &scan, &cursor),
                             TOPIC_SCAN_COMPLETE); /* and nothing more */
            assert_string_equal(list.text, scans[i].expected);
            topic_cursor_done(&cursor);
        }
    }
    scene_free(map);
}

static bool on_stop(void *ctx, struct span topic, void *value)
{
    on_list(ctx, topic, value);
    return false;
}

static void test_topic_map_visitor_ends_the_slice(void **state)
{
    (void)state;
    struct topic_map *map = topic_map_new(SEED);
    put(map, "a/1");
    put(map, "a/2");
    struct list list = { 0 };
    struct topic_scan scan = { span_str("a/+"), SIZE_MAX, SIZE_MAX, on_stop, &list };
    struct topic_cursor cursor = { 0 };
    assert_int_equal(topic_map_scan(map, &scan, &cursor), TOPIC_SCAN_MORE);
    assert_string_equal(list.text, "a/1");
    while (topic_map_scan(map, &scan, &cursor) == TOPIC_SCAN_MORE)
        ;
    assert_string_equal(list.text, "a/1 a/2");
    topic_cursor_done(&cursor);
    scene_free(map);
}

/* A filter with a '+' before a literal must not walk the 26 topics of each device. */
static void test_topic_map_scan_leaps(void **state)
{
    (void)state;
    enum { DEVICES = 1000 };
    struct topic_map *map = topic_map_new(SEED);
    char topic[TEXT_MAX];
    for (int d = 0; d < DEVICES; d++) {
        for (int c = 'a'; c <= 'z'; c++) {
            snprintf(topic, sizeof(topic), "d%d/%c/temp", d, c);
            put(map, topic);
        }
    }
    static const struct {
        const char *filter;
        size_t found, looks;
    } leaps[] = {
        { "+/x/temp", DEVICES, 2 * DEVICES + 1 },
        { "+/x/+", DEVICES, 3 * DEVICES + 1 },
        { "+/zz/temp", 0, 2 * DEVICES + 1 },
        { "d5/+/temp", 26, 27 },
        { "d5/#", 26, 27 },
        { "d5/x/temp", 1, 1 },
        { "d5", 0, 1 },
        { "nothing/#", 0, 1 },
        { "+", 0, DEVICES },
    };
    for (size_t i = 0; i < sizeof(leaps) / sizeof(leaps[0]); i++) {
        struct topic_cursor cursor = { 0 };
        struct list list = { 0 };
        struct topic_scan scan = { span_str(leaps[i].filter), SIZE_MAX, 1, on_list, &list };
        size_t looks = 1; /* as slices of one look */
        while (topic_map_scan(map, &scan, &cursor) == TOPIC_SCAN_MORE)
            looks++;
        assert_int_equal(list.count, leaps[i].found);
        if (looks > leaps[i].looks + 1)
            fail_msg("%s took %zu looks", leaps[i].filter, looks);
        topic_cursor_done(&cursor);
    }
    scene_free(map);
}

/* ---- the model ---------------------------------------------------------------------------- */

enum { MODEL_MAX = 6000 };

struct model {
    uint64_t seed;
    struct topic_map *map;
    uint64_t random;
    size_t count;
    struct value *rows[MODEL_MAX];
};

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static const char *const words[] = {
    "a", "b", "", "a!", "ab", "$a", "a-level-that-is-rather-long", "0", "z", "\xc3\xa9"
};

static void random_text(uint64_t *random, bool filter, char *text)
{
    size_t levels = 1 + next_random(random) % 5;
    size_t len = 0;
    for (size_t i = 0; i < levels; i++) {
        const char *word = words[next_random(random) % (sizeof(words) / sizeof(words[0]))];
        if (filter && next_random(random) % 3 == 0)
            word = "+";
        if (filter && i + 1 == levels && next_random(random) % 3 == 0)
            word = "#";
        len += (size_t)snprintf(text + len, TEXT_MAX - len, "%s%s", i ? "/" : "", word);
    }
    if (len == 0)
        snprintf(text, TEXT_MAX, "a");
}

static size_t model_find(const struct model *model, const char *topic)
{
    size_t i = 0;
    while (i < model->count && strcmp(model->rows[i]->topic, topic) != 0)
        i++;
    return i;
}

static void model_set(struct model *model, int born)
{
    char topic[TEXT_MAX];
    random_text(&model->random, false, topic);
    struct value *value = value_new(topic);
    size_t at = model_find(model, topic);
    if (at == MODEL_MAX) {
        free(value);
        return;
    }
    void *old;
    assert_true(
        topic_map_set(model->map, topic_key(model->seed, span_str(value->topic)), value, &old));
    assert_ptr_equal(old, at < model->count ? model->rows[at] : NULL);
    value->born = born;
    if (old) { /* it stays, as far as a scan is concerned */
        value->visits = ((struct value *)old)->visits;
        value->born = ((struct value *)old)->born;
        free(old);
    }
    model->rows[at] = value;
    model->count += at == model->count;
}

static void model_remove(struct model *model)
{
    if (model->count == 0)
        return;
    size_t at = next_random(&model->random) % model->count;
    struct value *value = model->rows[at];
    assert_ptr_equal(topic_map_remove(model->map, topic_key(model->seed, span_str(value->topic))),
                     value);
    assert_null(topic_map_get(model->map, topic_key(model->seed, span_str(value->topic))));
    free(value);
    model->rows[at] = model->rows[--model->count];
}

static void model_change(struct model *model, int changes, unsigned bias, int born)
{
    for (int i = 0; i < changes; i++) {
        if (next_random(&model->random) % 8 < bias)
            model_set(model, born);
        else
            model_remove(model);
    }
    assert_int_equal(topic_map_count(model->map), model->count);
}

static bool on_visit(void *ctx, struct span topic, void *value)
{
    struct list *last = ctx;
    struct value *visited = value;
    visited->visits++;
    assert_true(span_equal(topic, span_str(visited->topic)));
    last->count++;
    return true;
}

/* One scan in random slices, with changes between them. */
static void model_scan(struct model *model, int changes)
{
    char filter[TEXT_MAX];
    random_text(&model->random, true, filter);
    for (size_t i = 0; i < model->count; i++)
        model->rows[i]->visits = model->rows[i]->born = 0;
    struct topic_cursor cursor = { 0 };
    struct list last = { 0 };
    struct topic_scan scan = { span_str(filter), 0, 0, on_visit, &last };
    for (int slice = 1;; slice++) {
        scan.max_found = 1 + next_random(&model->random) % 20;
        scan.max_looked_at = 1 + next_random(&model->random) % 40;
        if (topic_map_scan(model->map, &scan, &cursor) == TOPIC_SCAN_COMPLETE)
            break;
        assert_true(slice < 100000);
        model_change(model, changes, 4, slice);
    }
    topic_cursor_done(&cursor);
    for (size_t i = 0; i < model->count; i++) {
        bool matches = mqtt_filter_matches(span_str(filter), span_str(model->rows[i]->topic));
        int visits = model->rows[i]->visits;
        if (!matches)
            assert_int_equal(visits, 0);
        else if (model->rows[i]->born == 0)
            assert_int_equal(visits, 1);
        else
            assert_in_range(visits, 0, 1);
    }
}

static void test_topic_map_behaves_as_its_model(void **state)
{
    (void)state;
    struct model *model = malloc(sizeof(*model));
    for (uint64_t seed = 1; seed <= 4; seed++) {
        *model = (struct model){ .map = topic_map_new(seed), .seed = seed, .random = seed };
        static const unsigned biases[] = { 8, 6, 4, 2, 7, 1, 0 };
        for (size_t phase = 0; phase < sizeof(biases) / sizeof(biases[0]); phase++) {
            model_change(model, phase == 6 ? (int)model->count - 50 : 1500, biases[phase], 0);
            for (int i = 0; i < 60; i++)
                model_scan(model, i % 3);
        }
        model_change(model, (int)model->count, 0, 0);
        assert_int_equal(model->count, 0);
        topic_map_free(model->map);
    }
    free(model);
}

/* In order, backwards, and from both ends: pages fill, split, even out and merge at their ends. */
static void test_topic_map_memory_follows_the_count(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    for (int way = 0; way < 3; way++) {
        struct topic_map *map = topic_map_new(SEED);
        size_t empty = topic_map_memory(map);
        char topic[TEXT_MAX];
        for (int i = 0; i < MANY; i++) {
            snprintf(topic, sizeof(topic), "t/%05d",
                     way == 0   ? i
                     : way == 1 ? MANY - 1 - i
                                : (i * 7919) % MANY);
            put(map, topic);
        }
        assert_true(topic_map_memory(map) < MANY * 130);
        struct list unused = { 0 };
        struct topic_scan scan = { span_str("t/#"), SIZE_MAX, SIZE_MAX, on_visit, &unused };
        for (int left = MANY; left > 0; left--) {
            if (left % 1000 == 0) {
                struct topic_cursor cursor = { 0 };
                unused.count = 0;
                assert_int_equal(topic_map_scan(map, &scan, &cursor), TOPIC_SCAN_COMPLETE);
                assert_int_equal(unused.count, left);
                topic_cursor_done(&cursor);
                assert_true(topic_map_memory(map) < empty + (size_t)left * 200 + 4096);
            }
            int at = way == 0 ? MANY - left : way == 1 ? left - 1 : (left * 4001) % MANY;
            snprintf(topic, sizeof(topic), "t/%05d", at);
            void *value = topic_map_remove(map, topic_key(SEED, span_str(topic)));
            assert_non_null(value);
            free(value);
        }
        assert_int_equal(topic_map_memory(map), empty);
        topic_map_free(map);
    }
}

static void test_topic_map_without_memory_is_unchanged(void **state)
{
    (void)state;
    struct topic_map *map = topic_map_new(SEED);
    char topic[TEXT_MAX];
    size_t failures = 0;
    for (size_t i = 0; i < 5000; i++) {
        snprintf(topic, sizeof(topic), "t/%zu", i * 7919 % 5000);
        struct value *value = value_new(topic);
        void *old = map;
        for (size_t extra = 0;; extra += extra < 4096 ? 8 : 4096) {
            size_t memory = topic_map_memory(map);
            topic_map_limit_memory(map, memory + extra);
            bool done = topic_map_set(map, topic_key(SEED, span_str(value->topic)), value, &old);
            topic_map_limit_memory(map, SIZE_MAX);
            if (done)
                break;
            failures++;
            assert_ptr_equal(old, map);
            assert_int_equal(topic_map_count(map), i);
            assert_null(topic_map_get(map, topic_key(SEED, span_str(topic))));
        }
        assert_null(old);
    }
    assert_true(failures > 5000);
    topic_map_limit_memory(map, 0); /* replacing and removing need none */
    for (size_t i = 0; i < 5000; i++) {
        snprintf(topic, sizeof(topic), "t/%zu", i);
        put(map, topic);
        free(topic_map_remove(map, topic_key(SEED, span_str(topic))));
    }
    assert_int_equal(topic_map_count(map), 0);
    topic_map_free(map);
}

static void test_topic_map_longest_topics(void **state)
{
    (void)state;
    static uint8_t text[3][65535];
    struct topic_map *map = topic_map_new(SEED);
    void *old;
    for (size_t i = 0; i < 3; i++) {
        memset(text[i], 'x', sizeof(text[i]));
        text[i][65534] = (uint8_t)('1' + i);
        assert_true(topic_map_set(map, topic_key(SEED, span_of(text[i], 65535)), text[i], &old));
    }
    struct list list = { 0 };
    struct topic_cursor cursor = { 0 };
    struct topic_scan scan = { span_of(text[1], 65535), SIZE_MAX, 1, NULL, &list };
    scan.visit = on_stop;
    assert_ptr_equal(topic_map_get(map, topic_key(SEED, span_of(text[1], 65535))), text[1]);
    scan.filter = span_str("x/+");
    while (topic_map_scan(map, &scan, &cursor) == TOPIC_SCAN_MORE)
        ;
    assert_int_equal(list.count, 0);
    topic_cursor_done(&cursor);
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(topic_map_remove(map, topic_key(SEED, span_of(text[i], 65535))), text[i]);
    topic_map_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic_map_get_set_remove),
        cmocka_unit_test(test_topic_map_set_replaces_the_borrowed_topic),
        cmocka_unit_test(test_topic_map_scan_table),
        cmocka_unit_test(test_topic_map_visitor_ends_the_slice),
        cmocka_unit_test(test_topic_map_scan_leaps),
        cmocka_unit_test(test_topic_map_behaves_as_its_model),
        cmocka_unit_test(test_topic_map_memory_follows_the_count),
        cmocka_unit_test(test_topic_map_without_memory_is_unchanged),
        cmocka_unit_test(test_topic_map_longest_topics),
    };
    return cmocka_run_group_tests_name("topic_map", tests, NULL, NULL);
}
