/* SPDX-License-Identifier: MIT */
/*
 * Bytes become operations on a topic tree: insert, remove, find, match, also with too little memory. A naive list with
 * mqtt_filter_matches() says what each must yield. One thread.
 *
 *     operation: 1 byte (kind, subscriber) │ length: 1 byte │ text: each byte picks a piece
 */
#include <stdint.h>
#include <stdlib.h>

#include "mqtt/topic.h"
#include "mqtt/tree.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS_MAX = 128, PIECES_MAX = 24, TEXT_MAX = PIECES_MAX * 32 };

/* Separators twice: most inputs are valid then. */
static const char *const pieces[16] = { "a",
                                        "b",
                                        "/",
                                        "/",
                                        "+",
                                        "/+",
                                        "/#",
                                        "#",
                                        "$",
                                        "/a",
                                        "/b",
                                        "+/",
                                        "abc",
                                        "/a/b/c/d/e/f/g/h/",
                                        "longer-than-in-a-node-0123456",
                                        "/+/+/+/" };

struct text {
    size_t len;
    uint8_t bytes[TEXT_MAX];
};

struct row {
    struct text filter;
    unsigned subscriber;
    uint32_t sub_id;
    unsigned seen; /* by the match that runs */
};

struct list {
    size_t count;
    size_t matched;
    struct row rows[ROWS_MAX];
};

static struct span span_of_text(const struct text *text)
{
    return span_of(text->bytes, text->len);
}

static void *address(unsigned subscriber)
{
    static char subscribers[32];
    return &subscribers[subscriber];
}

/* Takes a length and so many pieces off the input. */
static struct text read_text(const uint8_t **data, size_t *size)
{
    struct text text = { 0 };
    if (*size == 0)
        return text;
    size_t count = **data % (PIECES_MAX + 1);
    ++*data;
    --*size;
    for (; count > 0 && *size > 0; count--, ++*data, --*size) {
        const char *piece = pieces[**data % 16];
        memcpy(text.bytes + text.len, piece, strlen(piece));
        text.len += strlen(piece);
    }
    return text;
}

static struct row *find(struct list *list, const struct text *filter, unsigned subscriber)
{
    for (size_t i = 0; i < list->count; i++) {
        struct row *row = &list->rows[i];
        if (row->subscriber == subscriber &&
            span_equal(span_of_text(&row->filter), span_of_text(filter)))
            return row;
    }
    return NULL;
}

static bool has_filter(const struct list *list, const struct text *filter)
{
    for (size_t i = 0; i < list->count; i++) {
        if (span_equal(span_of_text(&list->rows[i].filter), span_of_text(filter)))
            return true;
    }
    return false;
}

static void insert(struct tree *tree, struct list *list, const struct text *filter,
                   unsigned subscriber, size_t spare)
{
    static uint32_t sub_id;
    struct row *row = find(list, filter, subscriber);
    if (!row && list->count == ROWS_MAX)
        return;
    struct tree_entry entry = { .subscriber = address(subscriber), .sub_id = ++sub_id };
    uint64_t generation = tree_generation(tree);
    if (spare != SIZE_MAX)
        tree_limit_memory(tree, tree_memory(tree) + spare);
    enum tree_change change = tree_insert(tree, span_of_text(filter), &entry);
    tree_limit_memory(tree, SIZE_MAX);
    if (change == TREE_NO_MEMORY) {
        CHECK(spare != SIZE_MAX && !row && tree_generation(tree) == generation);
        return;
    }
    CHECK(change == (row ? TREE_REPLACED : has_filter(list, filter) ? TREE_ADDED : TREE_FIRST));
    CHECK(tree_generation(tree) > generation);
    if (!row)
        row = &list->rows[list->count++];
    *row = (struct row){ .filter = *filter, .subscriber = subscriber, .sub_id = sub_id };
}

static void drop(struct tree *tree, struct list *list, const struct text *filter,
                 unsigned subscriber)
{
    struct row *row = find(list, filter, subscriber);
    if (row)
        *row = list->rows[--list->count];
    enum tree_change expected = !row                       ? TREE_UNCHANGED
                                : has_filter(list, filter) ? TREE_REMOVED
                                                           : TREE_LAST;
    CHECK(tree_remove(tree, span_of_text(filter), address(subscriber)) == expected);
}

static void on_match(void *ctx, const struct tree_entry *entry)
{
    struct list *list = ctx;
    for (size_t i = 0; i < list->count; i++) {
        if (list->rows[i].sub_id == entry->sub_id)
            list->rows[i].seen++;
    }
    list->matched++;
}

static void match(const struct tree *tree, struct list *list, const struct text *topic)
{
    size_t expected = 0;
    for (size_t i = 0; i < list->count; i++)
        list->rows[i].seen = 0;
    list->matched = 0;
    tree_match(tree, span_of_text(topic), on_match, list);
    for (size_t i = 0; i < list->count; i++) {
        bool matches = mqtt_filter_matches(span_of_text(&list->rows[i].filter),
                                           span_of_text(topic));
        CHECK(list->rows[i].seen == matches);
        expected += matches;
    }
    CHECK(list->matched == expected && tree_entry_count(tree) == list->count);
}

static void run(struct tree *tree, struct list *list, unsigned operation, const struct text *text)
{
    unsigned subscriber = operation / 8;
    if (mqtt_topic_name_valid(span_of_text(text)))
        match(tree, list, text);
    if (!mqtt_topic_filter_valid(span_of_text(text)))
        return;
    switch (operation % 8) {
    case 0:
    case 1:
    case 2: insert(tree, list, text, subscriber, SIZE_MAX); return;
    case 3: insert(tree, list, text, subscriber, subscriber * 20); return;
    case 4:
    case 5: drop(tree, list, text, subscriber); return;
    default: break;
    }
    const struct row *row = find(list, text, subscriber);
    const struct tree_entry *entry = tree_find(tree, span_of_text(text), address(subscriber));
    CHECK(!row == !entry && (!row || row->sub_id == entry->sub_id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tree *tree = tree_new(size);
    struct list *list = calloc(1, sizeof(*list));
    CHECK(tree && list);
    while (size > 0) {
        unsigned operation = *data;
        data++;
        size--;
        struct text text = read_text(&data, &size);
        run(tree, list, operation, &text);
    }
    while (list->count) {
        struct row last = list->rows[list->count - 1];
        drop(tree, list, &last.filter, last.subscriber);
    }
    CHECK(tree_entry_count(tree) == 0);
    free(list);
    tree_free(tree);
    return 0;
}
