/* SPDX-License-Identifier: MIT */
/*
 * See tally.h. A page that is full in the middle is split; two neighbours that fit into half a page
 * become one, so that a few survivors do not keep many pages. The writer thread alone.
 */
#include "broker/store/tally.h"

#include "broker/alloc.h"
#include "broker/err.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 256 };

struct tally_page {
    uint32_t count;
    struct tally at[PAGE];
};

/* The page in which the sequence stands, or would; there is at least one. */
static size_t page_of(const struct tallies *tallies, uint64_t sequence)
{
    size_t low = 0, high = tallies->page_count;
    if (tallies->pages[high - 1]->at[0].sequence <= sequence)
        return high - 1;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (tallies->pages[middle]->at[0].sequence <= sequence)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The first place whose sequence is not lower. */
static uint32_t place_of(const struct tally_page *page, uint64_t sequence)
{
    uint32_t low = 0, high = page->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (page->at[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct tally *tallies_find(const struct tallies *tallies, uint64_t sequence)
{
    if (tallies->count == 0)
        return NULL;
    struct tally_page *page = tallies->pages[page_of(tallies, sequence)];
    uint32_t place = place_of(page, sequence);
    return place < page->count && page->at[place].sequence == sequence ? &page->at[place] : NULL;
}

static struct tally_page *page_insert(struct tallies *tallies, size_t index)
{
    struct tally_page *page = must_have(malloc(sizeof *page));
    page->count = 0;
    tallies->pages = must_have(array_grow(tallies->pages, tallies->page_count, &tallies->page_room,
                                          sizeof(struct tally_page *)));
    memmove(tallies->pages + index + 1, tallies->pages + index,
            (tallies->page_count - index) * sizeof(struct tally_page *));
    tallies->pages[index] = page;
    tallies->page_count++;
    return page;
}

static void page_remove(struct tallies *tallies, size_t index)
{
    free(tallies->pages[index]);
    tallies->page_count--;
    memmove(tallies->pages + index, tallies->pages + index + 1,
            (tallies->page_count - index) * sizeof(struct tally_page *));
}

/* Makes room in a full page: what stands behind the place goes into a new one. At the end that is
 * nothing, and the page stays full. */
static void split(struct tallies *tallies, size_t *index, uint32_t *place)
{
    struct tally_page *page = tallies->pages[*index], *next = page_insert(tallies, *index + 1);
    uint32_t kept = *place == PAGE ? PAGE : PAGE / 2;
    next->count = PAGE - kept;
    memcpy(next->at, page->at + kept, next->count * sizeof *next->at);
    page->count = kept;
    if (*place < kept || (*place == kept && kept < PAGE))
        return;
    ++*index;
    *place -= kept;
}

void tallies_add(struct tallies *tallies, const struct tally *tally)
{
    struct tally *known = tallies_find(tallies, tally->sequence);
    if (known) {
        *known = *tally;
        return;
    }
    if (tallies->page_count == 0)
        (void)page_insert(tallies, 0);
    size_t index = tallies->count ? page_of(tallies, tally->sequence) : 0;
    uint32_t place = place_of(tallies->pages[index], tally->sequence);
    if (tallies->pages[index]->count == PAGE)
        split(tallies, &index, &place);
    struct tally_page *page = tallies->pages[index];
    memmove(page->at + place + 1, page->at + place, (page->count - place) * sizeof *page->at);
    page->at[place] = *tally;
    page->count++;
    tallies->count++;
}

/* Moves the page at `index` into the one before it. */
static void join(struct tallies *tallies, size_t index)
{
    struct tally_page *to = tallies->pages[index - 1], *from = tallies->pages[index];
    memcpy(to->at + to->count, from->at, from->count * sizeof *from->at);
    to->count += from->count;
    page_remove(tallies, index);
}

void tallies_remove(struct tallies *tallies, uint64_t sequence)
{
    struct tally *tally = tallies_find(tallies, sequence);
    if (!tally)
        return;
    size_t index = page_of(tallies, sequence);
    struct tally_page *page = tallies->pages[index];
    uint32_t place = (uint32_t)(tally - page->at);
    page->count--;
    tallies->count--;
    memmove(page->at + place, page->at + place + 1, (page->count - place) * sizeof *page->at);
    if (page->count == 0)
        page_remove(tallies, index);
    else if (index > 0 && page->count + tallies->pages[index - 1]->count <= PAGE / 2)
        join(tallies, index);
    else if (index + 1 < tallies->page_count &&
             page->count + tallies->pages[index + 1]->count <= PAGE / 2)
        join(tallies, index + 1);
}

void tallies_done(struct tallies *tallies)
{
    for (size_t i = 0; i < tallies->page_count; i++)
        free(tallies->pages[i]);
    free(tallies->pages);
    *tallies = (struct tallies){ .count = 0 };
}
