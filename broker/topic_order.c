/* SPDX-License-Identifier: MIT */
/*
 * The B+ tree behind a topic map. Topics of one map look alike ("plant/7/sensor/1042/temp"), and
 * comparing two means two cache misses, so a page keeps for each key the sixteen bytes that follow
 * what all its keys share; a search compares those and looks at a topic only where they are equal:
 *
 *     prefix "plant/7/"   ← what all keys share
 *     heads   "sensor/1"  "sensor/3"  "valve/2"  …   ← the sixteen bytes behind it
 *     keys     item        item        item      …   ← leaf: the items; above: smallest of each child
 *     children page        page        page      …   ← above the leaves only
 *
 * Leaves are linked from left to right. Pages other than the root stay a quarter full, except a
 * leaf that was begun at the right end. Runs where the map runs; must not keep an item that was
 * removed, also not as a key above the leaves.
 */
#include "broker/topic_order.h"

#include <endian.h>

enum {
    PAGE_KEYS = 64,
    PAGE_MIN = PAGE_KEYS / 4,
    PREFIX = 48, /* of what all keys share, so much stands in the page itself */
    DEPTH_MAX = 16,
    AHEAD = 4, /* items that a walk fetches before it comes to them */
};

/* What follows in a topic on what it shares with others. Equal heads prove nothing. */
struct head {
    uint64_t first, second;
};

struct topic_page {
    struct topic_page *next; /* leaf: the one to the right */
    uint32_t skip;           /* bytes that all keys share; 0 is always right */
    uint16_t count;
    bool leaf;
    uint8_t prefix[PREFIX]; /* the first `skip` bytes, as far as they fit */
    struct head heads[PAGE_KEYS];
    struct topic_item *keys[PAGE_KEYS];
    struct topic_page *children[]; /* PAGE_KEYS of them; a leaf has none */
};

/* The way from a leaf (0) to the root (height). */
struct way {
    struct topic_page *pages[DEPTH_MAX];
    unsigned index[DEPTH_MAX]; /* above 0: which child the way goes through */
};

/* ---- comparing topics --------------------------------------------------------------------- */

/* '/' below every other byte. */
static unsigned rank(uint8_t byte)
{
    return byte == '/' ? 0 : byte < '/' ? byte + 1u : byte;
}

static uint64_t load(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* Length of the common beginning, looking at `limit` bytes at most. */
static size_t common(struct span a, struct span b, size_t limit)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    if (shorter > limit)
        shorter = limit;
    size_t at = 0;
    for (; at + sizeof(uint64_t) <= shorter; at += sizeof(uint64_t)) {
        uint64_t differs = load(a.data + at) ^ load(b.data + at);
        if (differs)
            return at + (unsigned)__builtin_ctzll(htole64(differs)) / 8;
    }
    while (at < shorter && a.data[at] == b.data[at])
        at++;
    return at;
}

bool topic_before(struct span topic, struct topic_place place)
{
    if (place.kind == PLACE_START || place.kind == PLACE_END)
        return place.kind == PLACE_END;
    size_t at = common(topic, place.topic, SIZE_MAX);
    if (at == place.topic.len) {
        if (at == topic.len)
            return place.kind != PLACE_AT;
        return place.kind == PLACE_PAST && topic.data[at] == '/';
    }
    return at == topic.len || rank(topic.data[at]) < rank(place.topic.data[at]);
}

/* Eight bytes from `at` on as one number that sorts as they do: their ranks, all at once. The end
 * counts as '/'. */
static uint64_t ranked(struct span topic, size_t at)
{
    const uint64_t ones = 0x0101010101010101, tops = 0x80 * ones;
    uint64_t word = '/' * ones;
    if (at + sizeof word <= topic.len)
        word = load(topic.data + at);
    else if (at < topic.len)
        memcpy(&word, topic.data + at, topic.len - at);
    uint64_t low = word & ~tops; /* the top bit of each byte is the answer to a question about it */
    uint64_t not_below = (low + (0x80 - '/') * ones) | word;
    uint64_t above = (low + (0x80 - '/' - 1) * ones) | word;
    uint64_t below = (~not_below & tops) >> 7, slash = ((not_below & ~above & tops) >> 7) * 0xFF;
    return be64toh((word + below) & ~slash);
}

static struct head head_of(struct span topic, size_t skip)
{
    return (struct head){ ranked(topic, skip), ranked(topic, skip + sizeof(uint64_t)) };
}

static bool same_head(struct head a, struct head b)
{
    return a.first == b.first && a.second == b.second;
}

static bool head_before(struct head a, struct head b)
{
    return a.first < b.first || (a.first == b.first && a.second < b.second);
}

/* ---- pages -------------------------------------------------------------------------------- */

static size_t page_size(bool leaf)
{
    return sizeof(struct topic_page) + (leaf ? 0 : PAGE_KEYS * sizeof(struct topic_page *));
}

static struct topic_page *page_new(struct topic_order *order, bool leaf)
{
    struct topic_page *page = budget_alloc(order->budget, page_size(leaf));
    if (!page)
        return NULL;
    page->next = NULL;
    page->skip = 0;
    page->count = 0;
    page->leaf = leaf;
    return page;
}

static void page_free(struct topic_order *order, struct topic_page *page)
{
    budget_free(order->budget, page, page_size(page->leaf));
}

/* After many keys have changed. What the first and the last key share, all share. */
static void page_set_heads(struct topic_page *page)
{
    if (page->count == 0)
        return;
    page->skip = (uint32_t)common(topic_of(page->keys[0]), topic_of(page->keys[page->count - 1]),
                                  UINT32_MAX);
    memcpy(page->prefix, page->keys[0]->bytes, page->skip < PREFIX ? page->skip : PREFIX);
    for (unsigned i = 0; i < page->count; i++)
        page->heads[i] = head_of(topic_of(page->keys[i]), page->skip);
}

/* After a part of the keys has gone. They may share more now, but heads that still tell them apart
 * stay as they are: looking at each topic again costs more. */
static void page_sharpen_heads(struct topic_page *page)
{
    if (page->count == 0 || (page->heads[0].first ^ page->heads[page->count - 1].first) >> 32 == 0)
        page_set_heads(page);
}

/* Whether a topic begins with what all keys of the page shared before `key` was among them. */
static bool page_fits(const struct topic_page *page, struct span topic,
                      const struct topic_item *key)
{
    struct span shared = page->skip <= PREFIX ? span_of(page->prefix, page->skip) : topic_of(key);
    return common(shared, topic, page->skip) == page->skip;
}

/* After one key has changed, which may be the first or the last now. */
static void page_set_head(struct topic_page *page, unsigned index)
{
    unsigned end = page->count - 1u;
    if (end == 0 || ((index == 0 || index == end) &&
                     !page_fits(page, topic_of(page->keys[index]), page->keys[end - index])))
        page_set_heads(page);
    else
        page->heads[index] = head_of(topic_of(page->keys[index]), page->skip);
}

/* Opens, closes or moves a gap of the three arrays alike. */
static void page_move(struct topic_page *to, unsigned at, const struct topic_page *from,
                      unsigned index, unsigned count)
{
    memmove(to->heads + at, from->heads + index, count * sizeof(to->heads[0]));
    memmove(to->keys + at, from->keys + index, count * sizeof(to->keys[0]));
    if (!to->leaf)
        memmove(to->children + at, from->children + index, count * sizeof(to->children[0]));
}

static void page_insert(struct topic_page *page, unsigned at, struct topic_item *key,
                        struct topic_page *child)
{
    page_move(page, at + 1, page, at, page->count - at);
    page->keys[at] = key;
    if (child) /* above the leaves */
        page->children[at] = child;
    page->count++;
    page_set_head(page, at);
}

static void page_erase(struct topic_page *page, unsigned at)
{
    page_move(page, at, page, at + 1, page->count - at - 1u);
    page->count--;
}

static void page_set_key(struct topic_page *page, unsigned at, struct topic_item *key)
{
    page->keys[at] = key;
    page_set_head(page, at);
}

/* ---- searching ---------------------------------------------------------------------------- */

static unsigned first_head_not_below(const struct topic_page *page, struct head head)
{
    unsigned low = 0;
    unsigned count = page->count;
    while (count > 0) {
        unsigned half = count / 2;
        bool below = head_before(page->heads[low + half], head);
        low = below ? low + half + 1 : low;
        count = below ? count - half - 1 : half;
    }
    return low;
}

/* How many keys of the page are before the place. */
static unsigned page_search(const struct topic_page *page, struct topic_place place)
{
    if (page->count == 0 || place.kind == PLACE_START)
        return 0;
    if (place.kind == PLACE_END)
        return page->count;
    /* It leaves what they share: one speaks for all. */
    if (!page_fits(page, place.topic, page->keys[0]))
        return topic_before(topic_of(page->keys[0]), place) ? page->count : 0;

    struct head head = head_of(place.topic, page->skip);
    unsigned low = first_head_not_below(page, head);
    unsigned high = page->count;
    if (place.kind != PLACE_PAST) { /* a subtree may reach beyond the equal heads */
        high = low;
        while (high < page->count && same_head(page->heads[high], head))
            high++;
    }
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (topic_before(topic_of(page->keys[middle]), place))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* To the leaf with the last item that is before the place, or the first leaf; returns how many
 * of it are before. */
static unsigned descend(const struct topic_order *order, struct topic_place place, struct way *way)
{
    struct topic_page *page = order->root;
    for (unsigned level = order->height; level > 0; level--) {
        unsigned before = page_search(page, place);
        way->pages[level] = page;
        way->index[level] = before ? before - 1 : 0;
        page = page->children[way->index[level]];
    }
    way->pages[0] = page;
    return page_search(page, place);
}

static const struct topic_item *further(const struct topic_walk *walk, unsigned count)
{
    const struct topic_page *leaf = walk->leaf;
    unsigned index = walk->index + count;
    if (index >= leaf->count && leaf->next) {
        index -= leaf->count;
        leaf = leaf->next;
    }
    return index < leaf->count ? leaf->keys[index] : NULL;
}

/* Items lie anywhere, and so do their topics: without this each of them is waited for. */
static void fetch_ahead(const struct topic_walk *walk)
{
    const struct topic_item *item = further(walk, AHEAD);
    if (item) {
        __builtin_prefetch(item->value, 1);
        __builtin_prefetch(item->bytes);
    }
    if ((item = further(walk, 2 * AHEAD)))
        __builtin_prefetch(item);
}

static struct topic_item *item_at(struct topic_walk *walk)
{
    if (walk->index == walk->leaf->count) {
        if (!walk->leaf->next)
            return NULL;
        walk->leaf = walk->leaf->next; /* no leaf is empty, but the only one */
        walk->index = 0;
    }
    fetch_ahead(walk);
    return walk->leaf->keys[walk->index];
}

struct topic_item *topic_order_seek(const struct topic_order *order, struct topic_place place,
                                    struct topic_walk *walk)
{
    struct way way;
    walk->index = descend(order, place, &way);
    walk->leaf = way.pages[0];
    return item_at(walk);
}

struct topic_item *topic_order_next(struct topic_walk *walk)
{
    walk->index++;
    return item_at(walk);
}

/* ---- inserting ---------------------------------------------------------------------------- */

/* The pages that an insert will need: spare[0] for the leaf, and so on up. False: no memory. */
static bool spares_new(struct topic_order *order, const struct way *way, struct topic_page **spare)
{
    unsigned level = 0;
    while (level <= order->height && way->pages[level]->count == PAGE_KEYS) {
        spare[level] = page_new(order, level == 0);
        if (!spare[level])
            break;
        level++;
    }
    if (level <= order->height && way->pages[level]->count < PAGE_KEYS)
        return true;
    if (level == order->height + 1 && level < DEPTH_MAX && (spare[level] = page_new(order, false)))
        return true; /* a new root */
    while (level > 0)
        page_free(order, spare[--level]);
    return false;
}

/* Moves the right half of a full page to `right` and puts the key where it belongs. At the right
 * end of the map the page stays full, so that topics that arrive in order fill their pages. */
static void split(struct topic_page *page, struct topic_page *right, unsigned at,
                  struct topic_item *key, struct topic_page *child)
{
    unsigned half = page->leaf && !page->next && at == PAGE_KEYS ? PAGE_KEYS : PAGE_KEYS / 2;
    page_move(right, 0, page, half, PAGE_KEYS - half);
    right->count = (uint16_t)(PAGE_KEYS - half);
    page->count = (uint16_t)half;
    right->next = page->next;
    page->next = page->leaf ? right : NULL;
    right->skip = page->skip;
    memcpy(right->prefix, page->prefix, sizeof right->prefix);
    page_sharpen_heads(page);
    page_sharpen_heads(right);
    if (at > half || half == PAGE_KEYS)
        page_insert(right, at - half, key, child);
    else
        page_insert(page, at, key, child);
}

bool topic_order_insert(struct topic_order *order, struct topic_item *item)
{
    struct way way;
    struct topic_page *spare[DEPTH_MAX] = { NULL };
    unsigned at = descend(order, (struct topic_place){ topic_of(item), PLACE_AT }, &way);
    if (!spares_new(order, &way, spare))
        return false;
    for (unsigned level = 1; at == 0 && level <= order->height; level++)
        page_set_key(way.pages[level], 0, item); /* before the first item of all */

    struct topic_item *key = item;
    struct topic_page *child = NULL;
    for (unsigned level = 0; level <= order->height; level++) {
        struct topic_page *page = way.pages[level];
        if (page->count < PAGE_KEYS) {
            page_insert(page, at, key, child);
            return true;
        }
        CHECK(spare[level]); /* of each full page, see spares_new() */
        split(page, spare[level], at, key, child);
        child = spare[level];
        key = child->keys[0];
        at = level < order->height ? way.index[level + 1] + 1 : 0;
    }
    struct topic_page *root = spare[order->height + 1];
    page_insert(root, 0, order->root->keys[0], order->root);
    page_insert(root, 1, key, child);
    order->root = root;
    order->height++;
    return true;
}

/* ---- removing ----------------------------------------------------------------------------- */

/* Evens out two neighbours, or moves everything to the left one if it fits. True: the right one
 * is empty now. */
static bool even_out(struct topic_page *left, struct topic_page *right)
{
    unsigned total = left->count + right->count;
    unsigned wanted = total <= PAGE_KEYS ? total : total / 2;
    if (left->count < wanted) {
        unsigned moved = wanted - left->count;
        page_move(left, left->count, right, 0, moved);
        page_move(right, 0, right, moved, right->count - moved);
    } else {
        unsigned moved = left->count - wanted;
        page_move(right, moved, right, 0, right->count);
        page_move(right, 0, left, wanted, moved);
    }
    left->count = (uint16_t)wanted;
    right->count = (uint16_t)(total - wanted);
    page_set_heads(left);
    page_set_heads(right);
    if (right->count > 0)
        return false;
    left->next = right->next;
    return true;
}

/* Pages that have too little, from the leaf up. A page below the root has a neighbour under the
 * same parent. */
static void refill(struct topic_order *order, struct way *way)
{
    for (unsigned level = 0; level < order->height && way->pages[level]->count < PAGE_MIN;
         level++) {
        struct topic_page *parent = way->pages[level + 1];
        unsigned index = way->index[level + 1];
        if (index > 0)
            index--;
        struct topic_page *right = parent->children[index + 1];
        if (!even_out(parent->children[index], right)) {
            page_set_key(parent, index + 1, right->keys[0]);
            return;
        }
        page_free(order, right);
        page_erase(parent, index + 1);
    }
    while (order->height > 0 && order->root->count == 1) {
        struct topic_page *root = order->root;
        order->root = root->children[0];
        order->height--;
        page_free(order, root);
    }
}

void topic_order_remove(struct topic_order *order, const struct topic_item *item)
{
    struct way way;
    unsigned before = descend(order, (struct topic_place){ topic_of(item), PLACE_AFTER }, &way);
    struct topic_page *leaf = way.pages[0];
    page_erase(leaf, before - 1);

    if (before == 1) {
        const struct topic_page *holder =
            leaf->count ? leaf : leaf->next; /* an empty leaf is filled from there, or goes */
        for (unsigned level = 1; holder && level <= order->height; level++) {
            page_set_key(way.pages[level], way.index[level], holder->keys[0]);
            if (way.index[level] != 0)
                break;
        }
    }
    refill(order, &way);
}

bool topic_order_init(struct topic_order *order, struct budget *budget)
{
    *order = (struct topic_order){ .budget = budget };
    order->root = page_new(order, true);
    return order->root != NULL;
}

static void pages_free(struct topic_order *order, struct topic_page *page, unsigned height)
{
    for (unsigned i = 0; height > 0 && i < page->count; i++)
        pages_free(order, page->children[i], height - 1);
    page_free(order, page);
}

void topic_order_done(struct topic_order *order)
{
    if (order->root)
        pages_free(order, order->root, order->height);
    order->root = NULL;
}
